"""Values that a person holds, whatever versions say, until they are lifted or their time is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from engine.tuning.parameters import PARAMETERS, check_names
from resources.parameter_store.chain import LONGEST_REASON
from resources.parameter_store.ledger import Transaction
from resources.parameter_store.models import events
from resources.parameter_store.moments import checked, from_text, readable
from resources.parameter_store.scopes import Scope

__all__ = ["Hold", "Holds", "holds", "lift", "override", "record_expired"]

_SET, _LIFTED, _EXPIRED = "override.set", "override.lifted", "override.expired"


@dataclass(frozen=True)
class Hold:
    """One value that a person holds.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : float
    scope : Scope
    actor, reason : str
    since : datetime
    until : datetime or None
        When it ends by itself; that moment is no longer held.
    """

    name: str
    value: float
    scope: Scope
    actor: str
    reason: str
    since: datetime
    until: datetime | None

    def __str__(self) -> str:
        until = "it is lifted" if self.until is None else readable(self.until)
        return (
            f"{self.name} is held at {self.value:g} for {self.scope} by {self.actor} since "
            f"{readable(self.since)} until {until} ({self.reason})"
        )


@dataclass(frozen=True)
class Holds:
    """What is held at a moment, and whose time is over without that having been recorded."""

    held: Mapping[str, Hold]
    expired: tuple[Hold, ...]


def holds(
    transaction: Transaction, scopes: Sequence[Scope], moment: datetime, *, at: datetime | None = None
) -> Holds:
    """Return what is held in the first of the scopes that holds it.

    Parameters
    ----------
    transaction : Transaction
    scopes : sequence of Scope
        The one that comes first in front.
    moment : datetime
        Decides what has expired.
    at : datetime, optional
        Look at history as it was then.
    """
    held: dict[str, Hold] = {}
    expired: list[Hold] = []
    for scope in reversed(scopes):
        for hold in _unlifted(transaction, scope, at).values():
            if hold.until is not None and hold.until <= moment:
                expired.append(hold)
            else:
                held[hold.name] = hold
    return Holds(held, tuple(expired))


def override(
    transaction: Transaction,
    scope: Scope,
    values: Mapping[str, float],
    *,
    actor: str,
    reason: str,
    until: datetime | None,
) -> tuple[Hold, ...]:
    """Hold values."""
    check_names(values)
    if not values:
        raise ValueError(
            f"an override needs at least one value; known parameters are {', '.join(PARAMETERS)}"
        )
    numbers = {name: PARAMETERS[name].check(value) for name, value in values.items()}
    end = None if until is None else checked("until", until)
    if end is not None and end <= transaction.now:
        raise ValueError(
            f"until = {readable(end)} is already past: it is {readable(transaction.now)}"
            ". Give a later moment, or none to hold until the override is lifted"
        )
    record_expired(transaction, [scope])
    content = {"values": numbers, "until": end}
    transaction.append(_SET, actor=actor, reason=reason, scope=scope, content=content)
    held = _unlifted(transaction, scope, None)
    return tuple(held[name] for name in numbers)


def lift(
    transaction: Transaction, scope: Scope, names: Iterable[str] | None, *, actor: str, reason: str
) -> tuple[Hold, ...]:
    """Let go of the values that are named, or of all."""
    record_expired(transaction, [scope])
    held = _unlifted(transaction, scope, None)
    if isinstance(names, str):
        raise TypeError(f"names = {names!r} must be several names, such as [{names!r}]")
    wanted = list(held) if names is None else list(dict.fromkeys(names))
    check_names(wanted)
    free = [name for name in wanted if name not in held]
    if free or not wanted:
        is_held = f"held are {', '.join(held)}" if held else "nothing is held"
        raise ValueError(f"{scope}: {', '.join(free) or 'nothing'} can be lifted: {is_held} there")
    transaction.append(_LIFTED, actor=actor, reason=reason, scope=scope, content={"names": wanted})
    return tuple(held[name] for name in wanted)


def record_expired(transaction: Transaction, scopes: Iterable[Scope]) -> tuple[Hold, ...]:
    """Write into the history what has expired: nothing ends without a trace."""
    ended: list[Hold] = []
    for scope in scopes:
        over = holds(transaction, [scope], transaction.now).expired
        for hold in over:
            content = {"names": [hold.name], "value": hold.value, "until": hold.until}
            transaction.append(
                _EXPIRED, actor="clock", reason=f"over: {hold}"[:LONGEST_REASON], scope=scope, content=content
            )
        ended.extend(over)
    return tuple(ended)


def _unlifted(transaction: Transaction, scope: Scope, at: datetime | None) -> dict[str, Hold]:
    query = select(events).where(events.c.scope == str(scope), events.c.kind.in_((_SET, _LIFTED, _EXPIRED)))
    held: dict[str, Hold] = {}
    for event in transaction.events(query.order_by(events.c.seq)):
        if at is not None and event.at > at:
            continue
        if event.kind == _SET:
            until = event.content["until"]
            end = None if until is None else from_text(until)
            values = event.content["values"]
            for name in PARAMETERS:
                if name in values:
                    held[name] = Hold(name, values[name], scope, event.actor, event.reason, event.at, end)
        else:
            for name in event.content["names"]:
                held.pop(name, None)
    return held
