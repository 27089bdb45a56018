"""Improvements over a baseline, drawn again by a studentised stationary bootstrap common to all candidates.

All candidates and the baseline are drawn with the same stretches of time. That pairs each candidate with the
baseline, whose noise is mostly the market's and cancels, and keeps the correlation between candidates, which
decides how lucky the best of them can be.

A statistic is studentised in every draw anew. Given the draw, its stretches are independent, so the variance
of a mean is the sum of the squared deviations of its stretches (Goetze and Kuensch 1996). In the data itself
it is the variance that the bootstrap has there in closed form or the flat-top long-run variance, whichever is
larger: the first is too small under autocorrelation, the second noisy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.evaluation.bootstrap import (
    dependence,
    stationary_bootstrap_blocks,
    stationary_bootstrap_variance,
)

__all__ = ["PairedDraws", "draw_means", "draw_sharpes"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PairedDraws:
    """A statistic of K candidates less that of the baseline, in the data and in each of B draws.

    Parameters
    ----------
    baseline : float
        The baseline's statistic per period.
    improvement, standard_error : ndarray, shape (K,)
        Candidate less baseline.
    baseline_draws : ndarray, shape (B,)
    improvement_draws, standard_error_draws : ndarray, shape (B, K)
    block : float
        Mean length of a stretch, the longest that any candidate's dependence asks for.
    periods : int
        Length of the series.
    """

    baseline: float
    improvement: Floats
    standard_error: Floats
    baseline_draws: Floats
    improvement_draws: Floats
    standard_error_draws: Floats
    block: float
    periods: int

    @property
    def statistic(self) -> Floats:
        """Improvement in standard errors, shape (K,)."""
        return self.improvement / self.standard_error

    @property
    def statistic_draws(self) -> Floats:
        """The same in each draw, centred on the improvement in the data: its distribution without one."""
        deviation, error = self.improvement_draws - self.improvement, self.standard_error_draws
        limit = np.where(deviation > 0.0, np.inf, np.where(deviation < 0.0, -np.inf, 0.0))
        return np.divide(deviation, error, out=limit, where=error > 0.0)

    @property
    def degrees_of_freedom(self) -> float:
        """Stretches less one: what is as good as independent in the series."""
        return max(self.periods / self.block - 1.0, 1.0)


def draw_means(baseline: Floats, candidates: Floats, *, draws: int, rng: np.random.Generator) -> PairedDraws:
    """Improvements of the mean per period.

    Parameters
    ----------
    baseline : ndarray, shape (T,)
    candidates : ndarray, shape (T, K)
        Returns net of costs over the same periods; no candidate's difference may be constant.
    draws : int
    rng : numpy.random.Generator
    """
    difference = candidates - baseline[:, None]
    block, long_run = _dependence(difference)
    blocks = stationary_bootstrap_blocks(baseline.size, block, draws, rng)
    level = np.append(baseline.mean(), difference.mean(axis=0))
    series = np.column_stack([baseline, difference]) - level
    means, errors = _means(_cumulated(series), *blocks)
    means += level
    return PairedDraws(
        baseline=float(level[0]),
        improvement=level[1:],
        standard_error=_standard_error(difference, block, long_run),
        baseline_draws=means[:, 0],
        improvement_draws=means[:, 1:],
        standard_error_draws=errors[:, 1:],
        block=block,
        periods=baseline.size,
    )


def draw_sharpes(
    baseline: Floats, candidates: Floats, *, draws: int, rng: np.random.Generator
) -> PairedDraws:
    """Improvements of the Sharpe ratio per period (mean over standard deviation, riskless rate zero).

    The ratio is computed anew in every draw, and its standard error by the delta method from the draw's own
    stretches. Parameters as in `draw_means`; no stream may be constant.

    References
    ----------
    Ledoit and Wolf (2008), "Robust performance hypothesis testing with the Sharpe ratio".
    """
    returns = np.column_stack([baseline, candidates])
    level, deviation = returns.mean(axis=0), returns.std(axis=0)
    standard = (returns - level) / deviation
    ratio = level / deviation
    influence = standard - 0.5 * ratio * (standard**2 - 1.0)
    difference = influence[:, 1:] - influence[:, :1]
    block, long_run = _dependence(difference)
    blocks = stationary_bootstrap_blocks(baseline.size, block, draws, rng)
    ratios, errors = _sharpes(_cumulated(standard), _cumulated(standard**2), ratio, *blocks)
    return PairedDraws(
        baseline=float(ratio[0]),
        improvement=ratio[1:] - ratio[0],
        standard_error=_standard_error(difference, block, long_run),
        baseline_draws=ratios[:, 0],
        improvement_draws=ratios[:, 1:] - ratios[:, :1],
        standard_error_draws=errors,
        block=block,
        periods=baseline.size,
    )


def _dependence(series: Floats) -> tuple[float, Floats]:
    """Longest block that any column asks for, and the long-run variances."""
    found = [dependence(column) for column in series.T]
    return max(one.block_length for one in found), np.array([one.long_run_variance for one in found])


def _standard_error(series: Floats, block: float, long_run_variance: Floats) -> Floats:
    """Estimate the standard error of each column's mean."""
    by_blocks = stationary_bootstrap_variance(series, block)
    return np.sqrt(np.maximum(by_blocks, long_run_variance / series.shape[0]))


def _cumulated(series: Floats) -> Floats:
    """Cumulate over two rounds of the circle, with the empty sum first."""
    twice = np.concatenate([np.zeros_like(series[:1]), series, series])
    return np.cumsum(twice, axis=0)


@nb.njit(cache=True)
def _means(cumulated: Floats, start: Integers, length: Integers, first: Integers) -> tuple[Floats, Floats]:
    """Mean of each series in each draw, and its standard error from the draw's stretches."""
    draws, columns = first.size - 1, cumulated.shape[1]
    periods = (cumulated.shape[0] - 1) // 2
    means, errors = np.zeros((draws, columns)), np.zeros((draws, columns))
    squares, products = np.empty(columns), np.empty(columns)
    for d in range(draws):
        mean, error = means[d], errors[d]
        squares[:] = 0.0
        products[:] = 0.0
        lengths = 0.0
        for j in range(first[d], first[d + 1]):
            size = float(length[j])
            before, after = cumulated[start[j]], cumulated[start[j] + length[j]]
            for k in range(columns):
                total = after[k] - before[k]
                mean[k] += total
                squares[k] += total * total
                products[k] += total * size
            lengths += size * size
        for k in range(columns):
            mean[k] /= periods
            spread = squares[k] - 2.0 * mean[k] * products[k] + mean[k] * mean[k] * lengths
            error[k] = np.sqrt(max(spread, 0.0)) / periods
    return means, errors


@nb.njit(cache=True)
def _sharpes(
    first_moment: Floats,
    second_moment: Floats,
    ratio: Floats,
    start: Integers,
    length: Integers,
    first: Integers,
) -> tuple[Floats, Floats]:
    """Sharpe ratios in each draw, and the standard errors of their differences from the first column's.

    Takes the cumulated standardised returns and their cumulated squares: a stream with mean m and mean square
    s of those has the ratio (ratio + m) / sqrt(s - m^2).
    """
    draws, columns = first.size - 1, ratio.size
    periods = (first_moment.shape[0] - 1) // 2
    ratios, errors = np.empty((draws, columns)), np.zeros((draws, columns - 1))
    mean, square = np.empty(columns), np.empty(columns)
    by_mean, by_square, centre = np.empty(columns), np.empty(columns), np.empty(columns)
    influence = np.empty(columns)
    for d in range(draws):
        mean[:] = 0.0
        square[:] = 0.0
        for j in range(first[d], first[d + 1]):
            low, high = start[j], start[j] + length[j]
            for k in range(columns):
                mean[k] += first_moment[high, k] - first_moment[low, k]
                square[k] += second_moment[high, k] - second_moment[low, k]
        for k in range(columns):
            mean[k] /= periods
            square[k] /= periods
            deviation = np.sqrt(max(square[k] - mean[k] * mean[k], 1e-12))
            ratios[d, k] = (ratio[k] + mean[k]) / deviation
            by_mean[k] = 1.0 / deviation + ratios[d, k] * mean[k] / deviation**2
            by_square[k] = -0.5 * ratios[d, k] / deviation**2
            centre[k] = by_mean[k] * mean[k] + by_square[k] * square[k]
        for j in range(first[d], first[d + 1]):
            low, high, size = start[j], start[j] + length[j], float(length[j])
            for k in range(columns):
                influence[k] = (
                    by_mean[k] * (first_moment[high, k] - first_moment[low, k])
                    + by_square[k] * (second_moment[high, k] - second_moment[low, k])
                    - size * centre[k]
                )
            for k in range(1, columns):
                difference = influence[k] - influence[0]
                errors[d, k - 1] += difference * difference
        for k in range(columns - 1):
            errors[d, k] = np.sqrt(errors[d, k]) / periods
    return ratios, errors
