"""How well detected regimes agree with known ones: accuracy, recall at equal false alarms, delays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.evaluation.bootstrap import (
    automatic_block_length,
    bootstrap_interval,
    stationary_bootstrap_indices,
)
from engine.regimes.names import REGIMES

__all__ = [
    "RegimeScores",
    "balanced_accuracy_interval",
    "detection_delays",
    "false_alarm_rate",
    "recall_at_false_alarms",
    "regime_scores",
]

Names = Sequence[str] | NDArray[np.str_]


@dataclass(frozen=True)
class RegimeScores:
    """Agreement of detected with true regimes, bar by bar.

    Parameters
    ----------
    accuracy : float
        Share of the bars that are named right.
    balanced_accuracy : float
        Mean of the recalls of the regimes that occur.
    recall : dict of float
        Share of each regime's bars that are named right; without regimes that never occur.
    median_delay : dict of float
        Bars from the first of a stay until the regime is named, the median over its stays; infinite where
        most stays end unnoticed.
    switches_per_true_switch : float
        How jumpy the detector is: 1 is right; NaN where the truth never switches.
    bars : int
        Bars compared.
    """

    accuracy: float
    balanced_accuracy: float
    recall: dict[str, float]
    median_delay: dict[str, float]
    switches_per_true_switch: float
    bars: int


def _codes(names: Names, what: str) -> NDArray[np.int64]:
    array = np.asarray(names, dtype=str)
    codes = np.full(array.shape, -1, dtype=np.int64)
    for k, name in enumerate(REGIMES):
        codes[array == name] = k
    if array.ndim != 1 or not array.size or (codes < 0).any():
        wrong = sorted(set(array.ravel()[codes.ravel() < 0]))[:3]
        raise ValueError(f"{what} holds {wrong or 'nothing'}; it must be a series of {REGIMES}")
    return codes


def _both(truth: Names, found: Names) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    true, named = _codes(truth, "truth"), _codes(found, "found")
    if true.size != named.size:
        raise ValueError(f"truth has {true.size} bars and found {named.size}; give both of the same bars")
    return true, named


def regime_scores(truth: Names, found: Names) -> RegimeScores:
    """Score detected regimes against the true ones of the same consecutive bars.

    Raises
    ------
    ValueError
        If a name is not one of `REGIMES`, the lengths differ or there are no bars.
    """
    true, named = _both(truth, found)
    present = np.unique(true)
    recall = {REGIMES[k]: float((named[true == k] == k).mean()) for k in present}
    delays = detection_delays(truth, found)
    true_switches = int((np.diff(true) != 0).sum())
    return RegimeScores(
        accuracy=float((true == named).mean()),
        balanced_accuracy=float(np.mean(list(recall.values()))),
        recall=recall,
        median_delay={name: float(np.median(delay)) for name, delay in delays.items() if delay.size},
        switches_per_true_switch=float((np.diff(named) != 0).sum()) / true_switches
        if true_switches
        else np.nan,
        bars=true.size,
    )


def detection_delays(truth: Names, found: Names) -> dict[str, NDArray[np.float64]]:
    """Bars from the first of each true stay until it is named; infinite where it ends unnoticed.

    The stay under way at the first bar is left out: its beginning is not known. A regime that was named
    already when it began has delay 0.
    """
    true, named = _both(truth, found)
    begins = np.flatnonzero(np.diff(true)) + 1
    ends = np.append(begins[1:], true.size)
    delays: dict[str, list[float]] = {name: [] for name in REGIMES}
    for begin, end in zip(begins, ends, strict=True):
        noticed = np.flatnonzero(named[begin:end] == true[begin])
        delays[REGIMES[true[begin]]].append(float(noticed[0]) if noticed.size else np.inf)
    return {name: np.array(delay) for name, delay in delays.items()}


def false_alarm_rate(truth: Names, alarm: ArrayLike, regime: str = "PANIC") -> float:
    """Share of the bars outside of a regime in which there was an alarm of it."""
    quiet = _codes(truth, "truth") != REGIMES.index(regime)
    if not quiet.any():
        raise ValueError(f"every bar of truth is {regime}; a false alarm needs a bar that is not")
    return float(np.asarray(alarm, dtype=bool)[quiet].mean())


def recall_at_false_alarms(truth: Names, score: ArrayLike, rate: float, regime: str = "PANIC") -> float:
    """Share of a regime's bars that are noticed, at the threshold that gives a rate of false alarms.

    Detectors compare at equal false alarms only: whoever cries more finds more. The recall is read off the
    ROC curve, straight between thresholds (a score between two is drawn by lot), so that hard labels, whose
    curve has one corner, compare with probabilities.

    Parameters
    ----------
    truth : sequence of str, length n
    score : array_like, shape (n,)
        Larger speaks for the regime: a probability, or 0 and 1.
    rate : float
        Between 0 and 1, see `false_alarm_rate`.
    regime : str

    Raises
    ------
    ValueError
        If the rate is outside 0..1, a score is NaN, or the regime never or always occurs.
    """
    inside = _codes(truth, "truth") == REGIMES.index(regime)
    scores = np.asarray(score, dtype=float)
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"rate = {rate} must be between 0 and 1")
    if scores.shape != inside.shape or np.isnan(scores).any():
        raise ValueError(f"score must be {inside.size} numbers, none of them NaN")
    if inside.all() or not inside.any():
        raise ValueError(f"truth must hold bars inside and outside of {regime}")
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0.0, True)
    noticed = np.cumsum(inside[order])[last_of_ties] / inside.sum()
    alarmed = np.cumsum(~inside[order])[last_of_ties] / (~inside).sum()
    noticed, alarmed = np.r_[0.0, noticed], np.r_[0.0, alarmed]
    right = int(np.searchsorted(alarmed, rate, side="right"))
    if right == alarmed.size:
        return 1.0
    share = (rate - alarmed[right - 1]) / (alarmed[right] - alarmed[right - 1])
    return float(noticed[right - 1] + share * (noticed[right] - noticed[right - 1]))


def balanced_accuracy_interval(
    truth: Names, found: Names, *, confidence: float = 0.95, draws: int = 399, seed: int = 0
) -> tuple[float, float]:
    """Interval of the balanced accuracy by the stationary bootstrap: neighbouring bars err together.

    Returns
    -------
    low, high : float
        NaN where a draw lacks one of the regimes.
    """
    true, named = _both(truth, found)
    right = true == named
    block = automatic_block_length(right.astype(float))
    rng = np.random.default_rng(seed)
    drawn = stationary_bootstrap_indices(true.size, block, draws, rng)
    recalls = []
    for k in np.unique(true):
        inside = (true == k)[drawn]
        with np.errstate(invalid="ignore"):
            recalls.append((inside & right[drawn]).sum(axis=1) / inside.sum(axis=1))
    low, high = bootstrap_interval(np.mean(recalls, axis=0), confidence)
    return float(low), float(high)
