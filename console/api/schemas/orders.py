"""To start and to stop a training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from console.api.schemas.wire import (
    Asked,
    OneOf,
    Reason,
    ScenarioName,
    ScopeText,
    SessionId,
    SymbolName,
    Wire,
    example,
    ordered,
)
from engine.tuning.scenarios import SCENARIOS
from engine_assets.tuning_order import TuneOrder

__all__ = [
    "EndScenario",
    "Method",
    "Mode",
    "RunId",
    "StartScenario",
    "StartTraining",
    "Started",
    "StopTraining",
    "Stopped",
]

Mode = Annotated[str, OneOf(get_args(TuneOrder.model_fields["mode"].annotation))]
Method = Annotated[str, OneOf(get_args(TuneOrder.model_fields["method"].annotation))]
RunId = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        examples=["6f396f12-838f-4684-90fa-6b6ea74df9f0"],
    ),
]
_MOST_EPISODES = max(one.episodes for one in SCENARIOS.values())
_MOST_MINUTES = max(one.minutes for one in SCENARIOS.values())
_MOST_SYMBOLS = 200
_EXAMPLE: dict[str, Any] = {
    "symbols": ["BTC/USDT"],
    "mode": "shadow",
    "episodes": 5,
    "reason": "confidence fell after the listing",
}


class StartScenario(Asked):
    """What a session is asked for."""

    model_config = example(**_EXAMPLE)

    symbols: list[SymbolName] = ordered(
        "symbols", max_length=_MOST_SYMBOLS, json_schema_extra={"uniqueItems": True}
    )
    scope: ScopeText | None = ordered("scope")
    mode: Mode = ordered("mode")
    method: Method = ordered("method")
    episodes: int | None = ordered("episodes", le=_MOST_EPISODES)
    minutes: float | None = ordered("minutes", le=_MOST_MINUTES)
    days: int = ordered("days")
    seed: int | None = ordered("seed", le=2**31 - 1)
    reason: Reason = "asked for in the console"

    def order(self, scenario: str, actor: str) -> TuneOrder:
        """Return the order of a run, checked as a whole.

        Raises
        ------
        pydantic.ValidationError
            If the parts do not go together.
        """
        asked = self.model_dump(exclude_none=True, exclude={"scenario"})
        return TuneOrder(**asked, scenario=scenario, actor=actor)


class StartTraining(StartScenario):
    """What a session is asked for; without a scenario it is the one that is recommended now."""

    model_config = example(scenario="quick_tune", **_EXAMPLE)

    scenario: ScenarioName | None = Field(default=None, description="By default the recommended one.")


class StopTraining(Asked):
    """Which training is to stop; by default the only one that runs."""

    model_config = example(session="56fae58cbaf24572b5c5b06d32de0b3e", reason="the market just moved")

    session: SessionId | None = None
    run_id: RunId | None = Field(default=None, description="A run, such as one that is still queued.")
    reason: Reason = "asked for in the console"


class EndScenario(Asked):
    """Why the scenario that runs is to stop."""

    model_config = example(reason="the market just moved")

    reason: Reason = "asked for in the console"


class Order(Wire):
    """What a run was asked for."""

    scenario: str
    symbols: list[str] = Field(description="None stands for all that are stored.")
    scope: str = Field(description="Whose parameters are trained.")
    mode: str
    method: str
    episodes: int
    minutes: float
    days: int
    seed: int | None = Field(description="Null: that of the settings.")
    actor: str
    reason: str

    @classmethod
    def of(cls, order: TuneOrder) -> Order:
        """Read it."""
        values = order.model_dump(exclude={"session"})
        return cls(
            **{
                **values,
                "scope": str(order.where),
                "episodes": order.episodes or order.what.episodes,
                "minutes": order.minutes or order.what.minutes,
            }
        )


class Started(Wire):
    """A run that was launched. Its session comes with the event `session` once a process holds it."""

    model_config = example(
        run_id="6f396f12-838f-4684-90fa-6b6ea74df9f0",
        run_url="http://127.0.0.1:3000/runs/6f396f12-838f-4684-90fa-6b6ea74df9f0",
        order={
            "scenario": "quick_tune", "symbols": ["BTC/USDT"], "scope": "symbol:BTC/USDT", "mode": "shadow",
            "method": "pgpe", "episodes": 5, "minutes": 15, "days": 30, "seed": None, "actor": "ann",
            "reason": "confidence fell after the listing",
        },
    )  # fmt: skip

    run_id: str
    run_url: str = Field(description="Of the run in Dagster's UI.")
    order: Order


class Stopped(Wire):
    """What became of the wish to stop."""

    model_config = example(
        session="56fae58cbaf24572b5c5b06d32de0b3e",
        run_id="6f396f12-838f-4684-90fa-6b6ea74df9f0",
        outcome="stopping",
        detail="it ends after its episode; what was in force stays in force",
    )

    session: str | None
    run_id: str | None
    outcome: Literal["stopping", "terminated", "ended"] = Field(
        description="stopping: after its episode; terminated: before it began; ended: it had ended before."
    )
    detail: str
