"""Experiments as the store knows them, read from the moves of the history that speak of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from engine.tuning.parameters import ParameterSet
from resources.parameter_store.chain import Event
from resources.parameter_store.moments import from_text
from resources.parameter_store.scopes import Scope
from resources.parameter_store.triggers import RollbackTrigger

__all__ = ["Experiment", "ExperimentKind", "Observation", "experiment_of"]

ExperimentKind = Literal["shadow", "ab"]


@dataclass(frozen=True)
class Experiment:
    """A comparison on live bars.

    Parameters
    ----------
    id : str
    kind : {"shadow", "ab"}
    scope : Scope
    candidate : ParameterSet
    baseline : int
        Version that the candidate is compared with; 0 means the defaults.
    metric : str
    start, end : datetime
        The horizon, fixed before.
    seed : int
        Of the assignment.
    block : timedelta
        Size of the blocks of time that are assigned.
    trigger : RollbackTrigger or None
        What stops it early.
    state : {"running", "concluded", "stopped"}
    actor, reason : str
        Of whoever registered it.
    session : str or None
    result : mapping or None
    """

    id: str
    kind: ExperimentKind
    scope: Scope
    candidate: ParameterSet
    baseline: int
    metric: str
    start: datetime
    end: datetime
    seed: int
    block: timedelta
    trigger: RollbackTrigger | None
    state: Literal["running", "concluded", "stopped"]
    actor: str
    reason: str
    session: str | None
    result: Mapping[str, Any] | None = field(hash=False)


@dataclass(frozen=True)
class Observation:
    """One thing seen in an experiment; ``number`` is the cursor to read on from."""

    number: int
    key: str
    at: datetime
    content: Mapping[str, Any] = field(hash=False)


def experiment_of(moves: list[Event]) -> Experiment:
    """Read an experiment from its moves, the start first."""
    first, last = moves[0], moves[-1]
    content = first.content
    trigger = content["trigger"]
    states: Mapping[str, Literal["running", "concluded", "stopped"]] = {
        "experiment.started": "running",
        "experiment.concluded": "concluded",
        "experiment.stopped": "stopped",
    }
    return Experiment(
        id=first.subject or "",
        kind=content["kind"],
        scope=Scope.parse(first.scope or ""),
        candidate=ParameterSet.from_mapping(content["candidate"]),
        baseline=content["baseline"],
        metric=content["metric"],
        start=first.at,
        end=from_text(content["end"]),
        seed=content["seed"],
        block=timedelta(seconds=content["block_s"]),
        trigger=None if trigger is None else RollbackTrigger.from_dict(trigger),
        state=states[last.kind],
        actor=first.actor,
        reason=first.reason,
        session=content["session"],
        result=last.content.get("result"),
    )
