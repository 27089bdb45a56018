"""Parameter sets under stress, side by side with what is in force.

A search finds what suits the past as it was, and the gate judges it on a past that was hardly worse. What the
gate lets pass is held against worse markets before anything follows, so that a gain which rests on calm is
seen before it is paid for. It can refuse a candidate and never promote one.

The rule, fixed before any candidate was seen:

- a path is a month of the window made worse, or all panics of a simulated year, on which an account moved;
- the figure is the largest fall from a high within the path. A candidate's is paired with that of what is in
  force on the same path;
- refused is what falls *clearly* too deep on the average path of some kind of stress, beyond the doubt that
  so few paths leave: deeper than what is in force by more than half of its fall, by more than 2 points, and
  by more than it surely earned above it in as long a time as things were, of which 8 points count at most.

The gate passes what falls a quarter deeper in an ordinary market; under stress twice as much is allowed,
since whatever trades more also falls more, and 2 points are what a single trade may lose. What the panics of
a year take is to be borne if a year brings more, up to the fall at which the live account calls for less risk
(`engine.tuning.recommender.THRESHOLDS`). What is just at the limit is refused in at most 5 % of all tests,
over all kinds together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.guardrails import Allowance
from engine.evaluation.metrics import max_drawdown
from engine.evaluation.seed_effects import paired_effect
from engine.tuning.kernel import Evaluation, evaluate
from engine.tuning.objectives import score
from engine.tuning.parameters import ParameterSet
from engine.tuning.recommender import THRESHOLDS
from engine.tuning.scenarios import Goal
from engine.tuning.stressed_markets import CALM, KINDS, MONTH, Stress

__all__ = ["ALLOWED", "LEVEL", "StressTest", "falls", "stress_test"]

Floats = NDArray[np.float64]

ALLOWED = Allowance(0.5, 0.02)
"""How much deeper than what is in force a candidate may fall on a path, whatever it earned."""
LEVEL = 0.05
"""Probability allowed for refusing a candidate that is just at the limit, shared among the kinds."""
_FEWEST = 2


@dataclass(frozen=True, eq=False)
class StressTest:
    """A candidate beside what is in force, in each worse market.

    Parameters
    ----------
    table : polars.DataFrame
        A row per kind of stress, after one for the window as it was (``calm``), which refuses nothing:
        ``stress, meaning``; ``paths``; ``score_incumbent, score_candidate`` by the goal, means over markets;
        ``incumbent, candidate``: largest falls, means over paths, fractions of equity; ``difference`` with
        its bounds ``low, high`` (each exceeded with the share of `LEVEL` that falls to a kind; NaN with fewer
        than two paths); ``allowed``: the difference that passes; ``worst``: the largest difference on a
        path; ``passed``.
    """

    table: pl.DataFrame

    @property
    def passed(self) -> bool:
        """Whether the candidate is nowhere clearly worse than is allowed."""
        return bool(self.table["passed"].all())

    @property
    def reasons(self) -> tuple[str, ...]:
        """What was found, in plain words: each refusal, or else the kind of stress that is borne worst."""
        rows = list(self.table.filter(pl.col("stress") != CALM).iter_rows(named=True))
        refused = [row for row in rows if not row["passed"]]
        if refused:
            return tuple(f"refused under stress: {_told(row)}" for row in refused)
        worst = max(rows, key=lambda row: row["difference"] - row["allowed"])
        return (f"no kind of stress is clearly too much; nearest: {_told(worst)}",)

    def rows(self) -> list[dict[str, Any]]:
        """Return plain values; None stands for what is not known."""
        return self.table.with_columns(pl.col(pl.Float64).fill_nan(None)).to_dicts()


def _told(row: dict[str, Any]) -> str:
    surely = f", by {row['low']:.2%} beyond doubt" if math.isfinite(row["low"]) else ""
    return (
        f"{row['stress']} ({row['meaning']}): a largest fall of {row['candidate']:.2%}, mean of "
        f"{row['paths']} paths, against {row['incumbent']:.2%} of what is in force; it is "
        f"{row['difference']:.2%} deeper{surely}, and {row['allowed']:.2%} is allowed"
    )


def stress_test(
    incumbent: ParameterSet, candidate: ParameterSet, markets: Sequence[Stress], goal: Goal
) -> StressTest:
    """Hold a candidate against what is in force, in each worse market.

    Parameters
    ----------
    incumbent, candidate : ParameterSet
    markets : sequence of Stress
        As `engine.tuning.stressed_markets.stressed_markets` makes them: the window as it was, then worse
        ones.
    goal : Goal
        Of the scores, which are shown and decide nothing.

    Raises
    ------
    ValueError
        If the first market is not the calm one, or there is no other.
    """
    if len(markets) < 2 or markets[0].name != CALM:
        raise ValueError("a stress test needs the calm market first, and then at least one that is worse")
    sets = np.array([incumbent.vector(), candidate.vector()])
    kinds = list(dict.fromkeys(market.name for market in markets[1:]))
    confidence = 1.0 - 2.0 * LEVEL / len(kinds)
    calm, *worse = ((market, evaluate(market.tape, sets, market.costs)) for market in markets)
    earned = _surely_earned(calm[1], confidence)
    rows = [_row(CALM, [calm], goal, earned, confidence)]
    for kind in kinds:
        found = [(market, each) for market, each in worse if market.name == kind]
        rows.append(_row(kind, found, goal, earned, confidence))
    return StressTest(pl.DataFrame(rows, infer_schema_length=None))


def _row(
    name: str, found: Sequence[tuple[Stress, Evaluation]], goal: Goal, earned: float, confidence: float
) -> dict[str, Any]:
    before, after = np.mean([score(each, goal) for _, each in found], axis=0)
    theirs, ours = np.concatenate([falls(each, market.path) for market, each in found], axis=1)
    incumbent, candidate = (float(each.mean()) if each.size else 0.0 for each in (theirs, ours))
    brought = min(earned * (found[0][0].path / timedelta(days=1)), THRESHOLDS.most_drawdown)
    allowed = max(ALLOWED.limit(incumbent) - incumbent, brought)
    low, high = _bounds(ours, theirs, confidence)
    return {
        "stress": name,
        "meaning": KINDS.get(name, "as it was"),
        "paths": int(ours.size),
        "score_incumbent": float(before),
        "score_candidate": float(after),
        "incumbent": incumbent,
        "candidate": candidate,
        "difference": candidate - incumbent,
        "low": low,
        "high": high,
        "allowed": allowed,
        "worst": float((ours - theirs).max(initial=0.0)),
        "passed": name == CALM or not low > allowed,
    }


def _bounds(ours: Floats, theirs: Floats, confidence: float) -> tuple[float, float]:
    if ours.size < _FEWEST:
        return float("nan"), float("nan")
    effect = paired_effect(ours, theirs, confidence=confidence, least_seeds=_FEWEST)
    return effect.low, effect.high


def _surely_earned(calm: Evaluation, confidence: float) -> float:
    """Return a day by which the candidate surely leads, from its months; 0 if it does not."""
    daily = _parts(calm, MONTH)
    theirs, ours = np.array([part.mean(axis=1) for part in daily]).T
    days = (calm.periods[1] - calm.periods[0]) / np.timedelta64(1, "D") if calm.periods.size > 1 else 1.0
    return max(float(np.nan_to_num(_bounds(ours, theirs, confidence)[0])) / days, 0.0)


def falls(found: Evaluation, path: timedelta) -> Floats:
    """Largest fall from a high on each path on which any account moved, shape (sets, paths)."""
    deepest = [max_drawdown(part, 1.0) for part in _parts(found, path) if part.any()]
    return np.column_stack(deepest) if deepest else np.empty((len(found), 0))


def _parts(found: Evaluation, path: timedelta) -> list[Floats]:
    """Cut returns into parts of a length; what is left at the end belongs to the last."""
    periods = found.periods
    length = np.timedelta64(path) if periods.size < 2 else periods[1] - periods[0]
    each = max(int(np.timedelta64(path) / length), 1)
    return np.split(found.returns, range(each, periods.size - each + 1, each), axis=1)
