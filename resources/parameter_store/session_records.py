"""Tuning sessions as the store knows them: who holds one, what it says, how it ended."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select

from resources.parameter_store.errors import UnknownError
from resources.parameter_store.ledger import Transaction
from resources.parameter_store.models import sessions
from resources.parameter_store.moments import from_text
from resources.parameter_store.scopes import Scope

__all__ = [
    "RECORDS",
    "Holder",
    "ProgressEvent",
    "SessionRecord",
    "StopRequest",
    "all_of",
    "first_of",
    "record_of",
    "session_of",
]


@dataclass(frozen=True)
class Holder:
    """The process that holds a session."""

    host: str
    pid: int

    @classmethod
    def this_process(cls) -> Holder:
        """Name the present process."""
        return cls(socket.gethostname(), os.getpid())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class StopRequest:
    """Who asked a session to stop, when and why."""

    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class SessionRecord:
    """A session as the store knows it.

    Parameters
    ----------
    id : str
    scope : Scope
    scenario : str
    status : str
        As its holder last said.
    actor, reason : str
        Who started it, and why.
    holder : Holder
    started_at, heartbeat_at, lease_until : datetime
    ended_at : datetime or None
        ``None`` while it runs.
    stop : StopRequest or None
    configuration, result : mapping
    """

    id: str
    scope: Scope
    scenario: str
    status: str
    actor: str
    reason: str
    holder: Holder
    started_at: datetime
    heartbeat_at: datetime
    lease_until: datetime
    ended_at: datetime | None
    stop: StopRequest | None
    configuration: Mapping[str, Any] = field(hash=False)
    result: Mapping[str, Any] | None = field(hash=False)

    @property
    def running(self) -> bool:
        """Whether it has not ended; its holder may be gone, see `lease_until`."""
        return self.ended_at is None


@dataclass(frozen=True)
class ProgressEvent:
    """What a session said about one episode; ``number`` is the cursor to read on from."""

    number: int
    at: datetime
    content: Mapping[str, Any] = field(hash=False)


def record_of(row: Row[Any]) -> SessionRecord:
    """Read a row of the table of sessions, state and token left out."""
    stop = None if row.stop is None else json.loads(row.stop)
    return SessionRecord(
        id=row.id,
        scope=Scope.parse(row.scope),
        scenario=row.scenario,
        status=row.status,
        actor=row.actor,
        reason=row.reason,
        holder=Holder(row.host, row.pid),
        started_at=from_text(row.started_at),
        heartbeat_at=from_text(row.heartbeat_at),
        lease_until=from_text(row.lease_until),
        ended_at=None if row.ended_at is None else from_text(row.ended_at),
        stop=None if stop is None else StopRequest(stop["actor"], stop["reason"], from_text(stop["at"])),
        configuration=json.loads(row.configuration),
        result=None if row.result is None else json.loads(row.result),
    )


RECORDS = select(*(column for column in sessions.c if column.name not in ("state", "token"))).order_by(
    sessions.c.started_at.desc(), sessions.c.id
)


def session_of(transaction: Transaction, session: str) -> SessionRecord:
    """Read one session; UnknownError if there is none."""
    found = first_of(transaction, RECORDS.where(sessions.c.id == session))
    if found is None:
        raise UnknownError(f"there is no session {session!r}")
    return found


def first_of(transaction: Transaction, query: Select[Any]) -> SessionRecord | None:
    """Read the first session that a query on `RECORDS` finds."""
    found = all_of(transaction, query.limit(1))
    return found[0] if found else None


def all_of(transaction: Transaction, query: Select[Any]) -> list[SessionRecord]:
    """Read all sessions that a query on `RECORDS` finds."""
    return [record_of(row) for row in transaction.connection.execute(query)]
