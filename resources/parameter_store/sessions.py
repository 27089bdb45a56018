"""Tuning sessions: one at a time in a scope, held by a process that has to say that it is still there."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, insert, or_, select, update

from resources.parameter_store.canonical import canonical
from resources.parameter_store.errors import BusyError, StoreError
from resources.parameter_store.held_session import HeldSession, short
from resources.parameter_store.ledger import Ledger, Transaction
from resources.parameter_store.models import progress, sessions
from resources.parameter_store.moments import from_text, readable, to_text
from resources.parameter_store.scopes import Scope
from resources.parameter_store.session_records import (
    RECORDS,
    Holder,
    ProgressEvent,
    SessionRecord,
    StopRequest,
    all_of,
    first_of,
    session_of,
)

__all__ = ["HeldSession", "Holder", "ProgressEvent", "SessionRecord", "Sessions", "StopRequest"]

LEASE = timedelta(minutes=2)


@dataclass(frozen=True)
class Sessions:
    """All sessions of a store."""

    ledger: Ledger

    def start(
        self,
        scope: Scope | str,
        scenario: str,
        *,
        actor: str,
        reason: str,
        configuration: Mapping[str, Any] | None = None,
        lease: timedelta = LEASE,
    ) -> HeldSession:
        """Start a session; one whose lease in this scope is over is ended as failed.

        Raises
        ------
        BusyError
            If another runs in the scope; it says which, and who holds it.
        """
        where, identity = Scope.parse(scope), uuid.uuid4().hex
        with self.ledger.attempt(f"start {scenario}", actor=actor, scope=where) as transaction:
            running = first_of(transaction, _running().where(sessions.c.scope == str(where)))
            if running is not None:
                if running.lease_until > transaction.now:
                    raise BusyError(running)
                why = f"its lease was over since {readable(running.lease_until)}, {running.holder}"
                _end(transaction, running, "failed", actor=actor, reason=why)
            event = transaction.append(
                "session.started",
                actor=actor,
                reason=reason,
                scope=where,
                subject=identity,
                content={"scenario": short("scenario", scenario), "configuration": configuration or {}},
            )
            row = {
                "id": identity,
                "scope": str(where),
                "scenario": scenario,
                "actor": actor,
                "reason": reason,
                "configuration": canonical(configuration or {}, "configuration"),
                "started_at": to_text(event.at),
                "status": "snapshot",
            }
            transaction.connection.execute(insert(sessions).values(row | _lease(transaction.now, lease)))
            return self._held(transaction, identity)

    def resume(self, session: str, *, actor: str, reason: str, lease: timedelta = LEASE) -> HeldSession:
        """Take over a session whose lease is over, to go on from its saved state.

        Raises
        ------
        BusyError
            If its holder has a lease.
        StoreError
            If it has ended.
        """
        with self.ledger.attempt(f"resume {session}", actor=actor, subject=session) as transaction:
            found = session_of(transaction, session)
            if not found.running:
                raise StoreError(f"session {session} has ended ({found.status}); start another")
            if found.lease_until > transaction.now:
                raise BusyError(found)
            mine = sessions.c.id == session
            transaction.connection.execute(
                update(sessions).where(mine).values(_lease(transaction.now, lease))
            )
            content = {"before": str(found.holder), "lease_was_until": found.lease_until}
            transaction.append(
                "session.taken_over",
                actor=actor,
                reason=reason,
                scope=found.scope,
                subject=session,
                content=content,
            )
            return self._held(transaction, session)

    def request_stop(self, session: str, *, actor: str, reason: str) -> SessionRecord:
        """Ask a session to stop; one that has ended, or was asked before, stays as it is."""
        with self.ledger.write() as transaction:
            found = session_of(transaction, session)
            if not found.running or found.stop is not None:
                return found
            event = transaction.append(
                "session.stop_requested", actor=actor, reason=reason, scope=found.scope, subject=session
            )
            stop = canonical({"actor": actor, "reason": reason, "at": event.at})
            transaction.connection.execute(update(sessions).where(sessions.c.id == session).values(stop=stop))
            return session_of(transaction, session)

    def end_abandoned(self, *, actor: str, reason: str) -> list[SessionRecord]:
        """End as failed all sessions whose lease is over."""
        with self.ledger.write() as transaction:
            over = all_of(transaction, _running().where(sessions.c.lease_until <= to_text(transaction.now)))
            for record in over:
                _end(transaction, record, "failed", actor=actor, reason=reason)
            return [session_of(transaction, record.id) for record in over]

    def get(self, session: str) -> SessionRecord:
        """Return one session."""
        with self.ledger.read() as transaction:
            return session_of(transaction, session)

    def running(self, scope: Scope | str | None = None) -> list[SessionRecord]:
        """Return those that have not ended, the newest first; a lease may be over."""
        query = _running() if scope is None else _running().where(sessions.c.scope == str(Scope.parse(scope)))
        with self.ledger.read() as transaction:
            return all_of(transaction, query)

    def recent(
        self, limit: int = 50, *, before: str | None = None, scenario: str | None = None
    ) -> list[SessionRecord]:
        """Return the newest, of one scenario or of all, those that began before a session."""
        query = RECORDS if scenario is None else RECORDS.where(sessions.c.scenario == scenario)
        with self.ledger.read() as transaction:
            if before is not None:
                last = session_of(transaction, before)
                began, moment = sessions.c.started_at, to_text(last.started_at)
                query = query.where(or_(began < moment, (began == moment) & (sessions.c.id > before)))
            return all_of(transaction, query.limit(_positive("limit", limit)))

    def pulse(self) -> tuple[int, str]:
        """Return how many there are, and when one last said something: what changes when any of them does."""
        query = select(func.count(), func.coalesce(func.max(sessions.c.heartbeat_at), ""))
        with self.ledger.read() as transaction:
            count, moment = transaction.connection.execute(query).one()
        return count, moment

    def progress(self, session: str, after: int = 0, limit: int = 1_000) -> list[ProgressEvent]:
        """Return what a session reported after a number, in order."""
        mine = (progress.c.session == session) & (progress.c.number > after)
        query = select(progress).where(mine).order_by(progress.c.number).limit(_positive("limit", limit))
        with self.ledger.read() as transaction:
            session_of(transaction, session)
            rows = transaction.connection.execute(query).all()
        return [ProgressEvent(row.number, from_text(row.at), json.loads(row.content)) for row in rows]

    def state(self, session: str) -> bytes | None:
        """Return what was saved to go on from."""
        with self.ledger.read() as transaction:
            session_of(transaction, session)
            query = select(sessions.c.state).where(sessions.c.id == session)
            return transaction.connection.execute(query).scalar()

    def _held(self, transaction: Transaction, session: str) -> HeldSession:
        query = select(sessions.c.scope, sessions.c.token).where(sessions.c.id == session)
        row = transaction.connection.execute(query).one()
        return HeldSession(session, Scope.parse(row.scope), self.ledger, row.token)


def _running() -> Select[Any]:
    return RECORDS.where(sessions.c.ended_at.is_(None))


def _lease(now: datetime, lease: timedelta) -> dict[str, Any]:
    seconds = round(lease.total_seconds())
    if seconds < 1:
        raise ValueError(f"lease = {lease} must last at least one second")
    holder = Holder.this_process()
    return {
        "host": holder.host,
        "pid": holder.pid,
        "token": secrets.token_hex(16),
        "lease_seconds": seconds,
        "heartbeat_at": to_text(now),
        "lease_until": to_text(now + timedelta(seconds=seconds)),
    }


def _end(transaction: Transaction, record: SessionRecord, status: str, *, actor: str, reason: str) -> None:
    transaction.append(
        "session.ended",
        actor=actor,
        reason=reason,
        scope=record.scope,
        subject=record.id,
        content={"status": status, "result": {}},
    )
    values = {"status": status, "ended_at": to_text(transaction.now), "result": canonical({"reason": reason})}
    transaction.connection.execute(update(sessions).where(sessions.c.id == record.id).values(values))


def _positive(name: str, number: int) -> int:
    if number < 1:
        raise ValueError(f"{name} = {number} must be at least 1")
    return number
