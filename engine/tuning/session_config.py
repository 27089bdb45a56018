"""All that decides what a session of parameter training does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from engine.evaluation.guardrails import Allowance, Guardrails
from engine.evaluation.promotion_gate import PromotionGate
from engine.tuning.evidence import gate_for
from engine.tuning.evidence_windows import EvidenceWindows
from engine.tuning.scenarios import GOALS, Aggressiveness, Goal, MarketMode, scenario
from engine.tuning.search import Method, SearchConfig
from engine.tuning.stressed_markets import KINDS, check_kinds

__all__ = ["THEN", "SessionConfig", "Then"]

Then = Literal["apply", "shadow", "ab"]
THEN: tuple[Then, ...] = ("apply", "shadow", "ab")
"""What may follow a promotion."""


@dataclass(frozen=True)
class SessionConfig:
    """All that decides what a session does, fixed before it starts.

    Parameters
    ----------
    scenario : str
    goal : {"balanced", "sharpe", "drawdown", "return"}
    search : SearchConfig
        Its episodes are the one budget.
    minutes : float
        The other, of the search: no episode is begun after it. Time counts while the session runs.
    windows : EvidenceWindows
    alpha : float
        Level of the gate, as the ledger of attempts hands it out.
    then : {"apply", "shadow", "ab"}
        What is to follow a promotion.
    gate : PromotionGate
    stress : tuple of str
        Kinds of worse markets that what the gate let pass is held against.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    scenario: str
    goal: Goal
    search: SearchConfig
    minutes: float
    windows: EvidenceWindows
    alpha: float
    then: Then = "apply"
    gate: PromotionGate = field(default_factory=PromotionGate)
    stress: tuple[str, ...] = tuple(KINDS)

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise ValueError(f"goal = {self.goal!r} must be one of {', '.join(GOALS)}")
        if self.then not in THEN:
            raise ValueError(f"then = {self.then!r} must be one of {', '.join(THEN)}")
        if not self.minutes > 0.0:
            raise ValueError(f"minutes = {self.minutes} must be above 0")
        if not 0.0 < self.alpha < 0.5:
            raise ValueError(f"alpha = {self.alpha} must lie between 0 and 0.5")
        check_kinds(self.stress)

    @classmethod
    def of(
        cls,
        name: str,
        windows: EvidenceWindows,
        *,
        alpha: float,
        seed: int,
        market: MarketMode | None = None,
        method: Method = "pgpe",
        then: Then = "apply",
        gate: PromotionGate | None = None,
    ) -> Self:
        """Configure a session of one of the scenarios.

        Parameters
        ----------
        name : str
            Of the scenario.
        windows : EvidenceWindows
        alpha, seed, method, then
        market : {"bull", "bear", "sideways", "volatile"}, optional
            May call for less aggressiveness than the scenario's own.
        gate : PromotionGate, optional
            By default the one that suits the goal.

        Raises
        ------
        ValueError
            If the scenario is unknown.
        """
        of = scenario(name)
        reach = of.aggressiveness if market is None else of.in_market(market)
        search = SearchConfig(of.targets, of.episodes, method, reach, seed=seed)
        return cls(name, of.goal, search, of.minutes, windows, alpha, then, gate or gate_for(of.goal))

    @property
    def most_candidates(self) -> int:
        """Most different sets that can be judged: all searched, the one in force, and the ensemble."""
        return 2 + 2 * self.search.pairs * self.search.episodes

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {**asdict(self), "windows": self.windows.to_dict()}
        plain["search"]["targets"] = list(self.search.targets)
        plain["stress"] = list(self.stress)
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back.

        Raises
        ------
        ValueError
            If they were written by a version that knew other settings.
        """
        differ = {each.name for each in fields(cls)} ^ values.keys()
        if differ:
            raise ValueError(
                "these settings of a session were written by another version, which differs in "
                f"{', '.join(sorted(differ))}; such a session cannot be taken up: start a new one"
            )
        search, gate = dict(values["search"]), dict(values["gate"])
        search["targets"] = tuple(search["targets"])
        search["aggressiveness"] = Aggressiveness(**search["aggressiveness"])
        if gate["guardrails"] is not None:
            rails = gate["guardrails"].items()
            gate["guardrails"] = Guardrails(
                **{name: None if each is None else Allowance(**each) for name, each in rails}
            )
        return cls(
            **{
                **values,
                "search": SearchConfig(**search),
                "windows": EvidenceWindows.from_dict(values["windows"]),
                "gate": PromotionGate(**gate),
                "stress": tuple(values["stress"]),
            }
        )
