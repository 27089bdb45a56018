"""What the event stream carries."""

from __future__ import annotations

from pydantic import Field

from console.api.schemas.performance import DecisionRow
from console.api.schemas.sessions import EpisodeRow
from console.api.schemas.status import Health, Status
from console.api.schemas.wire import Moment, Wire

__all__ = [
    "DecisionEvent",
    "EventData",
    "ExperimentEvent",
    "ParametersEvent",
    "ResetEvent",
    "SessionEvent",
]


class SessionEvent(Wire):
    """A session began, went on to another stage, or ended."""

    session: str
    scenario: str | None
    scope: str | None
    stage: str = Field(description="started, a stage of it, stop requested, taken over or ended.")
    verdict: str | None = Field(description="How it ended.")
    reason: str | None
    at: Moment


class ParametersEvent(Wire):
    """What is in force changed."""

    scope: str
    kind: str = Field(description="apply, rollback, override, reset, hold set, lifted or expired.")
    version: int | None
    actor: str
    reason: str
    changes: dict[str, tuple[float, float]] = Field(description="Of a version: before and after.")
    at: Moment


class ExperimentEvent(Wire):
    """An experiment began or ended."""

    experiment: str
    scope: str | None
    state: str = Field(description="started, concluded or stopped.")
    at: Moment


class DecisionEvent(Wire):
    """The live algorithm decided on new bars: the newest decision on each symbol."""

    items: list[DecisionRow]


class ResetEvent(Wire):
    """Events were missed: read everything anew."""

    why: str


class EventData(Wire):
    """The data of each kind of event, by its name. The stream sends one of them at a time."""

    status: Status
    episode: EpisodeRow
    session: SessionEvent
    parameters: ParametersEvent
    decision: DecisionEvent
    experiment: ExperimentEvent
    health: Health
    reset: ResetEvent
