"""Conformal thresholds per category, adapted over time and wary of change points.

Each category keeps its recent scores (Mondrian: Vovk 2012) and its experts of adaptive conformal inference
(`engine.calibration.experts`). An outcome is learned when it is known, never at its decision.

A row may state how likely it is that the market changed, and when. Scores older than that change then weigh
one minus that probability, and until enough outcomes of decisions after it are known the level is raised as
well: a share (1 - probability) of the misses is left. A sure change makes the threshold infinite until then.

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
from numpy.typing import NDArray

from engine.calibration.experts import learn, learning_rate, mixed_alpha, sharing_rate
from engine.calibration.scores import (
    covering_level,
    discounted_covering_level,
    discounted_threshold,
    remember,
    threshold,
)

__all__ = ["OLDEST", "AdaptiveThresholds"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OLDEST = np.iinfo(np.int64).min


@nb.njit(cache=True)
def _own_threshold(
    ordered: Floats,
    born: Ints,
    n: int,
    alpha: float,
    least: float,
    overlap: float,
    doubt: float,
    since: int,
) -> tuple[float, float]:
    """Threshold of one category, and the weight of the scores behind it."""
    if doubt == 0.0:
        return threshold(ordered, n, alpha, overlap), float(n)
    fresh = 0
    for i in range(n):
        fresh += born[i] > since
    ignorance = max(0.0, 1.0 - fresh / least)
    raised = alpha * (1.0 - doubt * ignorance)
    weight = fresh + (1.0 - doubt) * (n - fresh)
    return discounted_threshold(ordered, born, n, raised, overlap, 1.0 - doubt, since), weight


@nb.njit(cache=True)
def _careful_threshold(
    group: int,
    ordered: Floats,
    born: Ints,
    count: Ints,
    alpha: Floats,
    weight: Floats,
    least: float,
    overlap: float,
    doubt: float,
    since: int,
) -> float:
    """Threshold of one category; of a thin or an unknown one (-1) the largest that the rest asks for too."""
    own, held = -np.inf, 0.0
    if group >= 0:
        level = mixed_alpha(alpha[group], weight[group])
        own, held = _own_threshold(
            ordered[group], born[group], count[group], level, least, overlap, doubt, since
        )
        if held >= least:
            return own
    for other in range(count.size):
        level = mixed_alpha(alpha[other], weight[other])
        theirs, held = _own_threshold(
            ordered[other], born[other], count[other], level, least, overlap, doubt, since
        )
        if group < 0 or held >= least:
            own = max(own, theirs)
    return own


@nb.njit(cache=True)
def _walk(
    scores: Floats,
    groups: Ints,
    decided_at: Ints,
    known_at: Ints,
    arrival: Ints,
    doubt: Floats,
    since: Ints,
    recent: Floats,
    recent_born: Ints,
    ordered: Floats,
    born: Ints,
    count: Ints,
    seen: Ints,
    alpha: Floats,
    weight: Floats,
    steps: Floats,
    target: float,
    eta: float,
    sigma: float,
    least: float,
    overlap: float,
) -> Floats:
    thresholds = np.empty(scores.size)
    given = np.empty((scores.size, steps.size))
    beta = np.empty(scores.size)
    arrived = 0
    for i in range(scores.size + 1):
        while arrived < scores.size and (i == scores.size or known_at[arrival[arrived]] <= decided_at[i]):
            j = arrival[arrived]
            arrived += 1
            g = groups[j]
            if g < 0 or np.isnan(scores[j]):
                continue
            learn(alpha[g], weight[g], given[j], beta[j], steps, target, eta, sigma)
            count[g] = remember(
                scores[j], decided_at[j], recent[g], recent_born[g], ordered[g], born[g], count[g], seen[g]
            )
            seen[g] += 1
        if i == scores.size:
            break
        g = groups[i]
        thresholds[i] = _careful_threshold(
            g, ordered, born, count, alpha, weight, least, overlap, doubt[i], since[i]
        )
        if g < 0:
            continue
        # what the experts are judged by once the outcome is known; nothing of it is used before
        given[i] = alpha[g]
        if doubt[i] == 0.0:
            beta[i] = covering_level(ordered[g], count[g], scores[i], overlap)
        else:
            beta[i] = discounted_covering_level(
                ordered[g], born[g], count[g], scores[i], overlap, 1.0 - doubt[i], since[i]
            )
    return thresholds


@dataclass
class AdaptiveThresholds:
    """Recent scores and the experts of each category.

    Parameters
    ----------
    level : float
        Coverage asked for.
    overlap : float
        Scores per independent outcome, at least 1. With n scores the rank is
        ``ceil((n + overlap)(1 - alpha))``: what ``ceil((m + 1)(1 - alpha))`` is to m = n / overlap of them.
    least : int
        A category with scores of less weight answers with the largest threshold among its own and those of
        the well-filled ones. The pooled threshold is never used: it under-covers the wild category.
    eta, sigma : float
        Rates of the expert weights per score.
    steps : ndarray, shape (experts,)
        Step of each expert's alpha per score; 0 keeps it fixed.
    recent, recent_born, ordered, born : ndarray, shape (categories, window)
        Scores and the clock of their decisions, in order of arrival (a ring) and in ascending order.
    count, seen : ndarray of int64, shape (categories,)
        Scores held, and scores ever seen.
    alpha, weight : ndarray, shape (categories, experts)
        Miss rate that each expert allows, and its weight. At a mean of 0 or less everything is covered
        (infinite threshold), at 1 or more nothing is (minus infinity).
    """

    level: float
    overlap: float
    least: int
    eta: float
    sigma: float
    steps: Floats
    recent: Floats
    recent_born: Ints
    ordered: Floats
    born: Ints
    count: Ints
    seen: Ints
    alpha: Floats
    weight: Floats

    @classmethod
    def start(
        cls,
        scores: Floats,
        groups: Ints,
        categories: int,
        *,
        level: float,
        steps: tuple[float, ...],
        interval: float,
        window: int | None,
        overlap: float,
        least: int,
        decided_at: Ints | None = None,
    ) -> AdaptiveThresholds:
        """Seed each category with the last `window` of its calibration scores (None: with all of them).

        Rows with a NaN score or a negative group are left out. `steps` and `interval`, the stretch over which
        coverage should hold, are per independent outcome; scores without a clock are older than any change.
        """
        usable = (groups >= 0) & ~np.isnan(scores)
        clock = np.full(scores.size, OLDEST) if decided_at is None else decided_at
        rows = [np.flatnonzero(usable & (groups == g)) for g in range(categories)]
        size = window if window is not None else max([1, *(own.size for own in rows)])
        recent, ordered = np.full((2, categories, size), np.nan)
        recent_born, born = np.full((2, categories, size), OLDEST)
        count = np.zeros(categories, np.int64)
        for g, own in enumerate(rows):
            kept = own[-size:]
            count[g] = kept.size
            recent[g, : kept.size], recent_born[g, : kept.size] = scores[kept], clock[kept]
            ascending = kept[np.argsort(scores[kept], kind="stable")]
            ordered[g, : kept.size], born[g, : kept.size] = scores[ascending], clock[ascending]
        experts = len(steps)
        return cls(
            level=level,
            overlap=overlap,
            least=max(least, 1),
            eta=learning_rate(1.0 - level, experts, interval) / overlap,
            sigma=sharing_rate(interval) / overlap,
            steps=np.asarray(steps, np.float64) / overlap,
            recent=recent,
            recent_born=recent_born,
            ordered=ordered,
            born=born,
            count=count,
            seen=count.copy(),
            alpha=np.full((categories, experts), 1.0 - level),
            weight=np.full((categories, experts), 1.0 / experts),
        )

    def to_arrays(self) -> dict[str, NDArray]:
        """State as arrays; `from_arrays` restores it exactly."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> AdaptiveThresholds:
        """Restore what `to_arrays` gave; the arrays are copied."""
        state: dict[str, Any] = {
            name: array.copy() if array.ndim else array.item() for name, array in arrays.items()
        }
        return cls(**state)

    def thresholds(self, groups: Ints, doubt: Floats | None = None, since: Ints | None = None) -> Floats:
        """Threshold in force now for each row's category; -1 is the unknown category.

        `doubt` is the probability of a change and `since` its clock, by default later than all that is held.
        """
        # rows whose outcomes nobody knows: a walk over them answers, and learns nothing
        unknown, clock = np.full(groups.size, np.nan), np.arange(groups.size)
        newest = np.full(groups.size, np.iinfo(np.int64).max)
        return self.walk(unknown, groups, clock, clock + 1, doubt, newest if since is None else since)

    def outcomes_since(self, groups: Ints, since: Ints) -> Ints:
        """Scores held of decisions after `since` in each row's category; 0 for the unknown one."""
        later = np.zeros(groups.size, np.int64)
        for g in range(self.count.size):
            here = groups == g
            born = np.sort(self.born[g, : self.count[g]])
            later[here] = born.size - np.searchsorted(born, since[here], side="right")
        return later

    def absorb(self, scores: Floats, groups: Ints, decided_at: Ints) -> None:
        """Learn outcomes, oldest first, judging the experts as they stand.

        The same as `walk` where each outcome is known before the next decision; where outcomes come later,
        walk them instead.
        """
        for score, group, clock in zip(scores, groups, decided_at, strict=True):
            if group < 0 or np.isnan(score):
                continue
            g = int(group)
            beta = covering_level(self.ordered[g], self.count[g], score, self.overlap)
            learn(
                self.alpha[g], self.weight[g], self.alpha[g].copy(), beta, self.steps, 1.0 - self.level,
                self.eta, self.sigma,
            )  # fmt: skip
            self.count[g] = remember(
                score, clock, self.recent[g], self.recent_born[g], self.ordered[g], self.born[g],
                self.count[g], self.seen[g],
            )  # fmt: skip
            self.seen[g] += 1

    def walk(
        self,
        scores: Floats,
        groups: Ints,
        decided_at: Ints,
        known_at: Ints,
        doubt: Floats | None = None,
        since: Ints | None = None,
    ) -> Floats:
        """Threshold of every row from what was known when it was decided, then learn the outcomes.

        Parameters
        ----------
        scores : ndarray, shape (n,)
            NaN where the outcome is not known: such a row gets a threshold and teaches nothing.
        groups : ndarray of int64, shape (n,)
        decided_at, known_at : ndarray of int64, shape (n,)
            Clock of the decision, ascending, and of its outcome, later than the decision. An outcome is
            used from the decisions at `known_at` on.
        doubt, since : ndarray, shape (n,), optional
            Probability that the market changed, and the clock of that change, by default the decision's own.

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
            scores, groups, decided_at, known_at, arrival,
            np.zeros(scores.size) if doubt is None else doubt, decided_at if since is None else since,
            self.recent, self.recent_born, self.ordered, self.born, self.count, self.seen,
            self.alpha, self.weight, self.steps, 1.0 - self.level, self.eta, self.sigma, self.least,
            self.overlap,
        )  # fmt: skip
