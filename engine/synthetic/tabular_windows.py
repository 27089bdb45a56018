"""Windows as rows of a table whose columns are jointly close to Gaussian, and back.

A return has no linear memory, and what memory it has is in its size: no correlation of returns, of ranks or
of principal components sees volatility cluster. So a return is written as two columns, its sign and its size.
Sizes correlate from bar to bar (clustering), signs with later sizes (leverage), sizes with wicks and volume;
all of it is linear between normal scores, and a flattened window keeps it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.tabular import EmpiricalMargins
from engine.synthetic.window_generator import Floats

__all__ = ["LEAST_WINDOWS", "WindowCopula"]

LEAST_WINDOWS = 40
_GIBBS_SWEEPS = 5
_LEAST_VARIANCE = 1e-3


class WindowCopula:
    """Gaussian copula of a window's bars, in which signs are those of latent normal columns.

    Margins are those of a channel over all bars; what changes with the place in the window (a panic ages) is
    the mean and the spread of its normal scores. Correlations are shrunk towards those of a stationary law,
    which depend on the lag only, as if as many windows of such a law had been seen as there are columns.

    Parameters
    ----------
    windows : ndarray, shape (n, length, channels)
        Channel 0 is a return, which has a sign; the others are levels.

    Attributes
    ----------
    correlation : ndarray, shape (columns, columns)
        Of the latent columns: at each bar the size of the return, the other channels, the sign.

    Raises
    ------
    NotEnoughDataError
        If there are fewer than 40 windows, or fewer than 20 returns of one sign.
    DataError
        If a number is not finite or a channel is constant.

    References
    ----------
    Hoff (2007), "Extending the rank likelihood for semiparametric copula estimation", for binary columns in a
    Gaussian copula.
    """

    def __init__(self, windows: Floats) -> None:
        _check(windows)
        self.length, self.channels = windows.shape[1:]
        bars = windows.reshape(-1, self.channels)
        up = bars[:, 0] >= 0.0
        self._sizes = {rises: EmpiricalMargins.fit(np.abs(bars[up == rises, :1])) for rises in (False, True)}
        self._levels = EmpiricalMargins.fit(bars[:, 1:])
        self._threshold = float(ndtri(1.0 - up.mean()))
        scores = self._scores(windows)
        self._mean, self._spread = scores.mean(axis=0), scores.std(axis=0)
        rises = (windows[:, :, :1] >= 0.0).astype(float)
        self.correlation = self._latent_correlation(
            np.concatenate([(scores - self._mean) / self._spread, rises], 2)
        )

    def _scores(self, windows: Floats) -> Floats:
        """Return normal scores of the size of the return, given its sign, and of the other channels."""
        bars = windows.reshape(-1, self.channels)
        scores = np.empty(bars.shape)
        for rises, margins in self._sizes.items():
            own = (bars[:, 0] >= 0.0) == rises
            scores[own, :1] = margins.scores(np.abs(bars[own, :1]))
        scores[:, 1:] = self._levels.scores(bars[:, 1:])
        return scores.reshape(windows.shape)

    def _latent_correlation(self, columns: Floats) -> Floats:
        """Correlate the latent columns; given are standardised scores and, last, whether the return rose."""
        n, length, channels = columns.shape
        kind = np.tile(np.arange(channels) == channels - 1, length)
        sample = np.cov(columns.reshape(n, -1), rowvar=False, bias=True)
        # What an indicator's covariance with a score (biserial), and with another indicator (tetrachoric,
        # exact for signs that are even), says of the latent column that it is the sign of.
        density = np.exp(-0.5 * self._threshold**2) / np.sqrt(2.0 * np.pi)
        variance = float(ndtr(self._threshold) * ndtr(-self._threshold))
        sample[np.ix_(kind, ~kind)] /= density
        sample[np.ix_(~kind, kind)] /= density
        sample[np.ix_(kind, kind)] = np.sin(
            0.5 * np.pi * np.clip(sample[np.ix_(kind, kind)] / variance, -1.0, 1.0)
        )
        weight = len(sample) / (n + len(sample))
        shrunk = (1.0 - weight) * sample + weight * _stationary(sample, length)
        values, vectors = np.linalg.eigh(shrunk)
        proper = (vectors * np.maximum(values, _LEAST_VARIANCE)) @ vectors.T
        scale = np.sqrt(np.diag(proper))
        correlation: Floats = proper / np.outer(scale, scale)
        return correlation

    def latents(self, windows: Floats, seed: int) -> Floats:
        """Latent columns of windows, shape (n, columns); those of signs are drawn given all else.

        By Gibbs sampling: each is normal given the other columns, and cut off where its sign says.
        """
        rng = np.random.default_rng(seed)
        n = len(windows)
        rises = windows[:, :, 0] >= 0.0
        scores = (self._scores(windows) - self._mean) / self._spread
        start = np.where(rises, 0.8, -0.8)[:, :, None]
        latents = np.concatenate([scores, start], axis=2).reshape(n, -1)
        precision = np.linalg.inv(self.correlation)
        for _ in range(_GIBBS_SWEEPS):
            for bar in range(self.length):
                j = (bar + 1) * (self.channels + 1) - 1
                deviation = 1.0 / np.sqrt(precision[j, j])
                mean = latents[:, j] - latents @ precision[j] / precision[j, j]
                cut = ndtr((self._threshold - mean) / deviation)
                uniform = rng.random(n)
                uniform = np.where(rises[:, bar], cut + (1.0 - cut) * uniform, cut * uniform)
                drawn = mean + deviation * ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
                latents[:, j] = drawn
        return latents

    def windows(self, latents: Floats) -> Floats:
        """Windows of latent columns, shape (n, length, channels)."""
        n = len(latents)
        columns = latents.reshape(n, self.length, self.channels + 1)
        scores = (columns[:, :, :-1] * self._spread + self._mean).reshape(-1, self.channels)
        rises = (columns[:, :, -1] > self._threshold).ravel()
        bars = np.empty(scores.shape)
        for sign, margins in self._sizes.items():
            own = rises == sign
            bars[own, :1] = margins.rows(scores[own, :1]) * (1.0 if sign else -1.0)
        bars[:, 1:] = self._levels.rows(scores[:, 1:])
        return bars.reshape(n, self.length, self.channels)


def _stationary(covariance: Floats, length: int) -> Floats:
    """Mean over all bars of the covariances of each lag: block Toeplitz."""
    channels = len(covariance) // length
    blocks = covariance.reshape(length, channels, length, channels)
    result = np.empty_like(blocks)
    for lag in range(length):
        later, earlier = np.arange(lag, length), np.arange(length - lag)
        mean = blocks[later, :, earlier, :].mean(axis=0)
        result[later, :, earlier, :] = mean
        result[earlier, :, later, :] = mean.T
    return result.reshape(covariance.shape)


def _check(windows: Floats) -> None:
    if windows.ndim != 3 or min(windows.shape[1:]) < 2:
        raise ValueError(f"windows of shape {windows.shape} must be (count, length >= 2, channels >= 2)")
    if len(windows) < LEAST_WINDOWS:
        raise NotEnoughDataError(f"{len(windows)} windows; a generator needs at least {LEAST_WINDOWS}")
    if not np.isfinite(windows).all():
        raise DataError("a window holds NaN or infinity")
    constant = np.flatnonzero(np.ptp(windows, axis=(0, 1)) == 0.0)
    if constant.size:
        raise DataError("constant in all windows", column=str(constant[0]))
    rises = int((windows[:, :, 0] >= 0.0).sum())
    if min(rises, windows[:, :, 0].size - rises) < 20:
        raise NotEnoughDataError(
            f"{rises} of {windows[:, :, 0].size} returns are not negative; 20 of each sign are needed"
        )
