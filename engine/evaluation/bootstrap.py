"""Resampling of dependent series: stationary bootstrap, automatic block length, effective sample size.

Everything here treats a series as stationary with dependence that dies out. The block length, the long-run
variance and the effective sample size come from one estimate of the autocovariances, smoothed with the
flat-top window of Politis and Romano (1995) whose bandwidth is chosen from the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Dependence",
    "automatic_block_length",
    "bootstrap_interval",
    "dependence",
    "effective_sample_size",
    "long_run_variance",
    "stationary_bootstrap_blocks",
    "stationary_bootstrap_indices",
    "stationary_bootstrap_variance",
]

Integers = NDArray[np.int64]


def stationary_bootstrap_blocks(
    n: int, block: float, draws: int, rng: np.random.Generator
) -> tuple[Integers, Integers, Integers]:
    """Draw the stretches that index series of the stationary bootstrap are strung together from.

    Sums over a draw need only the stretches and a cumulated series, not the indices; for the same generator
    they are those of `stationary_bootstrap_indices`, whose parameters and errors these are.

    Returns
    -------
    start, length : ndarray of int64, shape (stretches,)
        Of all draws in order; a stretch goes on at 0 after ``n - 1``. Those of a draw add up to `n`.
    first : ndarray of int64, shape (draws + 1,)
        Draw d has the stretches ``first[d] .. first[d + 1] - 1``.
    """
    if n < 1 or draws < 1:
        raise ValueError(f"n={n} and draws={draws} must both be at least 1")
    if not 1.0 <= block < np.inf:
        raise ValueError(f"block={block} must be finite and at least 1")
    starts_here = rng.random((draws, n)) < 1.0 / block
    starts_here[:, 0] = True
    place = np.flatnonzero(starts_here)
    length = np.diff(np.append(place, draws * n))
    start = rng.integers(0, n, place.size)
    return start, length, np.searchsorted(place, np.arange(draws + 1) * n)


def stationary_bootstrap_indices(n: int, block: float, draws: int, rng: np.random.Generator) -> Integers:
    """Draw index series of the stationary bootstrap.

    A draw strings together stretches of the series, each of geometric length with mean `block` and a uniform
    start; the series is closed to a circle, so every observation is equally likely in every place.

    Parameters
    ----------
    n : int
        Length of the series, and of each draw.
    block : float
        Mean length of a stretch, at least 1; 1 is the independent bootstrap.
    draws : int
        How many index series.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of int64, shape (draws, n)
        Positions in ``0 .. n - 1``.

    Raises
    ------
    ValueError
        If `n` or `draws` is below 1, or `block` is below 1 or not finite.

    References
    ----------
    Politis and Romano (1994), "The stationary bootstrap".
    """
    start, length, _ = stationary_bootstrap_blocks(n, block, draws, rng)
    place = np.cumsum(length) - length
    return ((np.repeat(start - place, length) + np.arange(draws * n)) % n).reshape(draws, n)


def stationary_bootstrap_variance(series: NDArray[np.float64], block: float) -> NDArray[np.float64]:
    """Variance of the mean over all draws of the stationary bootstrap, in closed form.

    Parameters
    ----------
    series : ndarray, shape (n, ...)
        Periods along the first axis.
    block : float
        Mean length of a stretch, at least 1.

    Returns
    -------
    ndarray, shape ``series.shape[1:]``
        ``(C(0) + 2 sum_k (1 - k/n) (1 - 1/block)^k C(k)) / n`` with the autocovariances C on the circle.

    References
    ----------
    Politis and Romano (1994), lemma 1.
    """
    n = series.shape[0]
    spectrum = np.abs(np.fft.rfft(series - series.mean(axis=0), axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, n, axis=0) / n
    k = np.arange(1, n)
    weight = 2.0 * (1.0 - k / n) * (1.0 - 1.0 / block) ** k
    variance = (covariance[0] + np.tensordot(weight, covariance[1:], 1)) / n
    return np.maximum(variance, 0.0)


@dataclass(frozen=True)
class Dependence:
    """Autocovariances of a series, summed up.

    Parameters
    ----------
    n : int
        Length of the series.
    variance, long_run_variance, slope : float
        R(0), sum_k R(k) and sum_k |k| R(k), flat-top smoothed; zero for a constant series.
    """

    n: int
    variance: float
    long_run_variance: float
    slope: float

    @property
    def block_length(self) -> float:
        """See `automatic_block_length`."""
        if self.long_run_variance <= 0.0:
            return 1.0
        ratio = (self.slope / self.long_run_variance) ** 2
        longest = np.ceil(min(3.0 * np.sqrt(self.n), self.n / 3.0))
        return float(np.clip((ratio * self.n) ** (1.0 / 3.0), 1.0, max(longest, 1.0)))


def _finite_series(x: ArrayLike) -> NDArray[np.float64]:
    series = np.asarray(x, dtype=np.float64)
    if series.ndim != 1 or series.size < 2:
        raise ValueError(f"a series of at least 2 values is needed, got shape {series.shape}")
    if not np.isfinite(series).all():
        raise ValueError("the series holds NaN or infinity; drop or fill those periods first")
    return series


def dependence(x: ArrayLike) -> Dependence:
    """Estimate block length and long-run variance of a series at once; `x` as in `automatic_block_length`."""
    series = _finite_series(x)
    n = series.size
    deviation = series - series.mean()
    consecutive = max(5, int(np.sqrt(np.log10(n))))
    lags = min(int(np.ceil(np.sqrt(n))) + consecutive, n - 1)
    covariance = np.array([deviation[k:] @ deviation[: n - k] for k in range(lags + 1)]) / n
    if covariance[0] <= 1e-28 * max(1.0, float(series.mean() ** 2)):
        return Dependence(n, 0.0, 0.0, 0.0)
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * np.sqrt(np.log10(n) / n)
    bandwidth = min(_bandwidth(small, consecutive), lags)
    k = np.arange(1, bandwidth + 1)
    weighted = np.clip(2.0 * (1.0 - k / bandwidth), 0.0, 1.0) * covariance[k]
    return Dependence(
        n,
        variance=float(covariance[0]),
        long_run_variance=float(covariance[0] + 2.0 * weighted.sum()),
        slope=float(2.0 * (k * weighted).sum()),
    )


def _bandwidth(small: NDArray[np.bool_], consecutive: int) -> int:
    """Twice the first lag that opens a run of `consecutive` negligible autocorrelations.

    One lag later than the wording of Politis and White (2004), as in the authors' own program: the
    literal rule gives blocks that are too short for weakly dependent series.
    """
    run = 0
    for lag, negligible in enumerate(small, start=1):
        run = run + 1 if negligible else 0
        if run == consecutive:
            return 2 * (lag - consecutive + 1)
    significant = np.flatnonzero(~small)
    return 2 * int(significant[-1] + 1) if significant.size else 2


def automatic_block_length(x: ArrayLike) -> float:
    """Mean block length that minimises the error of the stationary bootstrap's variance of the mean.

    Parameters
    ----------
    x : array_like, shape (n,)
        The series, finite, at least 2 values.

    Returns
    -------
    float
        Between 1 and ``ceil(min(3 sqrt(n), n / 3))``; 1 for a constant series.

    Raises
    ------
    ValueError
        If the series is too short or holds NaN or infinity.

    References
    ----------
    Politis and White (2004), corrected by Patton, Politis and White (2009).
    """
    return dependence(x).block_length


def long_run_variance(x: ArrayLike) -> float:
    """Sum of all autocovariances: n times the variance of the mean of a long series.

    Never below zero; see `automatic_block_length` for `x` and the errors raised.
    """
    return max(dependence(x).long_run_variance, 0.0)


def effective_sample_size(x: ArrayLike) -> float:
    """Count of independent observations whose mean would be as uncertain as the mean of this series.

    ``n R(0) / sum_k R(k)``, kept between 1 and n: negative autocorrelation earns no extra certainty. A
    constant series shows no dependence and counts in full.
    """
    found = dependence(x)
    if found.variance == 0.0:
        return float(found.n)
    inflation = max(found.long_run_variance / found.variance, 1.0)
    return max(found.n / inflation, 1.0)


def bootstrap_interval(
    statistics: NDArray[np.float64], confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two-sided percentile interval by exact ranks.

    The ranks are ``(1 -+ confidence) / 2 * (draws + 1)``, rounded outwards: with 999 draws and 95 % the 25th
    and the 975th. Interpolated quantiles of few draws are too narrow.

    Parameters
    ----------
    statistics : ndarray, shape (draws, ...)
        One bootstrap statistic per row. A statistic that is NaN in any draw has a NaN interval.
    confidence : float
        Between 0 and 1, exclusive.

    Returns
    -------
    low, high : ndarray, shape ``statistics.shape[1:]``

    Raises
    ------
    ValueError
        If there are too few draws for the confidence asked for.
    """
    draws = statistics.shape[0]
    tail = (1.0 - confidence) / 2.0
    rank = int(np.floor(tail * (draws + 1) + 1e-9))
    if not 0.0 < confidence < 1.0 or rank < 1:
        needed = int(np.ceil(1.0 / tail)) - 1 if 0.0 < confidence < 1.0 else None
        raise ValueError(
            f"confidence={confidence} with {draws} draws has no rank; it must lie between 0 and 1"
            f" and needs at least {needed} draws"
        )
    ordered = np.sort(statistics, axis=0)
    undefined = np.isnan(ordered[-1])
    low, high = ordered[rank - 1], ordered[draws - rank]
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)
