"""From a searched candidate to the parameters in force, in steps that survive a crash between any two.

An application is written down as pending first. To apply it is one transaction that writes both the version
and that it was applied, so there is no state in between; whoever finds it pending later can do the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import select

from engine.tuning.parameters import ParameterSet
from resources.parameter_store import versions
from resources.parameter_store.canonical import canonical, plain
from resources.parameter_store.chain import Event
from resources.parameter_store.errors import RefusedError, StoreError, UnknownError
from resources.parameter_store.ledger import Ledger, Transaction
from resources.parameter_store.models import events
from resources.parameter_store.moments import from_text, readable
from resources.parameter_store.scopes import Scope
from resources.parameter_store.triggers import RollbackTrigger
from resources.parameter_store.versions import Version

__all__ = ["Journal", "JournalEntry", "JournalState", "note_rollback"]

JournalState = Literal["pending", "applied", "refused", "rolled back"]
VALID_FOR = timedelta(days=1)

_STATES: Mapping[str, JournalState] = {
    "journal.pending": "pending",
    "journal.applied": "applied",
    "journal.refused": "refused",
    "journal.rolled_back": "rolled back",
}


@dataclass(frozen=True)
class JournalEntry:
    """An application and how far it has come.

    Parameters
    ----------
    key : str
        Chosen by whoever applies: the same key is applied once, however often it is tried.
    state : {"pending", "applied", "refused", "rolled back"}
    scope : Scope
    parameters : ParameterSet
    expected : int
        Version that it was measured against; 0 means the defaults.
    version : int or None
        The version made of it.
    session : str or None
    actor, reason : str
        Of the latest move.
    at, until : datetime
        When the latest move was, and until when it may be applied.
    """

    key: str
    state: JournalState
    scope: Scope
    parameters: ParameterSet
    expected: int
    version: int | None
    session: str | None
    actor: str
    reason: str
    at: datetime
    until: datetime


@dataclass(frozen=True)
class Journal:
    """Applications of a store."""

    ledger: Ledger

    def propose(
        self,
        key: str,
        scope: Scope | str,
        parameters: ParameterSet,
        *,
        expected: int | None,
        actor: str,
        reason: str,
        evidence: Mapping[str, Any],
        session: str | None = None,
        triggers: Sequence[RollbackTrigger] = (),
        leave_out: bool = False,
        valid_for: timedelta = VALID_FOR,
    ) -> JournalEntry:
        """Write an application down as pending; proposed again, it is returned as it stands.

        Raises
        ------
        ValueError
            If the key stands for something else.
        """
        if not key.strip() or len(key) > 200:
            raise ValueError(f"key = {key!r} must be text of at most 200 characters")
        if valid_for <= timedelta(0):
            raise ValueError(f"valid_for = {valid_for} must be longer than nothing")
        where = Scope.parse(scope)
        what = plain(
            {
                "parameters": parameters.to_dict(),
                "expected": expected or 0,
                "evidence": evidence,
                "session": session,
                "triggers": [trigger.to_dict() for trigger in triggers],
                "leave_out": leave_out,
            }
        )
        with self.ledger.write() as transaction:
            moves = transaction.about(key, "journal")
            if moves:
                first = {name: value for name, value in moves[0].content.items() if name != "until"}
                if canonical(first) != canonical(what) or moves[0].scope != str(where):
                    raise ValueError(
                        f"journal key {key!r} already stands for another application, by {moves[0].actor} "
                        f"for {moves[0].scope} at {readable(moves[0].at)}; choose another key"
                    )
                return _entry(key, moves)
            content = {**what, "until": transaction.now + valid_for}
            event = transaction.append(
                "journal.pending", actor=actor, reason=reason, scope=where, subject=key, content=content
            )
            return _entry(key, [event])

    def apply(self, key: str, *, actor: str) -> JournalEntry:
        """Put a pending application into force; one that has been is returned as it stands.

        Raises
        ------
        StaleBaseline
            If another version is in force than it was measured against; it is then refused for good.
        OverriddenError
            If a person holds a value that it would change; it is then refused for good.
        RefusedError
            If it was refused before, or its time is over.
        """
        scope = self.entry(key).scope
        with self.ledger.attempt(
            f"apply {key}", actor=actor, scope=scope, subject=key, refused_as="journal.refused"
        ) as transaction:
            moves = transaction.about(key, "journal")
            entry = _entry(key, moves)
            if entry.state == "pending":
                version = _apply(transaction, entry, moves[0], actor)
                _move(transaction, "applied", entry, actor=actor, reason=entry.reason, version=version)
                return _entry(key, transaction.about(key, "journal"))
        if entry.state == "refused":
            raise RefusedError(
                f"{key} was refused at {readable(entry.at)} ({entry.reason}); propose it anew "
                "under another key"
            )
        return entry

    def refuse(self, key: str, *, actor: str, reason: str) -> JournalEntry:
        """Give up a pending application; one that was refused stays as it is.

        Raises
        ------
        StoreError
            If it has been applied: roll that version back.
        """
        with self.ledger.write() as transaction:
            entry = _known(transaction, key)
            if entry.state == "pending":
                _move(transaction, "refused", entry, actor=actor, reason=reason)
            elif entry.state != "refused":
                raise StoreError(f"{key} was applied as version {entry.version}; roll that back instead")
            return _known(transaction, key)

    def recover(self, *, actor: str = "recovery") -> list[JournalEntry]:
        """Resolve what is pending: apply it if nothing has moved and its time is not over, else refuse it."""
        resolved = []
        for entry in self.pending():
            try:
                resolved.append(self.apply(entry.key, actor=actor))
            except RefusedError:
                resolved.append(self.entry(entry.key))
        return resolved

    def entry(self, key: str) -> JournalEntry:
        """Return one application."""
        with self.ledger.read() as transaction:
            return _known(transaction, key)

    def pending(self) -> list[JournalEntry]:
        """Return all that are pending, the oldest first."""
        later = events.alias()
        moved = select(later.c.seq).where(
            later.c.subject == events.c.subject,
            later.c.kind.in_([kind for kind in _STATES if kind != "journal.pending"]),
        )
        query = select(events).where(events.c.kind == "journal.pending", ~moved.exists())
        with self.ledger.read() as transaction:
            found = transaction.events(query.order_by(events.c.seq))
        return [_entry(event.subject or "", [event]) for event in found]


def note_rollback(transaction: Transaction, replaced: int, *, actor: str, reason: str, version: int) -> None:
    """Move the application that made a version, if one did, to ``rolled back``."""
    made = select(events).where(events.c.version == replaced)
    event = transaction.event(made)
    key = None if event is None else event.content["evidence"].get("journal")
    if key is not None:
        entry = _known(transaction, key)
        if entry.state == "applied":
            content = {"version": replaced, "by_version": version}
            transaction.append(
                "journal.rolled_back",
                actor=actor,
                reason=reason,
                scope=entry.scope,
                subject=key,
                content=content,
            )


def _apply(transaction: Transaction, entry: JournalEntry, first: Event, actor: str) -> Version:
    if entry.until <= transaction.now:
        raise RefusedError(f"{entry.key} could be applied until {readable(entry.until)}; measure again")
    content = first.content
    return versions.commit(
        transaction,
        entry.scope,
        entry.parameters,
        expected=entry.expected,
        actor=actor,
        reason=first.reason,
        evidence={**content["evidence"], "journal": entry.key},
        session=entry.session,
        triggers=[RollbackTrigger.from_dict(trigger) for trigger in content["triggers"]],
        leave_out=content["leave_out"],
    )


def _move(
    transaction: Transaction,
    state: Literal["applied", "refused"],
    entry: JournalEntry,
    *,
    actor: str,
    reason: str,
    version: Version | None = None,
) -> None:
    content = {"version": None if version is None else version.version}
    transaction.append(
        f"journal.{state}", actor=actor, reason=reason, scope=entry.scope, subject=entry.key, content=content
    )


def _known(transaction: Transaction, key: str) -> JournalEntry:
    moves = transaction.about(key, "journal")
    if not moves:
        raise UnknownError(f"the journal has no application {key!r}")
    return _entry(key, moves)


def _entry(key: str, moves: Sequence[Event]) -> JournalEntry:
    first, last = moves[0], moves[-1]
    return JournalEntry(
        key=key,
        state=_STATES[last.kind],
        scope=Scope.parse(first.scope or ""),
        parameters=ParameterSet.from_mapping(first.content["parameters"]),
        expected=first.content["expected"],
        version=last.content.get("version"),
        session=first.content["session"],
        actor=last.actor,
        reason=last.reason,
        at=last.at,
        until=from_text(first.content["until"]),
    )
