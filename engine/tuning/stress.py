"""Parameter sets under stress, side by side with what is in force.

A search finds what suits the past as it was. What it found is held against worse markets, so that a gain
which rests on calm is seen before it is paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.guardrails import Allowance, Guardrails
from engine.evaluation.paired_returns import PairedReturns
from engine.tuning.kernel import evaluate
from engine.tuning.objectives import score
from engine.tuning.parameters import ParameterSet
from engine.tuning.scenarios import Goal
from engine.tuning.search import Objective
from engine.tuning.stressed_markets import CALM, Stress

__all__ = ["FAR_WORSE", "StressTest", "robust_objective", "stress_test"]

Floats = NDArray[np.float64]

FAR_WORSE = Guardrails(max_drawdown=Allowance(0.5, 0.02), cvar_95=Allowance(0.5, 0.002), worst_trade=None)
"""Half as bad again as what is in force, and by more than a single trade may bring."""
_FIGURES = {"max_drawdown": "largest drawdown", "cvar_95": "mean loss on the worst 5 % of days"}


def robust_objective(calm: Objective, stressed: Sequence[Objective], weight: float) -> Objective:
    """Score by what is earned as things were, and by the worst that stress makes of it.

    Parameters
    ----------
    calm : Objective
    stressed : sequence of Objective
        Such as `Stress.objective`.
    weight : float
        Of the lowest score under stress; the rest is the calm score's.

    Raises
    ------
    ValueError
        If the weight is not from 0 to 1, or there is no stress.
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight = {weight} must lie between 0 and 1")
    if not stressed:
        raise ValueError("a robust objective needs at least one stress")

    def robust(sets: Floats) -> Floats:
        worst = np.min([objective(sets) for objective in stressed], axis=0)
        return (1.0 - weight) * calm(sets) + weight * worst

    return robust


@dataclass(frozen=True, eq=False)
class StressTest:
    """A candidate beside what is in force, in each worse market.

    Parameters
    ----------
    table : polars.DataFrame
        A row per market: ``market, meaning, incumbent, candidate`` (scores), and what stress
        took of them, ``incumbent_loss, candidate_loss`` (calm less stressed; NaN for simulated markets, which
        have no calm side).
    reasons : tuple of str
        Where the candidate is far worse under stress than what is in force; empty if nowhere.
    """

    table: pl.DataFrame
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate bears stress about as well as what is in force."""
        return not self.reasons

    @property
    def worst(self) -> float:
        """Lowest of the candidate's scores less the incumbent's under stress."""
        return float((self._stressed["candidate"] - self._stressed["incumbent"]).min())  # type: ignore[arg-type]

    @property
    def mean(self) -> float:
        """Mean of the candidate's scores less the incumbent's under stress."""
        return float((self._stressed["candidate"] - self._stressed["incumbent"]).mean())  # type: ignore[arg-type]

    @property
    def _stressed(self) -> pl.DataFrame:
        return self.table.filter(pl.col("market") != CALM)


def stress_test(
    incumbent: ParameterSet,
    candidate: ParameterSet,
    markets: Sequence[Stress],
    goal: Goal,
    *,
    limits: Guardrails = FAR_WORSE,
) -> StressTest:
    """Hold a candidate against what is in force, in each worse market.

    Parameters
    ----------
    incumbent, candidate : ParameterSet
    markets : sequence of Stress
        As `stressed_markets` makes them: the window as it was, then worse ones.
    goal : Goal
    limits : Guardrails
        How much worse than the incumbent's the candidate's tail may be in each worse market.

    Raises
    ------
    ValueError
        If the first market is not the calm one, or there is no other.
    """
    if len(markets) < 2 or markets[0].name != CALM:
        raise ValueError("a stress test needs the calm market first, and then at least one that is worse")
    sets = np.array([incumbent.vector(), candidate.vector()])
    rows, reasons = [], []
    for market in markets:
        found = evaluate(market.tape, sets, market.costs)
        before, after = score(found, goal)
        rows.append([market.name, market.meaning, float(before), float(after)])
        if market.name == CALM:
            continue
        rails = limits.check(PairedReturns.of(found.returns[0], {"candidate": found.returns[1]}))
        reasons += [
            f"{market.name} ({market.meaning}): {_FIGURES[rail.name]} of {rail.candidate:.2%} against "
            f"{rail.baseline:.2%} of what is in force; at most {rail.limit:.2%} passes"
            for rail in rails["candidate"]
            if not rail.passed
        ]
    names = ["market", "meaning", "incumbent", "candidate"]
    table = pl.DataFrame(rows, schema=names, orient="row")
    simulated = pl.col("market").str.starts_with("panic")
    losses = [
        pl.when(simulated)
        .then(float("nan"))
        .otherwise(pl.col(who).first() - pl.col(who))
        .alias(f"{who}_loss")
        for who in ("incumbent", "candidate")
    ]
    return StressTest(table.with_columns(losses), tuple(reasons))
