"""Versions of the parameters as they are read: what was put into force, and what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from engine.tuning.parameters import ParameterSet
from resources.parameter_store.chain import Event
from resources.parameter_store.overrides import Hold
from resources.parameter_store.scopes import Scope
from resources.parameter_store.triggers import RollbackTrigger

__all__ = ["InForce", "Version", "VersionKind", "version_of"]

VersionKind = Literal["apply", "rollback", "override", "reset"]


@dataclass(frozen=True)
class Version:
    """Parameters that were put into force.

    Parameters
    ----------
    version : int
        Its number, unique over all scopes, from 1 on.
    scope : Scope
    parameters : ParameterSet
    replaces : int
        Version in force before; 0 means the defaults.
    kind : {"apply", "rollback", "override", "reset"}
    inherits : bool
        Whether the scope has since had no parameters of its own: what held more widely holds there too.
    actor, reason : str
    at : datetime
    session : str or None
    changes : mapping
        By name: the value before and after.
    left_out : mapping
        By name: why a change was not made.
    evidence : mapping
    triggers : tuple of RollbackTrigger
    event : int
        Row of the history.
    hash : str
        Of that row.
    """

    version: int
    scope: Scope
    parameters: ParameterSet
    replaces: int
    kind: str
    inherits: bool
    actor: str
    reason: str
    at: datetime
    session: str | None
    changes: Mapping[str, tuple[float, float]] = field(hash=False)
    left_out: Mapping[str, str] = field(hash=False)
    evidence: Mapping[str, Any] = field(hash=False)
    triggers: tuple[RollbackTrigger, ...]
    event: int
    hash: str


@dataclass(frozen=True)
class InForce:
    """The parameters to decide with.

    Parameters
    ----------
    parameters : ParameterSet
    version : int
        The version they come from; 0 means the defaults.
    scope : Scope or None
        Of that version; ``None`` for the defaults.
    overridden : tuple of str
        Parameters whose value a person holds instead.
    hash : str
        SHA-256 of the values.
    holds : tuple of Hold
        One for each that is overridden.
    expired : tuple of Hold
        Overrides whose time is over; the next change of the scope records that.
    """

    parameters: ParameterSet
    version: int
    scope: Scope | None
    overridden: tuple[str, ...]
    hash: str
    holds: tuple[Hold, ...]
    expired: tuple[Hold, ...]


def version_of(event: Event) -> Version:
    """Read a version from its row of the history."""
    content = event.content
    assert event.version is not None  # noqa: S101  of the rows that have one
    return Version(
        version=event.version,
        scope=Scope.parse(event.scope or ""),
        parameters=ParameterSet.from_mapping(content["parameters"]),
        replaces=content["replaces"],
        kind=event.kind.removeprefix("version."),
        inherits=content["inherits"],
        actor=event.actor,
        reason=event.reason,
        at=event.at,
        session=content["session"],
        changes={name: (before, after) for name, (before, after) in content["changes"].items()},
        left_out=content["left_out"],
        evidence=content["evidence"],
        triggers=tuple(RollbackTrigger.from_dict(trigger) for trigger in content["triggers"]),
        event=event.seq,
        hash=event.hash,
    )
