"""Whether a search found something better: all that was searched, judged on a window that it never saw.

The rules:

- the evidence window begins after the search window, and a purge lies between: by default no state of the
  evidence rests on a bar that was searched;
- what is in force is candidate zero, and the baseline;
- the family of the test is everything that was searched, not only what survived to the test. Candidates that
  did exactly what the baseline did on every bar of the evidence cannot be promoted, falsely or rightly: they
  are counted as searched and left out of the test;
- what the gate promotes is what is to be applied. It is the best on the evidence by the gate's own bound, not
  the best of the search;
- what the gate let pass is held against worse markets (`engine.tuning.stress`), which may refuse it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.evaluation.decision import Decision
from engine.evaluation.guardrails import Allowance, Guardrails
from engine.evaluation.metrics import max_drawdown
from engine.evaluation.promotion_gate import PromotionGate
from engine.tuning.evidence_windows import EvidenceWindows
from engine.tuning.kernel import Evaluation, evaluate
from engine.tuning.market_state import DAY, StateTape
from engine.tuning.parameters import ParameterSet
from engine.tuning.scenarios import Goal
from engine.tuning.search import SearchResult
from engine.tuning.stress import StressTest

__all__ = [
    "FEWEST_DAYS",
    "Evidence",
    "EvidenceWindows",
    "effective_days",
    "fingerprint",
    "gate_for",
    "judge",
    "weigh",
]

Floats = NDArray[np.float64]

FEWEST_DAYS = 30.0
"""Days that a candidate's difference from the incumbent must rest on to be tested; see `effective_days`."""
_STATISTICS: Mapping[Goal, Literal["mean", "sharpe"]] = {
    "balanced": "mean",
    "return": "mean",
    "sharpe": "sharpe",
    "drawdown": "sharpe",
}


def gate_for(goal: Goal, **settings: Any) -> PromotionGate:
    """Make the gate that suits a goal; `settings` are those of `PromotionGate`.

    The mean is tested where returns are looked for, the Sharpe ratio where risk is; with the goal of less
    drawdown the candidate's must moreover not be deeper than the baseline's.
    """
    if goal == "drawdown":
        settings = {"guardrails": Guardrails(max_drawdown=Allowance(0.0)), **settings}
    return PromotionGate(**{"statistic": _STATISTICS[goal], **settings})


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the gate decided about a search, and on what.

    Parameters
    ----------
    decision : Decision
        Its candidates are named ``set k`` by their row among those searched.
    incumbent : ParameterSet
    judged : ParameterSet
        What the gate let pass or, if nothing, what came nearest.
    windows : EvidenceWindows
    searched, tested : int
        All different sets searched, and those of them that did otherwise than the incumbent on days enough
        to be tested; where none did, all that did otherwise at all.
    periods : ndarray of datetime64, shape (periods,)
    baseline, candidate : ndarray, shape (periods,)
        Net returns of `incumbent` and of `judged` on the evidence.
    family_hash, data_hash : str
        SHA-256 of the sets searched, and of the bars and states judged on; the latter empty if not known.
    stress : StressTest or None
        Of what the gate let pass; None for what it did not, and before.
    """

    decision: Decision
    incumbent: ParameterSet
    judged: ParameterSet
    windows: EvidenceWindows
    searched: int
    tested: int
    periods: NDArray[np.datetime64]
    baseline: Floats
    candidate: Floats
    family_hash: str
    data_hash: str = ""
    stress: StressTest | None = None

    @property
    def promoted(self) -> ParameterSet | None:
        """What is to be applied; None where the incumbent stays."""
        endured = self.stress is None or self.stress.passed
        return self.judged if self.decision.promote and endured else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in plain words."""
        under_stress = () if self.stress is None else self.stress.reasons
        return (
            (*under_stress, *self.decision.reasons)
            if self.promoted is None
            else (*self.decision.reasons, *under_stress)
        )

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the improvement per period."""
        return self.decision.interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the audit trail; None stands for what is not known."""
        verdict, decision = self.decision.verdict, self.decision
        figures = (
            "baseline", "value", "improvement", "relative_improvement", "low", "high", "statistic", "p_value",
            "minimum_detectable_effect", "periods_needed", "probability_of_improvement",
        )  # fmt: skip
        return {
            "promoted": self.promoted is not None,
            "reasons": list(self.reasons),
            "changes": {name: list(both) for name, both in self.incumbent.changes(self.judged).items()},
            "incumbent": self.incumbent.to_dict(),
            "judged": self.judged.to_dict(),
            "statistic": decision.statistic,
            "alpha": decision.alpha,
            "min_improvement": decision.min_improvement,
            "searched": self.searched,
            "tested": self.tested,
            "periods": decision.periods,
            "trades": verdict.trades,
            "block": _known(decision.block),
            "figures": {name: _known(getattr(verdict, name)) for name in figures},
            "guardrails": [
                {
                    "name": rail.name,
                    "baseline": _known(rail.baseline),
                    "candidate": _known(rail.candidate),
                    "limit": _known(rail.limit),
                    "passed": bool(rail.passed),
                }
                for rail in verdict.guardrails
            ],
            "stress": None if self.stress is None else self.stress.rows(),
            "max_drawdown": float(max_drawdown(self.candidate[None], 1.0)[0]),
            "windows": self.windows.to_dict(),
            "incumbent_hash": self.incumbent.content_hash,
            "judged_hash": self.judged.content_hash,
            "family_hash": self.family_hash,
            "data_hash": self.data_hash,
        }


def judge(
    tape: StateTape,
    searched: SearchResult,
    incumbent: ParameterSet,
    windows: EvidenceWindows,
    costs: Costs | None = None,
    *,
    alpha: float,
    gate: PromotionGate,
    threads: int = 1,
) -> Evidence:
    """Evaluate all that was searched on the evidence window, and ask the gate.

    Parameters
    ----------
    tape : StateTape
        Reaches over the evidence window; what lies outside is not looked at.
    searched : SearchResult
    incumbent : ParameterSet
        What is in force: the first of the candidates.
    windows : EvidenceWindows
    costs : Costs, optional
    alpha : float
        Probability allowed for a false promotion, as the ledger of attempts hands it out.
    gate : PromotionGate
    threads : int

    Raises
    ------
    NotEnoughDataError, ValueError
        As `EvidenceWindows.check`, and if the incumbent is not candidate zero.
    """
    windows.check(tape, gate, len(searched.candidates))
    kept = tape.between(windows.evidence.start, windows.evidence.end)
    found = evaluate(kept, searched.candidates, costs, every=DAY, threads=threads)
    evidence = weigh(found, searched.candidates, incumbent, windows, alpha=alpha, gate=gate)
    return replace(evidence, data_hash=fingerprint(kept))


def weigh(
    evaluation: Evaluation,
    candidates: Floats,
    incumbent: ParameterSet,
    windows: EvidenceWindows,
    *,
    alpha: float,
    gate: PromotionGate,
) -> Evidence:
    """Ask the gate about candidates whose returns on the evidence window are known.

    Raises
    ------
    ValueError
        If the incumbent is not candidate zero, nothing else was searched, or shapes disagree.
    """
    if len(candidates) != len(evaluation):
        raise ValueError(f"{len(evaluation)} evaluations for {len(candidates)} candidates")
    if len(candidates) < 2:
        raise ValueError("nothing but what is in force was searched; there is nothing to judge")
    if not np.array_equal(candidates[0], incumbent.vector()):
        raise ValueError("candidate zero is not what is in force; search from it anew")
    returns = evaluation.returns
    others = np.arange(1, len(candidates))
    days = effective_days(returns[1:] - returns[0])
    # What differs on a few days alone cannot be told from luck by resampling days, and its statistic, which
    # has no bounds, would raise the bar for all others.
    differing = others[days > 0.0]
    tested = next(part for part in (others[days >= FEWEST_DAYS], differing, others) if part.size)
    rows = {f"set {k}": int(k) for k in tested}
    decision = gate.decide(
        returns[0],
        {name: returns[k] for name, k in rows.items()},
        alpha=alpha,
        trades={name: int(evaluation.trades[k]) for name, k in rows.items()},
    )
    row = rows[decision.verdict.candidate]
    family = np.ascontiguousarray(candidates, dtype="<f8")
    return Evidence(
        # Those left out of the test were tried as well: the ledger of attempts is to count them.
        replace(decision, searched=others.size),
        incumbent,
        ParameterSet.from_vector(candidates[row]),
        windows,
        searched=len(candidates),
        tested=int(tested.size) if differing.size else 0,
        periods=evaluation.periods,
        baseline=returns[0],
        candidate=returns[row],
        family_hash=hashlib.sha256(family.tobytes()).hexdigest(),
    )


def effective_days(differences: Floats) -> Floats:
    """On how many days' differences rests each row: (sum d^2)^2 / sum d^4, 0 for a row of zeros.

    All days where they are equally large, one where a single day outweighs the rest (Kish 1965, for d^2 as
    weights).
    """
    weight = differences**2
    total, square = weight.sum(axis=1), (weight**2).sum(axis=1)
    return np.divide(total**2, square, out=np.zeros_like(total), where=square > 0.0)


def fingerprint(tape: StateTape) -> str:
    """SHA-256 of all that decisions and fills on a tape depend on."""
    digest = hashlib.sha256(repr((tape.symbols, tape.bar, tape.capital)).encode())
    for part in (tape.panel, tape):
        for column in fields(part):
            values = getattr(part, column.name)
            if isinstance(values, np.ndarray):
                digest.update(f"{column.name} {values.dtype} {values.shape}".encode())
                digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
