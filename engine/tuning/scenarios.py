"""The five scenarios of parameter training, and how aggressively each may search in a market."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.tuning.parameters import check_names

__all__ = [
    "BY_MARKET",
    "GOALS",
    "HIGH",
    "LOW",
    "MEDIUM",
    "SCENARIOS",
    "Aggressiveness",
    "Goal",
    "MarketMode",
    "Scenario",
    "scenario",
]

Goal = Literal["balanced", "sharpe", "drawdown", "return"]
GOALS: Mapping[Goal, str] = {
    "balanced": "return against risk and drawdown together",
    "sharpe": "Sharpe ratio",
    "drawdown": "the least drawdown",
    "return": "the highest return",
}

MarketMode = Literal["bull", "bear", "sideways", "volatile"]


@dataclass(frozen=True)
class Aggressiveness:
    """How far a search looks beyond what is in force.

    Parameters
    ----------
    name : str
    spread : float
        Standard deviation of the first proposals, as a share of each parameter's range.
    reach : float
        Farthest that a proposal may lie from the value in force, as a share of the range.
    """

    name: str
    spread: float
    reach: float

    def __post_init__(self) -> None:
        if not 0.0 < self.spread < self.reach <= 1.0:
            raise ValueError(
                f"{self.name}: spread = {self.spread} must be above 0 and below reach = {self.reach}, "
                "which is at most 1"
            )


LOW = Aggressiveness("low", spread=0.08, reach=0.25)
MEDIUM = Aggressiveness("medium", spread=0.15, reach=0.50)
HIGH = Aggressiveness("high", spread=0.25, reach=1.00)

BY_MARKET: Mapping[MarketMode, Aggressiveness] = {
    "bull": HIGH,
    "sideways": MEDIUM,
    "bear": LOW,
    "volatile": LOW,
}
"""The worse a market forgives a mistake, the nearer a search stays to what is in force."""


@dataclass(frozen=True)
class Scenario:
    """One kind of training.

    Parameters
    ----------
    name : str
    title : str
    minutes : int
        Longest that a session may take.
    episodes : int
        Updates of the search.
    targets : tuple of str
        Wire names of the parameters that may move.
    goal : str
        What is looked for.
    aggressiveness : Aggressiveness
        Of its own accord; a market may call for less.
    purpose : str
        When it is of use, in words.
    """

    name: str
    title: str
    minutes: int
    episodes: int
    targets: tuple[str, ...]
    goal: Goal
    aggressiveness: Aggressiveness
    purpose: str

    def __post_init__(self) -> None:
        check_names(self.targets)

    def in_market(self, mode: MarketMode) -> Aggressiveness:
        """Return the lower of its own aggressiveness and the market's."""
        return min(self.aggressiveness, BY_MARKET[mode], key=lambda each: each.reach)


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "quick_tune", "Quick tune", 15, 10,
            ("volPctBreakout", "socialGo", "costCapBps"), "balanced", MEDIUM,
            "Decisions lack confidence: set anew what lets them through.",
        ),
        Scenario(
            "volatility_master", "Volatility master", 30, 20,
            ("volPctBreakout", "volPctMeanRevert", "tpBreakout", "slBreakout"), "sharpe", MEDIUM,
            "Volatility is high: suit entries and exits to it.",
        ),
        Scenario(
            "risk_optimizer", "Risk optimizer", 25, 15,
            ("baseRiskPct", "costCapBps", "slBreakout", "slRevert"), "drawdown", LOW,
            "The account is far below its high: lose less.",
        ),
        Scenario(
            "news_sentiment_pro", "News and sentiment", 35, 25,
            ("socialGo", "newsMaxRiskPct", "tpNews", "slNews"), "return", HIGH,
            "Nothing else is pressing: make more of news.",
        ),
        Scenario(
            "comprehensive_evolution", "Comprehensive evolution", 60, 40,
            (
                "volPctBreakout", "volPctMeanRevert", "socialGo", "costCapBps", "tpBreakout", "slBreakout",
                "baseRiskPct",
            ),
            "balanced", HIGH,
            "There is little history: look everywhere.",
        ),
    )
}  # fmt: skip
"""The scenarios by name."""


def scenario(name: str) -> Scenario:
    """Look a scenario up.

    Raises
    ------
    ValueError
        If there is none of this name; those that exist are listed.
    """
    if name not in SCENARIOS:
        raise ValueError(f"scenario {name!r} is not known; known are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
