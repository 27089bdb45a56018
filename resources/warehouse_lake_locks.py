"""Locks of PostgreSQL that let one process at a time write a table."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from resources.warehouse_session import WarehouseError

if TYPE_CHECKING:
    import duckdb

__all__ = ["advisory_locks"]

_ANY_TABLE = "any table"
_COMMIT = "commit"
_TIMED_OUT = "lock timeout"
_held = threading.local()


@contextmanager
def advisory_locks(
    connection: duckdb.DuckDBPyConnection,
    database: str,
    tables: Collection[str] | None,
    *,
    timeout_s: float,
    place: str,
) -> Iterator[Callable[[], None]]:
    """Hold the locks of ``tables``, or of all tables if there are none named.

    PostgreSQL takes them back from a process that dies. What is yielded is to be called last before a
    commit: it makes sure that the locks are still held, and that commits follow each other.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A connection that has ``database`` attached; its own transaction is left alone.
    database : str
        Name under which the PostgreSQL database is attached.
    tables : collection of str, optional
        Full names.
    timeout_s : float
        Longest wait.
    place : str
        The warehouse, for messages.

    Raises
    ------
    WarehouseError
        If another writer has not let go in time, or the locks were lost.
    RuntimeError
        If this thread already writes to the warehouse.
    """
    import duckdb

    mine: set[str] = _held.__dict__.setdefault("places", set())
    if place in mine:
        raise RuntimeError(f"{place}: this thread already writes and would wait for itself; end that first")
    session = connection.cursor()

    def ask(call: str) -> None:
        # The text is quoted once for DuckDB; keys are numbers, and nothing else comes from outside.
        session.execute(f"FROM postgres_query('{database}', 'SELECT {call}::text')").fetchall()

    def take(name: str, *, shared: bool = False) -> None:
        ask(f"pg_advisory_xact_lock{'_shared' if shared else ''}({_key(name)})")

    def before_commit() -> None:
        try:
            take(_COMMIT)
        except duckdb.Error as error:
            if _TIMED_OUT in str(error):
                raise
            raise WarehouseError(
                f"{place}: the connection that held the lock was lost. Nothing was changed; run again "
                f"({error})"
            ) from error

    mine.add(place)
    try:
        # A transaction of its own: its locks are held until it ends, whatever the writer's does.
        session.execute("BEGIN")
        ask(f"set_config(''lock_timeout'', ''{max(1, round(1000 * timeout_s))}'', true)")
        take(_ANY_TABLE, shared=tables is not None)
        # In one order, or two writers of two tables would wait for each other.
        for name in sorted({table.lower() for table in tables or ()}):
            take(name)
        yield before_commit
    except duckdb.Error as error:
        if _TIMED_OUT not in str(error):
            raise
        raise WarehouseError(
            f"{place}: another step has held {'the warehouse' if tables is None else ', '.join(tables)} for "
            f"more than {timeout_s:g} s (lock_timeout_s); see which run is writing, or raise the limit"
        ) from error
    finally:
        mine.remove(place)
        # If PostgreSQL is gone, so are its locks; without the attempt DuckDB ends the process.
        with suppress(duckdb.Error):
            session.execute("ROLLBACK")
        session.close()


def _key(name: str) -> int:
    digest = hashlib.blake2b(f"engine warehouse: {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
