"""A session in the hands of the process that runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, select, update

from resources.parameter_store.canonical import canonical
from resources.parameter_store.errors import LeaseLostError
from resources.parameter_store.ledger import Ledger, Transaction
from resources.parameter_store.models import progress, sessions
from resources.parameter_store.moments import to_text
from resources.parameter_store.scopes import Scope
from resources.parameter_store.session_records import SessionRecord, session_of

__all__ = ["HeldSession", "short"]


@dataclass(frozen=True)
class HeldSession:
    """A session in the hands of this process. Whatever it writes is refused once another has taken over."""

    id: str
    scope: Scope
    ledger: Ledger = field(repr=False)
    token: str = field(repr=False)

    def heartbeat(self) -> bool:
        """Renew the lease; tell whether the session has been asked to stop."""
        with self.ledger.write() as transaction:
            return self._renewed(transaction, {}).stop is not None

    def advance(self, status: str) -> None:
        """Say what the session does now, and renew the lease."""
        with self.ledger.write() as transaction:
            self._renewed(transaction, {"status": short("status", status)})

    def report(self, content: Mapping[str, Any]) -> int:
        """Append what is known after an episode, and renew the lease; return its number."""
        text = canonical(content, "progress")
        with self.ledger.write() as transaction:
            self._renewed(transaction, {})
            newest = select(func.max(progress.c.number)).where(progress.c.session == self.id)
            number = (transaction.connection.execute(newest).scalar() or 0) + 1
            row = {"session": self.id, "number": number, "at": to_text(transaction.now), "content": text}
            transaction.connection.execute(insert(progress).values(row))
        return number

    def save_state(self, state: bytes) -> None:
        """Keep what the search needs to go on after an interruption, and renew the lease.

        Raises
        ------
        ValueError
            If it is neither safetensors nor JSON: nothing that could run as code is kept.
        """
        if not isinstance(state, bytes) or not (_is_safetensors(state) or _is_json(state)):
            raise ValueError("the state of a session must be the bytes of safetensors or of JSON")
        with self.ledger.write() as transaction:
            self._renewed(transaction, {"state": state})

    def finish(
        self, status: str, *, actor: str, reason: str, result: Mapping[str, Any] | None = None
    ) -> None:
        """End the session; the scope is free for another."""
        text = canonical(result or {}, "result")
        with self.ledger.write() as transaction:
            self._renewed(
                transaction,
                {"status": short("status", status), "ended_at": to_text(transaction.now), "result": text},
            )
            content = {"status": status, "result": result or {}}
            transaction.append(
                "session.ended",
                actor=actor,
                reason=reason,
                scope=self.scope,
                subject=self.id,
                content=content,
            )

    def _renewed(self, transaction: Transaction, values: Mapping[str, Any]) -> SessionRecord:
        mine = (sessions.c.id == self.id) & (sessions.c.token == self.token) & sessions.c.ended_at.is_(None)
        row = transaction.connection.execute(select(sessions.c.lease_seconds).where(mine)).one_or_none()
        if row is None:
            now = session_of(transaction, self.id)
            what = f"has ended ({now.status})" if not now.running else f"was taken over by {now.holder}"
            raise LeaseLostError(f"session {self.id} {what}; this process no longer writes for it")
        until = transaction.now + timedelta(seconds=row.lease_seconds)
        times = {"heartbeat_at": to_text(transaction.now), "lease_until": to_text(until)}
        transaction.connection.execute(update(sessions).where(mine).values(**times, **values))
        return session_of(transaction, self.id)


def short(name: str, text: str) -> str:
    """Return text that fits its column; ValueError with its name and the bound where it does not."""
    if not text.strip() or len(text) > 40:
        raise ValueError(f"{name} = {text!r} must be text of at most 40 characters")
    return text


def _is_safetensors(state: bytes) -> bool:
    """Tell by the header: its length in eight bytes, then JSON."""
    length = int.from_bytes(state[:8], "little")
    return len(state) >= 8 + length and _is_json(state[8 : 8 + length])


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
