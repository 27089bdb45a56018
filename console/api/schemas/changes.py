"""Changes by hand: each is shown before it is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from console.api.schemas.parameters import Held
from console.api.schemas.wire import (
    Asked,
    LaterMoment,
    Moment,
    ParameterName,
    Reason,
    ScopeText,
    SessionId,
    Wire,
    example,
)
from engine.tuning.parameters import PARAMETERS

__all__ = [
    "ApplySession",
    "Changed",
    "ConfirmApply",
    "ConfirmLift",
    "ConfirmOverride",
    "ConfirmReset",
    "ConfirmRollback",
    "ConfirmUpdate",
    "ConfirmationAsked",
    "ConfirmationGiven",
    "HandChange",
    "Lift",
    "Override",
    "Reset",
    "Rollback",
    "UpdateParameter",
    "ValueChange",
]

Values = Annotated[
    dict[str, float],
    Field(
        min_length=1,
        description="By name; each inside its bounds.",
        json_schema_extra={
            "properties": {
                one.name: {
                    "type": "number",
                    "minimum": one.low,
                    "maximum": one.high,
                    "description": f"{one.meaning} ({one.unit})",
                }
                for one in PARAMETERS.values()
            },
            "additionalProperties": False,
        },
    ),
]
_EXPECTED: Any = Field(
    default=None, ge=0, le=2**31 - 1, description="Version that must be in force; by default whichever is."
)
_UNTIL: Any = Field(default=None, description="Moment with a zone; by default until it is lifted.")


class UpdateParameter(Asked):
    """Hold one value, whatever training finds."""

    model_config = example(scope="global", name="costCapBps", value=6.0, reason="fees went up")

    scope: ScopeText = "global"
    name: ParameterName
    value: float = Field(description="Inside the parameter's bounds, see /targets.")
    until: LaterMoment | None = _UNTIL
    reason: Reason


class Override(Asked):
    """Hold several values."""

    model_config = example(
        scope="global", values={"costCapBps": 6.0, "slBreakout": 1.2}, until=None, reason="thin books"
    )

    scope: ScopeText = "global"
    values: Values
    until: LaterMoment | None = _UNTIL
    reason: Reason


class Lift(Asked):
    """Let go of what is held."""

    model_config = example(scope="global", names=["costCapBps"], reason="fees are as before")

    scope: ScopeText = "global"
    names: list[ParameterName] | None = Field(
        default=None, min_length=1, max_length=len(PARAMETERS), description="By default all that is held."
    )
    reason: Reason


class Rollback(Asked):
    """Put the parameters of an earlier version into force again."""

    model_config = example(scope="global", version=2, expected=3, reason="version 3 loses on news")

    scope: ScopeText = "global"
    version: int = Field(ge=0, le=2**31 - 1, description="0 means the defaults.")
    expected: int | None = _EXPECTED
    reason: Reason


class Reset(Asked):
    """Let what holds more widely hold in the scope too: the global parameters, or the defaults."""

    model_config = example(scope="symbol:BTC/USDT", expected=3, reason="it should follow the rest again")

    scope: ScopeText = "global"
    expected: int | None = _EXPECTED
    reason: Reason


class ApplySession(Asked):
    """Put into force what an ended session promoted, such as after a shadow."""

    model_config = example(session="56fae58cbaf24572b5c5b06d32de0b3e", reason="the shadow did well")

    session: SessionId
    reason: Reason


HandChange = UpdateParameter | Override | Lift | Rollback | Reset | ApplySession


class ConfirmUpdate(Asked):
    """The body of /update-parameter, to be shown."""

    action: Literal["update-parameter"]
    change: UpdateParameter


class ConfirmOverride(Asked):
    """The body of /override, to be shown."""

    action: Literal["override"]
    change: Override


class ConfirmLift(Asked):
    """The body of /lift, to be shown."""

    action: Literal["lift"]
    change: Lift


class ConfirmRollback(Asked):
    """The body of /rollback, to be shown."""

    model_config = example(action="rollback", change={"scope": "global", "version": 2, "reason": "it loses"})

    action: Literal["rollback"]
    change: Rollback


class ConfirmReset(Asked):
    """The body of /reset, to be shown."""

    action: Literal["reset"]
    change: Reset


class ConfirmApply(Asked):
    """The body of /apply, to be shown."""

    action: Literal["apply"]
    change: ApplySession


ConfirmationAsked = Annotated[
    ConfirmUpdate | ConfirmOverride | ConfirmLift | ConfirmRollback | ConfirmReset | ConfirmApply,
    Field(discriminator="action"),
]


class ValueChange(Wire):
    """A value in force, and the one that would be."""

    parameter: str
    before: float
    after: float
    unit: str


class ConfirmationGiven(Wire):
    """What a change would do, and what confirms it: once, within a minute, exactly as shown."""

    model_config = example(
        confirmation="Qm9uZ28...", expires_at="2026-11-22T02:45:27Z", action="rollback",
        before={"version": 3}, after={"version": "new", "back_to": 2},
        changes=[{"parameter": "costCapBps", "before": 6.5, "after": 8.0, "unit": "bps per fill"}],
        warnings=["socialGo is held at 0.8 for global by ann and stays so"],
    )  # fmt: skip

    confirmation: str = Field(description="Send it in the header Confirmation.")
    expires_at: Moment
    action: str
    before: dict[str, Any] = Field(description="What it would replace; if that moves, it is asked anew.")
    after: dict[str, Any]
    changes: list[ValueChange] = Field(description="Of the values in force in the scope.")
    warnings: list[str]


class Changed(Wire):
    """What a change did."""

    model_config = example(
        action="rollback", scope="global", version=4, holds=[],
        changes=[{"parameter": "costCapBps", "before": 6.5, "after": 8.0, "unit": "bps per fill"}],
    )  # fmt: skip

    action: str
    scope: str
    version: int = Field(description="In force now; 0: the defaults.")
    changes: list[ValueChange] = Field(description="Of the values in force in the scope.")
    holds: list[Held] = Field(description="What is held in the scope now.")
