"""What every part of the store works with: a transaction at one moment, which can append to the history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from resources.parameter_store import chain
from resources.parameter_store.chain import Event
from resources.parameter_store.database import Database
from resources.parameter_store.errors import RefusedError
from resources.parameter_store.models import events
from resources.parameter_store.moments import Clock, checked
from resources.parameter_store.scopes import Scope

__all__ = ["Ledger", "Transaction"]


@dataclass(frozen=True)
class Transaction:
    """An open transaction, and the moment at which all in it happens."""

    connection: Connection
    now: datetime

    def append(
        self,
        kind: str,
        *,
        actor: str,
        reason: str,
        scope: Scope | None = None,
        version: int | None = None,
        subject: str | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> Event:
        """Append to the history."""
        return chain.append(
            self.connection,
            kind,
            at=self.now,
            actor=actor,
            reason=reason,
            scope=None if scope is None else str(scope),
            version=version,
            subject=subject,
            content=content,
        )

    def events(self, query: Select[Any]) -> list[Event]:
        """Return the rows of the history that a query on their table finds."""
        return [chain.event_of(row) for row in self.connection.execute(query)]

    def event(self, query: Select[Any]) -> Event | None:
        """Return the first row that a query finds."""
        found = self.events(query.limit(1))
        return found[0] if found else None

    def about(self, subject: str, family: str) -> list[Event]:
        """Return the rows of a family of kinds about one subject, in order."""
        of_family = events.c.kind.startswith(f"{family}.", autoescape=True)
        return self.events(
            select(events).where(events.c.subject == subject, of_family).order_by(events.c.seq)
        )


@dataclass(frozen=True)
class Ledger:
    """Opens transactions.

    Parameters
    ----------
    database : Database
    clock : callable
        Returns the present moment, with a zone.
    """

    database: Database
    clock: Clock

    def now(self) -> datetime:
        """Return the present moment."""
        return checked("the clock", self.clock())

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that sees one state."""
        with self.database.read() as connection:
            yield Transaction(connection, self.now())

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open a transaction that no other writer comes between."""
        with self.database.write() as connection:
            yield Transaction(connection, self.now())

    @contextmanager
    def attempt(
        self,
        what: str,
        *,
        actor: str,
        scope: Scope | None = None,
        subject: str | None = None,
        refused_as: str = "refused",
    ) -> Iterator[Transaction]:
        """Open a transaction to write; if that is refused, all that is kept is that it was.

        Parameters
        ----------
        what : str
            What is attempted.
        actor, scope, subject
            As of an event.
        refused_as : str
            Kind of the event of a refusal.
        """
        refusal: RefusedError | None = None
        with self.database.write() as connection:
            transaction = Transaction(connection, self.now())
            try:
                with connection.begin_nested():
                    yield transaction
            except RefusedError as error:
                refusal = error
                content = {"attempt": what, "error": type(error).__name__}
                transaction.append(
                    refused_as,
                    actor=actor,
                    reason=str(error)[: chain.LONGEST_REASON],
                    scope=scope,
                    subject=subject,
                    content=content,
                )
        if refusal is not None:
            raise refusal
