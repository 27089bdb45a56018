"""The five scenarios, and which one suits now."""

from __future__ import annotations

from pydantic import Field

from console.api.schemas.wire import Missing, Wire, example

__all__ = ["Figures", "Market", "Recommendation", "ScenarioCard", "Scenarios"]


class ScenarioCard(Wire):
    """A kind of training."""

    model_config = example(
        name="quick_tune", title="Quick tune", purpose="Decisions lack confidence.", minutes=15, episodes=10,
        goal="balanced", looks_for="return against risk and drawdown together", aggressiveness="medium",
        in_market="low", reach=0.25, targets=["volPctBreakout", "socialGo", "costCapBps"],
        recommended=True, last_session=None, last_verdict=None,
    )  # fmt: skip

    name: str
    title: str
    purpose: str
    minutes: int = Field(description="Longest that a session takes.")
    episodes: int
    goal: str
    looks_for: str
    aggressiveness: str = Field(description="Of its own accord: low, medium or high.")
    in_market: str = Field(description="In the present market, which may call for less.")
    reach: float = Field(description="Farthest from the value in force, as a share of the range.")
    targets: list[str]
    recommended: bool
    last_session: str | None
    last_verdict: str | None = Field(description="Of the newest session; null while it runs.")


class Figures(Wire):
    """What a scenario is recommended by; null where it is not known."""

    confidence: float | None
    drawdown: float | None
    volatility_percentile: float | None
    history_days: float


class Recommendation(Wire):
    """The scenario that suits now, and why."""

    scenario: str
    title: str
    reasons: list[str] = Field(description="In the order in which they were judged; the last decided.")
    figures: Figures


class Market(Wire):
    """What the market has been of late."""

    mode: str = Field(description="bull, bear, sideways or volatile.")
    trend: float = Field(description="Past 30 days, in standard deviations.")
    volatility_percentile: float


class Scenarios(Wire):
    """All scenarios."""

    items: list[ScenarioCard]
    recommendation: Recommendation
    market: Market | None = Field(description="Null while there are too few days.")
    missing: list[Missing]
