"""What a store of parameters tells: what is in force, how it came to be, and whether its history is whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select

from resources.parameter_store import chain, overrides, versions
from resources.parameter_store.chain import ChainReport, Event
from resources.parameter_store.errors import UnknownError
from resources.parameter_store.experiments import verify_observations
from resources.parameter_store.ledger import Ledger
from resources.parameter_store.models import events
from resources.parameter_store.moments import checked
from resources.parameter_store.overrides import Hold
from resources.parameter_store.scopes import Scope, scopes_of
from resources.parameter_store.triggers import ArmedTrigger
from resources.parameter_store.versions import InForce, Version

__all__ = ["ParameterReader"]


class ParameterReader:
    """Everything that can be asked of a store without changing it.

    Parameters
    ----------
    ledger : Ledger
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def in_force(
        self, symbol: str | None = None, regime: str | None = None, at: datetime | None = None
    ) -> InForce:
        """Return the parameters to decide with.

        Override before symbol before regime before global before the defaults; an override holds only the
        values it names.

        Parameters
        ----------
        symbol, regime : str, optional
        at : datetime, optional
            Look at history as it was then; without it the newest state counts.

        Raises
        ------
        ChainBrokenError
            If a row that counts was changed in the database.
        """
        moment = None if at is None else checked("at", at)
        with self._ledger.read() as transaction:
            return versions.in_force(transaction, scopes_of(symbol, regime), moment)

    def baseline(self, scope: Scope | str) -> InForce:
        """Return what a change of the scope would replace: its ``version`` is what `commit` expects."""
        with self._ledger.read() as transaction:
            return versions.in_force(transaction, Scope.parse(scope).fallbacks)

    def holds(self, scope: Scope | str | None = None) -> tuple[Hold, ...]:
        """Return what is held now, in one scope or in all."""
        with self._ledger.read() as transaction:
            query = select(events.c.scope).where(events.c.kind == "override.set").distinct()
            known = transaction.connection.execute(query.order_by(events.c.scope)).scalars()
            scopes = [Scope.parse(text) for text in known] if scope is None else [Scope.parse(scope)]
            each = (overrides.holds(transaction, [one], transaction.now).held for one in scopes)
            return tuple(hold for held in each for hold in held.values())

    def version(self, number: int) -> Version:
        """Return one version."""
        with self._ledger.read() as transaction:
            event = transaction.event(select(events).where(events.c.version == number))
        if event is None:
            raise UnknownError(f"there is no version {number}")
        return versions.version_of(event)

    def versions(
        self, scope: Scope | str | None = None, *, limit: int = 50, before: int | None = None
    ) -> list[Version]:
        """Return versions, the newest first, of one scope or of all, those before a number."""
        query = select(events).where(events.c.version.is_not(None))
        if before is not None:
            query = query.where(events.c.version < before)
        return [versions.version_of(event) for event in self._newest(query, scope, limit)]

    def history(
        self, scope: Scope | str | None = None, *, limit: int = 50, before: int | None = None
    ) -> list[Event]:
        """Return rows of the history, the newest first, of one scope or of all, those before a row."""
        query = select(events)
        if before is not None:
            query = query.where(events.c.seq < before)
        return self._newest(query, scope, limit)

    def since(self, row: int, *, limit: int = 1_000) -> list[Event]:
        """Return the rows of the history after one, the oldest first."""
        query = select(events).where(events.c.seq > row).order_by(events.c.seq).limit(limit)
        with self._ledger.read() as transaction:
            return transaction.events(query)

    def about(self, subject: str, *, limit: int = 1_000) -> list[Event]:
        """Return the rows about a session, an experiment or a journal key, the oldest first."""
        query = select(events).where(events.c.subject == subject).order_by(events.c.seq).limit(limit)
        with self._ledger.read() as transaction:
            return transaction.events(query)

    def armed_triggers(self) -> list[ArmedTrigger]:
        """Return the triggers of the versions in force that are still to be watched."""
        with self._ledger.read() as transaction:
            query = select(events.c.scope).where(events.c.version.is_not(None)).distinct()
            scopes = transaction.connection.execute(query.order_by(events.c.scope)).scalars().all()
            newest = [versions.standing(transaction, [Scope.parse(scope)]) for scope in scopes]
            return [
                ArmedTrigger(
                    str(one.scope), one.version, one.replaces, trigger, one.at, one.at + trigger.horizon
                )
                for one in newest
                if one is not None
                for trigger in one.triggers
                if transaction.now < one.at + trigger.horizon
            ]

    def head(self) -> tuple[int, str]:
        """Return the number and the hash of the last row of the history, to be noted elsewhere."""
        with self._ledger.read() as transaction:
            return chain.head(transaction.connection)

    def verify(self, head: str | None = None) -> ChainReport:
        """Walk along the history and find the first row that was changed, removed or inserted.

        Parameters
        ----------
        head : str, optional
            Hash of the last row at an earlier time; with it, rows that were cut off are found as well.
        """
        with self._ledger.read() as transaction:
            report = chain.verify(transaction.connection, head)
            if not report.intact:
                return report
            broken = verify_observations(transaction, report.rows, report.head)
            return report if broken is None else replace(broken, head=report.head)

    def _newest(self, query: Any, scope: Scope | str | None, limit: int) -> list[Event]:
        if limit < 1:
            raise ValueError(f"limit = {limit} must be at least 1")
        if scope is not None:
            query = query.where(events.c.scope == str(Scope.parse(scope)))
        with self._ledger.read() as transaction:
            return transaction.events(query.order_by(events.c.seq.desc()).limit(limit))
