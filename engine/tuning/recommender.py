"""Which scenario the live algorithm needs now, by rules that state the figures they judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.tuning.scenarios import SCENARIOS, Scenario

__all__ = ["THRESHOLDS", "Figures", "Recommendation", "Thresholds", "recommend"]


@dataclass(frozen=True)
class Thresholds:
    """Where a rule begins to hold.

    Parameters
    ----------
    least_confidence : float
        Mean confidence of decisions below which they count as unsure.
    most_drawdown : float
        Fall of the account from its high, a fraction, from which it counts as deep.
    high_volatility : float
        Percentile of the market's volatility in its past year from which it counts as high.
    least_history_days : float
        Days of live decisions below which there is too little to judge by.
    """

    least_confidence: float = 0.55
    most_drawdown: float = 0.08
    high_volatility: float = 80.0
    least_history_days: float = 60.0


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Figures:
    """What is known of the live algorithm and its market; None where it is not.

    Parameters
    ----------
    confidence : float or None
        Mean confidence of the decisions of the past week, in [0, 1].
    drawdown : float or None
        Fall of the live account from its high, a positive fraction.
    volatility_percentile : float or None
        Of the market's volatility in its past year, 0 to 100.
    history_days : float
        Days of live decisions.
    """

    confidence: float | None
    drawdown: float | None
    volatility_percentile: float | None
    history_days: float

    def __post_init__(self) -> None:
        for name, high in (("confidence", 1.0), ("drawdown", 1.0), ("volatility_percentile", 100.0)):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= high:
                raise ValueError(f"{name} = {value} must lie between 0 and {high:g}, or be None if not known")
        if not self.history_days >= 0.0:
            raise ValueError(f"history_days = {self.history_days} must be 0 or more")


@dataclass(frozen=True)
class Recommendation:
    """A scenario, and what every rule up to the one that held had found.

    Parameters
    ----------
    scenario : Scenario
    reasons : tuple of str
        In the order in which they were judged; the last one decided.
    figures : Figures
    """

    scenario: Scenario
    reasons: tuple[str, ...]
    figures: Figures

    def to_dict(self) -> Mapping[str, object]:
        """Plain values, for an audit trail or the wire."""
        return {"scenario": self.scenario.name, "reasons": list(self.reasons), "figures": vars(self.figures)}


def recommend(figures: Figures, thresholds: Thresholds = THRESHOLDS) -> Recommendation:
    """Apply the rules in order: confidence, drawdown, volatility, history; else news.

    A figure that is not known decides nothing, and the reasons say so.
    """
    rules = (
        (
            "quick_tune",
            "decisions' confidence",
            figures.confidence,
            lambda value: value < thresholds.least_confidence,
            f"at least {thresholds.least_confidence:.2f}",
            ".2f",
        ),
        (
            "risk_optimizer",
            "drawdown of the account",
            figures.drawdown,
            lambda value: value >= thresholds.most_drawdown,
            f"below {thresholds.most_drawdown:.1%}",
            ".1%",
        ),
        (
            "volatility_master",
            "percentile of volatility",
            figures.volatility_percentile,
            lambda value: value >= thresholds.high_volatility,
            f"below {thresholds.high_volatility:.0f}",
            ".0f",
        ),
        (
            "comprehensive_evolution",
            "days of live decisions",
            figures.history_days,
            lambda value: value < thresholds.least_history_days,
            f"at least {thresholds.least_history_days:.0f}",
            ".0f",
        ),
    )
    reasons = []
    for name, what, value, holds, wanted, shown in rules:
        if value is None:
            reasons.append(f"{what}: not known")
        elif holds(value):
            reasons.append(f"{what} {value:{shown}}, wanted {wanted}: {SCENARIOS[name].title}")
            return Recommendation(SCENARIOS[name], tuple(reasons), figures)
        else:
            reasons.append(f"{what} {value:{shown}}, as wanted {wanted}")
    news = SCENARIOS["news_sentiment_pro"]
    return Recommendation(news, (*reasons, f"nothing is pressing: {news.title}"), figures)
