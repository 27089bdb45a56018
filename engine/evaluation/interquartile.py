"""Interquartile mean of training runs, with intervals that know what was repeated and what was not.

Scores are a matrix of R runs (seeds) by S strata (regimes, worlds). Strata differ in level for good, so runs
are drawn inside each stratum, never all scores from one urn: that would make the share of an easy regime
random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.evaluation.bootstrap import bootstrap_interval

__all__ = [
    "Estimate",
    "interquartile_mean",
    "probability_of_improvement",
    "stratified_interval",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its two-sided interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half: the lowest and the highest quarter are left out, each rounded down.

    Robust against single runs like the median, and nearly as precise as the mean.

    Parameters
    ----------
    scores : array_like
        Of any shape; all scores are one sample.

    References
    ----------
    Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
    """
    return float(_middle_half_mean(np.ravel(np.asarray(scores, np.float64))))


def stratified_interval(
    scores: ArrayLike, *, confidence: float = 0.95, draws: int = 1999, seed: int = 0
) -> Estimate:
    """Interquartile mean of all scores with the stratified bootstrap's percentile interval.

    In each draw the runs of each stratum are drawn anew, with replacement. The strata of one run are taken as
    independent here, which describes the spread of scores; a claim about two variants needs their paired
    difference over seeds (`engine.evaluation.ablation`).

    Parameters
    ----------
    scores : array_like, shape (R, S)
        Runs by strata, finite, at least 2 runs.
    confidence : float
    draws : int
    seed : int

    Raises
    ------
    ValueError
        If the shape does not fit or a score is not finite.
    """
    table = _table(scores, "scores")
    runs, strata = table.shape
    rows = np.random.default_rng(seed).integers(0, runs, (draws, runs, strata))
    drawn = table[rows, np.arange(strata)].reshape(draws, -1)
    low, high = bootstrap_interval(_middle_half_mean(drawn), confidence)
    return Estimate(interquartile_mean(table), float(low), float(high))


def probability_of_improvement(
    ours: ArrayLike, theirs: ArrayLike, *, confidence: float = 0.95, draws: int = 1999, seed: int = 0
) -> Estimate:
    """P(a run of ours beats a run of theirs), averaged over strata; a tie is half a win.

    The interval draws the runs of both inside each stratum. It compares runs at large and does not use that
    they may share seeds.

    Parameters
    ----------
    ours, theirs : array_like, shapes (R, S) and (Q, S)
        Runs by strata, finite, at least 2 runs each.
    confidence, draws, seed
        As in `stratified_interval`.

    Raises
    ------
    ValueError
        If the shapes do not fit or a score is not finite.

    References
    ----------
    Agarwal et al. (2021); the statistic is that of Mann and Whitney (1947).
    """
    first, second = _table(ours, "ours"), _table(theirs, "theirs")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"ours has {first.shape[1]} strata, theirs {second.shape[1]}; they must be the same")
    wins = (np.sign(first[:, None] - second[None]).transpose(2, 0, 1) + 1.0) / 2.0
    rng = np.random.default_rng(seed)
    of_first, of_second = (
        rng.multinomial(runs, np.full(runs, 1.0 / runs), (draws, first.shape[1]))
        for runs in (len(first), len(second))
    )
    won = np.einsum("dsr,srq->dsq", of_first, wins, optimize=True)
    low, high = bootstrap_interval((won * of_second).sum(axis=(1, 2)) / wins.size, confidence)
    return Estimate(float(wins.mean()), float(low), float(high))


def _middle_half_mean(samples: Floats) -> Floats:
    cut = samples.shape[-1] // 4
    return np.sort(samples, axis=-1)[..., cut : samples.shape[-1] - cut].mean(axis=-1)


def _table(scores: ArrayLike, name: str) -> Floats:
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 1:
        raise ValueError(f"{name} has shape {table.shape}; at least 2 runs by 1 stratum are needed")
    if not np.isfinite(table).all():
        raise ValueError(f"{name} holds NaN or infinity; repeat that run or leave it out of all variants")
    return table
