"""Effects from one score per seed: paired differences and ratios with Student intervals, and Holm's p-values.

Runs that share a seed share their paths, so most of the noise of a score is common to both and leaves the
difference. A run counts once, whatever number of regimes it was scored in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from engine.errors import NotEnoughDataError

__all__ = ["FEWEST_SEEDS", "Effect", "holm", "paired_effect", "relative_effect"]

Floats = NDArray[np.float64]

FEWEST_SEEDS = 5
_SAME = 1e-12


@dataclass(frozen=True)
class Effect:
    """Size of an effect, its two-sided interval over seeds, and the p-value of no effect."""

    value: float
    low: float
    high: float
    p_value: float
    seeds: int


def paired_effect(
    ours: ArrayLike, theirs: ArrayLike, *, confidence: float = 0.95, least_seeds: int = FEWEST_SEEDS
) -> Effect:
    """Mean difference, ours less theirs, over seeds.

    Without any difference the p-value is 1. Where all seeds show exactly the same difference nothing was
    repeated, the seed did not reach the runs: the interval is NaN and the p-value 1.

    Parameters
    ----------
    ours, theirs : array_like, shape (seeds,)
        Finite; the same seeds in the same order.
    confidence : float
    least_seeds : int

    Raises
    ------
    NotEnoughDataError
        With fewer seeds than needed.
    ValueError
        If the lengths differ or a score is not finite.

    References
    ----------
    Colas, Sigaud and Oudeyer (2019), "A hitchhiker's guide to statistical comparisons of reinforcement
    learning algorithms".
    """
    first, second = _pairs(ours, theirs, confidence, least_seeds)
    n, difference = first.size, first - second
    value, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(n))
    if error <= _SAME * float(np.abs([first, second]).max()):
        edge = 0.0 if value == 0.0 else np.nan
        return Effect(value, edge, edge, 1.0, n)
    half = _quantile(confidence, n) * error
    p_value = 2.0 * float(stdtr(n - 1, -abs(value) / error))
    return Effect(value, value - half, value + half, p_value, n)


def relative_effect(
    ours: ArrayLike, theirs: ArrayLike, *, confidence: float = 0.95, least_seeds: int = FEWEST_SEEDS
) -> Effect | None:
    """Ratio of the means, ours over theirs, less 1: 0.1 is ten percent more.

    The interval is Fieller's, which knows that the denominator is an estimate too. None where the ratio says
    nothing because theirs is not above zero beyond doubt: ten percent more of a loss is no gain. The p-value
    is that of `paired_effect`.

    Parameters and errors as in `paired_effect`.

    References
    ----------
    Fieller (1954), "Some problems in interval estimation".
    """
    first, second = _pairs(ours, theirs, confidence, least_seeds)
    n = first.size
    above, below = float(first.mean()), float(second.mean())
    scale = _quantile(confidence, n) ** 2 / n
    (var_above, covariance), (_, var_below) = scale * np.cov(first, second)
    a, b, c = below**2 - var_below, above * below - covariance, above**2 - var_above
    if below <= 0.0 or a <= 0.0:
        return None
    half = float(np.sqrt(max(b * b - a * c, 0.0)))
    difference = paired_effect(first, second, confidence=confidence, least_seeds=least_seeds)
    if np.isnan(difference.low):
        return Effect(above / below - 1.0, np.nan, np.nan, 1.0, n)
    return Effect(above / below - 1.0, (b - half) / a - 1.0, (b + half) / a - 1.0, difference.p_value, n)


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values: rejecting those up to alpha keeps the family-wise error, whatever their dependence.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted


def _quantile(confidence: float, n: int) -> float:
    return float(stdtrit(n - 1, 0.5 + confidence / 2.0))


def _pairs(ours: ArrayLike, theirs: ArrayLike, confidence: float, least_seeds: int) -> tuple[Floats, Floats]:
    first, second = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"ours {first.shape} and theirs {second.shape} must be one score per seed, in pairs")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence} must lie between 0 and 1")
    if first.size < max(least_seeds, 2):
        raise NotEnoughDataError(
            f"{first.size} seeds cannot carry a claim at {confidence:.0%}; at least {least_seeds} are needed,"
            " better 10"
        )
    if not np.isfinite([first, second]).all():
        raise ValueError("a score is NaN or infinite; repeat that seed or leave it out of both variants")
    return first, second
