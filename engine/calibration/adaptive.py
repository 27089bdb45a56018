"""Conformal thresholds with the exact rank, per category, and adapted over time.

The threshold of a category is the k-th smallest of its recent scores, k = ceil((n + 1)(1 - alpha)), infinite
when k > n (Lei et al. 2018; per category: Vovk 2012). Adaptive conformal inference (Gibbs and Candes 2021)
moves each category's alpha after every outcome: a miss lowers it, which widens what follows.

Own code instead of the library crepes (0.9.1) for three measured reasons: it truncates the rank in floating
point (39 scores 1..39 at 90 % give 37 instead of 36, and 9 scores give infinity), it takes absolute values,
which breaks the signed scores of conformalised quantile regression, and it answers a category never seen with
an interval of width zero. Adaptation over time with delayed outcomes it does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["AdaptiveThresholds", "conformal_quantile"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@nb.njit(cache=True)
def _threshold(ordered: Floats, n: int, alpha: float, overlap: float) -> float:
    rank = int(np.ceil((n + overlap) * (1.0 - alpha) - 1e-9))
    if rank > n:
        return np.inf
    return ordered[rank - 1] if rank >= 1 else -np.inf


def conformal_quantile(scores: ArrayLike, level: float) -> float:
    """Split-conformal threshold: the k-th smallest score, ``k = ceil((n + 1) level)``, infinite if ``k > n``.

    A new exchangeable score lies at or below it with probability ``k / (n + 1) >= level`` exactly, when
    scores are continuous. (`numpy.quantile(scores, level)` covers less than `level`.)

    Parameters
    ----------
    scores : array_like, shape (n,)
        Nonconformity scores of data the model was not fitted on, without NaN.
    level : float
        Coverage asked for, between 0 and 1.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if np.isnan(ordered).any():
        raise ValueError("scores hold NaN; drop unlabelled rows first")
    return float(_threshold(ordered, ordered.size, 1.0 - level, 1.0))


@nb.njit(cache=True)
def _careful_threshold(
    group: int, ordered: Floats, count: Ints, alpha: Floats, least: int, overlap: float
) -> float:
    """Threshold of one group; of a small or an unknown one (-1) the largest that the rest asks for too."""
    if group >= 0:
        own = _threshold(ordered[group], count[group], alpha[group], overlap)
        if count[group] >= least:
            return own
    else:
        own = -np.inf
    for other in range(count.size):
        if group < 0 or count[other] >= least:
            own = max(own, _threshold(ordered[other], count[other], alpha[other], overlap))
    return own


@nb.njit(cache=True)
def _careful_thresholds(
    groups: Ints, ordered: Floats, count: Ints, alpha: Floats, least: int, overlap: float
) -> Floats:
    per_group = np.empty(count.size + 1)  # the last place, index -1, is the unknown category
    for group in range(-1, count.size):
        per_group[group] = _careful_threshold(group, ordered, count, alpha, least, overlap)
    out = np.empty(groups.size)
    for i in range(groups.size):
        out[i] = per_group[groups[i]]
    return out


@nb.njit(cache=True)
def _remember(score: float, recent: Floats, ordered: Floats, count: int, seen: int) -> int:
    """Put a score into the ring and the ordered copy of one group; the oldest leaves a full window."""
    window = recent.size
    slot = seen % window
    if count == window:
        gap = np.searchsorted(ordered, recent[slot])
    else:
        gap = count
        count += 1
    while gap + 1 < count and ordered[gap + 1] < score:
        ordered[gap] = ordered[gap + 1]
        gap += 1
    while gap > 0 and ordered[gap - 1] > score:
        ordered[gap] = ordered[gap - 1]
        gap -= 1
    ordered[gap] = score
    recent[slot] = score
    return count


@nb.njit(cache=True)
def _absorb(
    score: float,
    group: int,
    missed: bool,
    recent: Floats,
    ordered: Floats,
    count: Ints,
    seen: Ints,
    alpha: Floats,
    target: float,
    gamma: float,
) -> None:
    if group < 0 or np.isnan(score):
        return
    alpha[group] += gamma * (target - (1.0 if missed else 0.0))
    count[group] = _remember(score, recent[group], ordered[group], count[group], seen[group])
    seen[group] += 1


@nb.njit(cache=True)
def _walk(
    scores: Floats,
    groups: Ints,
    decided_at: Ints,
    known_at: Ints,
    arrival: Ints,
    recent: Floats,
    ordered: Floats,
    count: Ints,
    seen: Ints,
    alpha: Floats,
    target: float,
    gamma: float,
    least: int,
    overlap: float,
) -> Floats:
    thresholds = np.empty(scores.size)
    arrived = 0
    for i in range(scores.size + 1):
        while arrived < scores.size and (i == scores.size or known_at[arrival[arrived]] <= decided_at[i]):
            j = arrival[arrived]
            missed = scores[j] > thresholds[j]
            _absorb(scores[j], groups[j], missed, recent, ordered, count, seen, alpha, target, gamma)
            arrived += 1
        if i < scores.size:
            thresholds[i] = _careful_threshold(groups[i], ordered, count, alpha, least, overlap)
    return thresholds


@dataclass
class AdaptiveThresholds:
    """Recent scores and the running alpha of each category.

    Parameters
    ----------
    level : float
        Coverage asked for.
    gamma : float
        Step of alpha per outcome.
    overlap : float
        Scores per independent outcome, at least 1. With n scores the rank is
        ``ceil((n + overlap)(1 - alpha))``: what ``ceil((m + 1)(1 - alpha))`` is to m = n / overlap of them.
    least : int
        A category with fewer scores answers with the largest threshold among its own and those of the
        well-filled ones. The pooled threshold is never used: it under-covers the wild category.
    recent, ordered : ndarray, shape (categories, window)
        Scores in order of arrival (a ring) and in ascending order.
    count, seen : ndarray of int64, shape (categories,)
        Scores held, and scores ever seen.
    alpha : ndarray, shape (categories,)
        Current miss rate allowed. At 0 or less everything is covered (infinite threshold), at 1 or more
        nothing is (minus infinity).
    """

    level: float
    gamma: float
    overlap: float
    least: int
    recent: Floats
    ordered: Floats
    count: Ints
    seen: Ints
    alpha: Floats

    @classmethod
    def start(
        cls,
        scores: Floats,
        groups: Ints,
        categories: int,
        *,
        level: float,
        gamma: float,
        window: int | None,
        overlap: float,
        least: int,
    ) -> AdaptiveThresholds:
        """Seed each category with the last `window` of its calibration scores (None: with all of them).

        Rows with a NaN score or a negative group are left out.
        """
        usable = (groups >= 0) & ~np.isnan(scores)
        per_category = [scores[usable & (groups == g)] for g in range(categories)]
        size = window if window is not None else max([1, *(s.size for s in per_category)])
        recent = np.full((categories, size), np.nan)
        ordered = np.full((categories, size), np.nan)
        count = np.zeros(categories, np.int64)
        for g, own in enumerate(per_category):
            kept = own[-size:]
            count[g] = kept.size
            recent[g, : kept.size] = kept
            ordered[g, : kept.size] = np.sort(kept)
        alpha = np.full(categories, 1.0 - level)
        return cls(level, gamma, overlap, least, recent, ordered, count, count.copy(), alpha)

    def to_arrays(self) -> dict[str, NDArray]:
        """State as arrays; `from_arrays` restores it exactly."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> AdaptiveThresholds:
        """Restore what `to_arrays` gave; the arrays are copied."""
        number: dict[str, Any] = {
            name: arrays[name].item() for name in ("level", "gamma", "overlap", "least")
        }
        series: dict[str, Any] = {
            name: arrays[name].copy() for name in ("recent", "ordered", "count", "seen", "alpha")
        }
        return cls(**number, **series)

    def thresholds(self, groups: Ints) -> Floats:
        """Threshold in force now for each row's category; -1 is the unknown category."""
        return _careful_thresholds(groups, self.ordered, self.count, self.alpha, self.least, self.overlap)

    def absorb(self, scores: Floats, groups: Ints, missed: NDArray[np.bool_]) -> None:
        """Learn outcomes, oldest first: their scores, and whether the answer given then missed them."""
        for score, group, miss in zip(scores, groups, missed, strict=True):
            _absorb(
                float(score), int(group), bool(miss), self.recent, self.ordered, self.count, self.seen,
                self.alpha, 1.0 - self.level, self.gamma,
            )  # fmt: skip

    def walk(self, scores: Floats, groups: Ints, decided_at: Ints, known_at: Ints) -> Floats:
        """Threshold of every row from what was known when it was decided, then learn the outcomes.

        Parameters
        ----------
        scores : ndarray, shape (n,)
            NaN where the outcome is not known: such a row gets a threshold and teaches nothing.
        groups : ndarray of int64, shape (n,)
        decided_at, known_at : ndarray of int64, shape (n,)
            Clock of the decision, ascending, and of its outcome, later than the decision. An outcome is
            used from the decisions at `known_at` on.

        Returns
        -------
        ndarray, shape (n,)
        """
        if (np.diff(decided_at) < 0).any():
            raise ValueError("decided_at must ascend; sort the rows by time")
        if (known_at <= decided_at).any():
            row = int(np.argmax(known_at <= decided_at))
            raise ValueError(f"known_at must be later than decided_at; row {row} is not")
        arrival = np.argsort(known_at, kind="stable")
        return _walk(
            scores, groups, decided_at, known_at, arrival, self.recent, self.ordered, self.count, self.seen,
            self.alpha, 1.0 - self.level, self.gamma, self.least, self.overlap,
        )  # fmt: skip
