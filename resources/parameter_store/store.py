"""The parameters of the live algorithm: which are in force, how they came to be, and how they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from engine.tuning.parameters import ParameterSet
from resources.parameter_store import overrides, versions
from resources.parameter_store.chain import Event
from resources.parameter_store.database import Database
from resources.parameter_store.experiments import Experiments
from resources.parameter_store.journal import Journal, JournalEntry, note_rollback
from resources.parameter_store.ledger import Ledger
from resources.parameter_store.models import events
from resources.parameter_store.moments import Clock, utc_now
from resources.parameter_store.overrides import Hold
from resources.parameter_store.reading import ParameterReader
from resources.parameter_store.requests import Requests
from resources.parameter_store.scopes import Scope
from resources.parameter_store.sessions import Sessions
from resources.parameter_store.triggers import RollbackTrigger
from resources.parameter_store.versions import Version, VersionKind

__all__ = ["ParameterStore"]

_OWN = ("version", "override", "journal", "session", "experiment", "refused")


class ParameterStore(ParameterReader):
    """Versions of the parameters, with their history, in SQLite or PostgreSQL.

    Any number of processes may use one address. A change is one transaction; a process that is killed
    leaves all of it or nothing. History is appended to and never changed, and `verify` finds out if
    somebody did.

    Parameters
    ----------
    address : str
        ``sqlite:///data/parameters.sqlite``, made on first use, or ``postgresql://user@host/database``.
        Passwords are best left to ``PGPASSWORD`` or a password file; one in the address is never shown.
    clock : callable, optional
        Returns the present moment, with a zone.
    timeout_s : float
        Longest wait for another writer.

    Raises
    ------
    StoreError
        If the address cannot be read; later, if the database cannot be.
    """

    def __init__(self, address: str, *, clock: Clock = utc_now, timeout_s: float = 30.0) -> None:
        self._database = Database(address, timeout_s=timeout_s)
        super().__init__(Ledger(self._database, clock))
        self.sessions = Sessions(self._ledger)
        self.journal = Journal(self._ledger)
        self.experiments = Experiments(self._ledger)
        self.requests = Requests(self._ledger)

    @property
    def place(self) -> str:
        """Where the parameters are kept, without secrets."""
        return self._database.place

    def __repr__(self) -> str:
        return f"ParameterStore({self.place!r})"

    def close(self) -> None:
        """Let go of the connections to the database; the store can still be used."""
        self._database.close()

    def commit(
        self,
        scope: Scope | str,
        parameters: ParameterSet,
        *,
        expected: int | None,
        actor: str,
        reason: str,
        evidence: Mapping[str, Any],
        session: str | None = None,
        kind: VersionKind = "apply",
        triggers: Sequence[RollbackTrigger] = (),
        leave_out: bool = False,
    ) -> Version:
        """Put parameters into force in a scope.

        Parameters
        ----------
        scope : Scope or str
        parameters : ParameterSet
        expected : int or None
            Version that the change was measured against, see `baseline`; ``None`` and 0 mean the defaults.
        actor, reason : str
        evidence : mapping
            What speaks for it; numbers and text.
        session : str, optional
            The tuning session it comes from.
        kind : {"apply", "rollback", "override", "reset"}
            ``apply`` is what automation does, and respects overrides. The others are a person's.
        triggers : sequence of RollbackTrigger
            What makes the version go back.
        leave_out : bool
            Keep values that are overridden as they are underneath, instead of refusing the whole.

        Raises
        ------
        StaleBaseline
            If another version is in force than expected.
        OverriddenError
            If it would change a value that a person holds.
        """
        where = Scope.parse(scope)
        with self._ledger.attempt(f"commit {kind}", actor=actor, scope=where, subject=session) as transaction:
            return versions.commit(
                transaction,
                where,
                parameters,
                expected=expected,
                actor=actor,
                reason=reason,
                evidence=evidence,
                session=session,
                kind=kind,
                triggers=triggers,
                leave_out=leave_out,
            )

    def rollback(
        self,
        scope: Scope | str,
        version: int,
        *,
        actor: str,
        reason: str,
        expected: int | None = None,
        evidence: Mapping[str, Any] | None = None,
        session: str | None = None,
    ) -> Version:
        """Put the parameters of an earlier version into force again, as a new version.

        What is overridden stays so. An application in the journal that made the version in force is moved
        to ``rolled back`` with it.

        Parameters
        ----------
        scope : Scope or str
        version : int
            Of whichever scope; 0 means the defaults.
        actor, reason : str
        expected : int, optional
            Version that must be in force; by default whichever is.
        evidence : mapping, optional
        session : str, optional

        Raises
        ------
        StaleBaseline
            If another version is in force than expected.
        StoreError
            If there is no such version.
        """
        where = Scope.parse(scope)
        with self._ledger.attempt(f"rollback to {version}", actor=actor, scope=where) as transaction:
            made = versions.rollback(
                transaction,
                where,
                version,
                expected=expected,
                actor=actor,
                reason=reason,
                evidence=evidence or {},
                session=session,
            )
            note_rollback(transaction, made.replaces, actor=actor, reason=reason, version=made.version)
            return made

    def reset(self, scope: Scope | str, *, actor: str, reason: str, expected: int | None = None) -> Version:
        """Let what holds more widely hold in the scope too: the global parameters, or the defaults."""
        where = Scope.parse(scope)
        with self._ledger.attempt("reset", actor=actor, scope=where) as transaction:
            return versions.reset(transaction, where, expected=expected, actor=actor, reason=reason)

    def override(
        self,
        scope: Scope | str,
        values: Mapping[str, float],
        *,
        actor: str,
        reason: str,
        until: datetime | None = None,
    ) -> tuple[Hold, ...]:
        """Hold values by name, whatever versions say, until they are lifted or a moment is reached.

        Raises
        ------
        TypeError, ValueError
            If a name is unknown, a value out of bounds, or the moment past or without a zone.
        """
        with self._ledger.write() as transaction:
            return overrides.override(
                transaction, Scope.parse(scope), values, actor=actor, reason=reason, until=until
            )

    def lift(
        self, scope: Scope | str, names: Iterable[str] | None = None, *, actor: str, reason: str
    ) -> tuple[Hold, ...]:
        """Let go of values that are held in the scope, all of them by default; return what was held.

        Raises
        ------
        ValueError
            If one that is named is not held there.
        """
        with self._ledger.write() as transaction:
            return overrides.lift(transaction, Scope.parse(scope), names, actor=actor, reason=reason)

    def record(
        self,
        kind: str,
        *,
        actor: str,
        reason: str,
        scope: Scope | str | None = None,
        subject: str | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> Event:
        """Append something that happened elsewhere, such as ``login.accepted``, to the history.

        Raises
        ------
        ValueError
            If the kind is one that the store writes itself.
        """
        if not kind.strip() or len(kind) > 40 or kind.partition(".")[0] in _OWN:
            raise ValueError(
                f"kind = {kind!r} must be text of at most 40 characters that does not begin with "
                + ", ".join(_OWN)
            )
        where = None if scope is None else Scope.parse(scope)
        with self._ledger.write() as transaction:
            return transaction.append(
                kind, actor=actor, reason=reason, scope=where, subject=subject, content=content
            )

    def recover(self, *, actor: str = "recovery") -> list[JournalEntry]:
        """Resolve what a crash left half done, and record overrides that have expired; call it on start.

        Safe to call at any time and from any number of processes.
        """
        with self._ledger.write() as transaction:
            query = select(events.c.scope).where(events.c.kind == "override.set").distinct()
            scopes = transaction.connection.execute(query.order_by(events.c.scope)).scalars().all()
            overrides.record_expired(transaction, [Scope.parse(scope) for scope in scopes])
        return self.journal.recover(actor=actor)
