"""Transactions on the database of the parameters; its tables are made or brought up to date on first use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from resources.parameter_store.address import masked, parse_address, secrets_of, shown
from resources.parameter_store.errors import UnreachableError
from resources.parameter_store.models import SCHEMA_VERSION

__all__ = ["Database"]

_BEGIN = "engine_begin"
# One number for all that write: the chain has one last row.
_WRITERS = 0x656E67696E65
_WAITED = ("database is locked", "database table is locked", "lock timeout", "LockNotAvailable")


class Database:
    """Read and write transactions. A writer has the database alone; readers see one state of it.

    Parameters
    ----------
    address : str
        ``sqlite:///FILE`` or ``postgresql://...``.
    timeout_s : float
        Longest wait for another writer.

    Raises
    ------
    StoreError
        If the address cannot be read. Nothing is opened before the first transaction.
    """

    def __init__(self, address: str, *, timeout_s: float = 30.0) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s = {timeout_s!r} must be more than 0 seconds")
        self._url, self._timeout_s = parse_address(address), timeout_s
        self._secrets = secrets_of(self._url)
        self._lock = threading.Lock()
        self._opened: tuple[int, Engine] | None = None

    @property
    def place(self) -> str:
        """Where the parameters are kept, without secrets."""
        return shown(self._url)

    def __repr__(self) -> str:
        return f"Database({self.place!r})"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state and changes nothing."""
        with self._explained(), self._transaction(self._engine(), write=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that no other writer comes between; it is kept if no error leaves the block."""
        with self._explained(), self._transaction(self._engine(), write=True) as connection:
            yield connection

    def close(self) -> None:
        """Let go of the connections; the next transaction opens another."""
        with self._lock:
            if self._opened is not None and self._opened[0] == os.getpid():
                self._opened[1].dispose()
            self._opened = None

    def _engine(self) -> Engine:
        # A connection is of no use to a forked child.
        if self._opened is None or self._opened[0] != os.getpid():
            with self._lock:
                if self._opened is not None and self._opened[0] != os.getpid():
                    self._opened[1].dispose(close=False)
                    self._opened = None
                if self._opened is None:
                    engine = _engine(self._url, self._timeout_s)
                    self._bring_up_to_date(engine)
                    self._opened = os.getpid(), engine
        return self._opened[1]

    @contextmanager
    def _transaction(self, engine: Engine, *, write: bool) -> Iterator[Connection]:
        sqlite = engine.dialect.name == "sqlite"
        with engine.connect() as plain:
            if sqlite:
                options: dict[str, Any] = {_BEGIN: "BEGIN IMMEDIATE" if write else "BEGIN"}
            else:
                options = {"isolation_level": "READ COMMITTED" if write else "REPEATABLE READ"}
            connection = plain.execution_options(**options)
            with connection.begin():
                if write and not sqlite:
                    milliseconds = max(1, round(1000 * self._timeout_s))
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
                yield connection

    def _bring_up_to_date(self, engine: Engine) -> None:
        with self._transaction(engine, write=False) as connection:
            if _revision(connection) == SCHEMA_VERSION:
                return
        with self._transaction(engine, write=True) as connection:
            found = _revision(connection)
            if found == SCHEMA_VERSION:
                return  # by whoever held the lock before
            _migrate(connection, found, self.place)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            text, what = masked(" ".join(str(error.orig).split()), self._secrets), "Nothing was changed"
            if any(sign in text or sign in type(error.orig).__name__ for sign in _WAITED):
                text = f"another process has been writing for more than {self._timeout_s:g} s"
            elif isinstance(error, OperationalError):
                text = f"the database does not let us in, or was lost on the way ({text})"
                what = "If that was at the end of a change, see in the history whether it was made"
            raise UnreachableError(f"{self.place}: {text}. {what}") from (
                None if masked(str(error), self._secrets) != str(error) else error
            )


def _engine(url: URL, timeout_s: float) -> Engine:
    # Values of a statement hold evidence and reasons; they do not belong into an error.
    options: dict[str, Any] = {"pool_size": 2, "max_overflow": 30, "hide_parameters": True}
    if url.get_backend_name() != "sqlite":
        return create_engine(url, **options, pool_pre_ping=True, connect_args={"client_encoding": "utf8"})
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, **options, connect_args={"timeout": timeout_s})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, DDL included
        _use_wal(connection, timeout_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _use_wal(connection: Any, timeout_s: float) -> None:
    """Switch to the write-ahead log; SQLite does not wait for others while it does."""
    import sqlite3

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _migrate(connection: Connection, found: str | None, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    folder = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise UnreachableError(
            f"{place}: its tables are at revision {found}, made by a newer version of Engine; this one knows "
            f"{SCHEMA_VERSION}. Install that version"
        )
    command.upgrade(config, SCHEMA_VERSION)
