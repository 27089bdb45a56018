"""How the moves of all symbols in a bar are distributed, given the regime and the level of volatility.

The standardised returns z of the symbols that traded, given the regime k and the log-volatility level h, are
multivariate Student-t (Hamilton 1989 for switching, Lange, Little & Taylor 1989 for the fit):

    z = drift_k + memory_k * previous z + exp(h) * sqrt(u) * e,    e ~ N(0, variance_k * C_k),

where C_k has ones on and correlation_k off its diagonal, and u is inverse gamma with `degrees` degrees of
freedom: one scale hits all symbols at once. Excursions add squared residuals under the same u. A symbol that
did not trade is marginalised away exactly; with one symbol this is a univariate autoregression with Student-t
noise.

Everything depends on the symbols through eight sums per bar, so its cost does not depend on their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.regimes.names import REGIMES

__all__ = ["DRIFT_SIGN", "MODES", "MODE_REGIME", "Definition", "ReturnLaw", "bar_sums", "log_densities"]

Floats = NDArray[np.float64]

MODES = ("TREND up", "TREND down", "RANGE", "PANIC")
"""States of the chain: a trend leads up or down, by the same law with the drift turned round."""

MODE_REGIME = np.array([0, 0, 1, 2])
DRIFT_SIGN = np.array([1.0, -1.0, 1.0, 1.0])

EXCURSION_DEGREES = 4.0


@dataclass(frozen=True)
class Definition:
    """What the regimes mean, in standard deviations of a symbol's usual return; the prior of the fit.

    A trend is directed; a range is quiet and undirected; a panic is violent, falls, and takes everything
    along. Values are in the order of `REGIMES`; drifts are per bar.

    Parameters
    ----------
    drift, scale, correlation : tuple of float
        Prior means.
    weight, drift_weight : float
        Weight of the prior, as a share of the rows fitted on.
    """

    drift: tuple[float, float, float] = (0.1, 0.0, -0.1)
    scale: tuple[float, float, float] = (0.77, 0.5, 1.94)
    correlation: tuple[float, float, float] = (0.5, 0.45, 0.8)
    weight: float = 0.02
    drift_weight: float = 0.05

    def per_bar(self, bar_hours: float) -> Definition:
        """For bars of this length, where drifts are those per hour: they grow with the root of time."""
        trend, quiet, panic = (drift * math.sqrt(bar_hours) for drift in self.drift)
        return replace(self, drift=(trend, quiet, panic))


@dataclass(frozen=True)
class ReturnLaw:
    """Parameters of the emissions; arrays [3] in the order of `REGIMES`.

    Parameters
    ----------
    drift : ndarray
        Mean return per bar; of a trend the size, whose sign is the mode's.
    memory : ndarray
        First-order autoregression.
    variance, correlation : ndarray
        Of the noise, at level 0.
    degrees : float
        Degrees of freedom of the common scale.
    """

    drift: Floats
    memory: Floats
    variance: Floats
    correlation: Floats
    degrees: float

    @classmethod
    def defined(cls, definition: Definition) -> ReturnLaw:
        """Return the law of the definition alone."""
        return cls(
            drift=np.array(definition.drift),
            memory=np.zeros(len(REGIMES)),
            variance=np.array(definition.scale) ** 2,
            correlation=np.array(definition.correlation),
            degrees=5.0,
        )

    def modes(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Drift, memory, variance and correlation of each of `MODES`."""
        k = MODE_REGIME
        return self.drift[k] * DRIFT_SIGN, self.memory[k], self.variance[k], self.correlation[k]


def bar_sums(bar: NDArray[np.int64], bars: int, z: Floats, before: Floats, excursion: Floats) -> Floats:
    """Add up the symbols of each bar; the sums of a bar without any are zero.

    Sums grow in the order of the rows, and a symbol that is not there adds nothing: a later listing cannot
    change the rounding of earlier bars.

    Parameters
    ----------
    bar : ndarray of int, shape (rows,)
        Bar of each row, from 0.
    bars : int
        Number of bars.
    z, before, excursion : ndarray, shape (rows,)
        Standardised return, the one before it, and excursion; NaN where unknown. Without a return a row is
        no evidence at all; an unknown previous return counts as its mean, 0.

    Returns
    -------
    ndarray, shape (bars, 8)
        Count, sum of z, of ``before``, of z squared, of z times ``before``, of ``before`` squared, degrees of
        freedom and sum of the excursions.
    """
    known = np.isfinite(z)
    z, before = np.where(known, z, 0.0), np.where(known & np.isfinite(before), before, 0.0)
    swung = known & np.isfinite(excursion)
    columns = (
        known.astype(float),
        z,
        before,
        z * z,
        z * before,
        before * before,
        EXCURSION_DEGREES * swung,
        np.where(swung, excursion, 0.0),
    )
    return np.stack([np.bincount(bar, column, bars) for column in columns], axis=1)


def log_densities(sums: Floats, law: ReturnLaw, levels: Floats) -> Floats:
    """Log density of each bar in each state, up to a term that all states share.

    Parameters
    ----------
    sums : ndarray, shape (bars, 8)
        From `bar_sums`.
    law : ReturnLaw
    levels : ndarray, shape (L,)
        Levels of log-volatility.

    Returns
    -------
    ndarray, shape (bars, 4 * L)
        States in the order mode, then level; 0 throughout where nobody traded.
    """
    return _log_densities(sums, *law.modes(), law.degrees, np.exp(2.0 * levels))


@njit(cache=True)
def _log_densities(sums, drift, memory, variance, correlation, degrees, level_variance):  # type: ignore[no-untyped-def]  # pragma: no cover
    bars, modes, levels = sums.shape[0], drift.shape[0], level_variance.shape[0]
    log_level = np.log(level_variance)
    out = np.zeros((bars, modes * levels))
    for t in range(bars):
        n, added = sums[t, 0], sums[t, 6]
        if n == 0.0:
            continue
        total = n + added
        norm = (
            math.lgamma(0.5 * (degrees + total))
            - math.lgamma(0.5 * degrees)
            - 0.5 * (n * math.log(math.pi) + total * math.log(degrees))
        )
        for m in range(modes):
            mu, phi = drift[m], memory[m]
            first = sums[t, 1] - n * mu - phi * sums[t, 2]
            second = sums[t, 3] - 2.0 * (mu * sums[t, 1] + phi * sums[t, 4] - mu * phi * sums[t, 2])
            second += n * mu * mu + phi * phi * sums[t, 5]
            between = first * first / n
            within = max(second - between, 0.0)
            wide, narrow = 1.0 + (n - 1.0) * correlation[m], 1.0 - correlation[m]
            distance = (between / wide + within / narrow + sums[t, 7]) / (variance[m] * degrees)
            base = norm - 0.5 * (
                math.log(wide) + (n - 1.0) * math.log(narrow) + total * math.log(variance[m])
            )
            for v in range(levels):
                out[t, m * levels + v] = (
                    base
                    - 0.5 * total * log_level[v]
                    - 0.5 * (degrees + total) * math.log1p(distance / level_variance[v])
                )
    return out
