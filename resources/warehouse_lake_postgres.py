"""A warehouse on DuckLake for any number of machines, with its catalogue in PostgreSQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias

from resources.warehouse_lake import NAME, Lake, quoted
from resources.warehouse_lake_locks import advisory_locks
from resources.warehouse_session import Limits, NoWarehouseError

if TYPE_CHECKING:
    import duckdb

    from resources.warehouse_lake import Writer

    _Session: TypeAlias = tuple[duckdb.DuckDBPyConnection, ExitStack]

__all__ = ["PostgresLake"]

_METADATA = f"__ducklake_metadata_{NAME}"
_kept = threading.local()


class PostgresLake(Lake):
    """Readers never wait; writers wait for writers of the same table."""

    kind = "postgres"

    @contextmanager
    def _to_read(self, limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._session(limits, read_only=True) as connection:
            yield connection

    @contextmanager
    def _to_write(self, limits: Limits, tables: Collection[str] | None) -> Iterator[Writer]:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._session(limits, read_only=False))
            except NoWarehouseError:
                self._create(limits)
                connection = stack.enter_context(self._session(limits, read_only=False))
            if tables is not None and not _has_schemas_of(connection, tables):
                # Two transactions that create the same schema are in conflict.
                tables = None
            yield connection, stack.enter_context(self._locks(connection, _METADATA, tables, limits))

    def _locks(
        self,
        connection: duckdb.DuckDBPyConnection,
        database: str,
        tables: Collection[str] | None,
        limits: Limits,
    ) -> AbstractContextManager[Callable[[], None]]:
        timeout_s = limits.lock_timeout_s
        return advisory_locks(connection, database, tables, timeout_s=timeout_s, place=self.place)

    def _create(self, limits: Limits) -> None:
        with self._connected(limits) as connection:
            connection.execute(f"ATTACH {quoted(self.catalogue)} AS engine_locks (TYPE postgres)")
            with self._locks(connection, "engine_locks", None, limits):
                self._attach(connection, read_only=False, create=True)

    @contextmanager
    def _session(self, limits: Limits, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect through what this thread keeps attached: to attach takes some seventy questions."""
        mine: dict[object, _Session] = _kept.__dict__.setdefault("sessions", {})
        key = (os.getpid(), self, limits, read_only)
        if key not in mine:
            with ExitStack() as stack:
                attached = stack.enter_context(self._connected(limits))
                self._attach(attached, read_only=read_only, create=False)
                mine[key] = attached, stack.pop_all()
        session = mine[key]  # and as long as this is referred to it is not closed
        try:
            with session[0].cursor() as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute(f"USE {NAME}")
                yield connection
        except BaseException:
            # Whatever it was, the next one starts afresh.
            mine.pop(key, None)
            raise


def _has_schemas_of(connection: duckdb.DuckDBPyConnection, tables: Collection[str]) -> bool:
    rows = connection.execute(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()"
    ).fetchall()
    return {"meta", *(table.split(".")[0] for table in tables)} <= {name for (name,) in rows}
