"""What a connection to the warehouse is, wherever its tables are kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.errors import EngineError

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "SCHEMA_VERSION",
    "Limits",
    "NoWarehouseError",
    "Store",
    "WarehouseError",
    "is_about_space",
    "set_up",
    "snapshot",
    "stamp",
    "transaction",
]

SCHEMA_VERSION = 1
"""Layout of the tables in schema ``meta``; a warehouse stamped with a higher number is refused."""

_NO_SPACE = ("No space left on device", "File too large", "Disk quota exceeded", "database or disk is full")


class WarehouseError(EngineError):
    """The warehouse cannot be opened, read or written; the text names it and what to do."""


class NoWarehouseError(WarehouseError):
    """Nothing was ever written at this address."""

    def __init__(self, place: str) -> None:
        super().__init__(f"{place}: there is no warehouse yet; materialise the raw assets first")


@dataclass(frozen=True)
class Limits:
    """Bounds of one connection, as `Warehouse` is given them."""

    lock_timeout_s: float
    memory_limit: str
    threads: int | None


class Store(Protocol):
    """Where the tables are kept."""

    @property
    def place(self) -> str:
        """The address as messages show it."""

    @property
    def shell(self) -> str:
        """Command that opens it in DuckDB's own shell."""

    def opened(
        self, limits: Limits, *, read_only: bool, tables: Collection[str] | None = None
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Connect, in one state of the warehouse for reading, in one transaction for writing.

        A writer names the ``tables`` it will change if it knows them; others may be written meanwhile.

        Raises
        ------
        NoWarehouseError
            If there is nothing to read.
        WarehouseError
            If it cannot be opened, read or written.
        RuntimeError
            If this thread would wait for itself.
        """


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end, roll back on any error."""
    import duckdb

    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A commit that failed has undone itself; what happened first is the error to show.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Read one state, whoever writes meanwhile."""
    import duckdb

    connection.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")


def set_up(connection: duckdb.DuckDBPyConnection, temporary: Path, limits: Limits) -> None:
    """Bound memory and threads, keep all sessions in UTC, and never fetch an extension from a network."""
    settings: dict[str, str | int] = {
        "TimeZone": "UTC",
        "memory_limit": limits.memory_limit,
        "temp_directory": str(temporary),
        "autoinstall_known_extensions": "false",
    }
    if limits.threads is not None:
        settings["threads"] = limits.threads
    for name, value in settings.items():
        connection.execute(f"SET GLOBAL {name} = '{value}'")


def stamp(connection: duckdb.DuckDBPyConnection, place: str, *, write: bool) -> None:
    """Refuse a warehouse of a newer layout; stamp one that has no stamp yet."""
    import duckdb

    # Not from duckdb_tables() or duckdb_columns(): they look at every table and column there is.
    try:
        [(stored,)] = connection.execute("SELECT max(version) FROM meta.schema_version").fetchall()
    except duckdb.CatalogException:
        stored = None
    if stored is not None:
        if stored > SCHEMA_VERSION:
            raise WarehouseError(
                f"{place}: written by a newer Engine (layout {stored}, this one knows {SCHEMA_VERSION}); "
                "update Engine, or use another address"
            )
    elif write:
        connection.execute("CREATE SCHEMA IF NOT EXISTS meta")
        connection.execute(
            "CREATE TABLE meta.schema_version AS SELECT ?::BIGINT AS version", [SCHEMA_VERSION]
        )


def is_about_space(error: duckdb.Error) -> bool:
    """Tell whether a disk or a quota is full."""
    return any(sign in str(error) for sign in _NO_SPACE)
