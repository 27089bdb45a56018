"""What a session of parameter training works on: an objective to search by and evidence to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.tuning.ensemble import with_ensemble
from engine.tuning.evidence import Evidence, fingerprint, judge
from engine.tuning.kernel import evaluate
from engine.tuning.market_state import StateTape
from engine.tuning.objectives import score
from engine.tuning.parameters import ParameterSet
from engine.tuning.search import Objective, SearchResult
from engine.tuning.session_config import SessionConfig
from engine.tuning.stress import stress_test
from engine.tuning.stressed_markets import stressed_markets

__all__ = ["Task", "task_of"]

Floats = NDArray[np.float64]
Judge = Callable[[SearchResult], Evidence]


@dataclass(frozen=True)
class Task:
    """What a session works on.

    Parameters
    ----------
    objective : callable
        Scores parameter sets on the search window.
    judge : callable
        Asks the gate about all that was searched, and holds what it lets pass against worse markets.
    data_hash : str
        Of all data that both see.
    check : callable
        Raises if there is too little of it.
    """

    objective: Objective
    judge: Judge
    data_hash: str
    check: Callable[[], None] = lambda: None


def task_of(
    tape: StateTape,
    config: SessionConfig,
    incumbent: ParameterSet,
    costs: Costs | None = None,
    threads: int = 1,
) -> Task:
    """Make the task of a session on a market.

    Raises
    ------
    NotEnoughDataError
        If the tape has no bar in the search window.
    """
    windows, terms = config.windows, costs or Costs()
    searched = tape.between(windows.search.start, windows.search.end)
    seen = tape.between(windows.search.start, windows.evidence.end)

    def objective(sets: Floats) -> Floats:
        return score(evaluate(searched, sets, terms, threads=threads), config.goal)

    def asked(found: SearchResult) -> Evidence:
        family = with_ensemble(found, objective)
        evidence = judge(
            seen, family, incumbent, windows, terms, alpha=config.alpha, gate=config.gate, threads=threads
        )
        if evidence.promoted is None:
            return evidence
        markets = stressed_markets(
            seen, windows.evidence, terms, kinds=config.stress, seed=config.search.seed
        )
        return replace(evidence, stress=stress_test(incumbent, evidence.judged, markets, config.goal))

    def check() -> None:
        windows.check(tape, config.gate, config.most_candidates)

    data_hash = hashlib.sha256(f"{fingerprint(seen)} {asdict(terms)}".encode()).hexdigest()
    return Task(objective, asked, data_hash, check)
