"""A warehouse on DuckLake for one machine, with its catalogue in a SQLite file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from resources.warehouse_file import held
from resources.warehouse_lake import Lake
from resources.warehouse_session import Limits, NoWarehouseError

if TYPE_CHECKING:
    import duckdb

    from resources.warehouse_lake import Writer

__all__ = ["SqliteLake"]


class SqliteLake(Lake):
    """Many readers, or one writer of any table."""

    kind = "sqlite"

    @contextmanager
    def _to_read(self, limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
        import sqlite3

        path = Path(self.catalogue)
        if not path.exists():
            raise NoWarehouseError(self.place)
        with (
            held(path, read_only=True, timeout_s=limits.lock_timeout_s),
            self._connected(limits) as connection,
        ):
            # A killed writer may have left work for whoever opens the file next and may write to it.
            with closing(sqlite3.connect(path)) as catalogue:
                catalogue.execute("SELECT count(*) FROM sqlite_master").fetchall()
            self._attach(connection, read_only=True, create=False)
            yield connection

    @contextmanager
    def _to_write(self, limits: Limits, tables: Collection[str] | None) -> Iterator[Writer]:
        path, timeout_s = Path(self.catalogue), limits.lock_timeout_s
        with held(path, read_only=False, timeout_s=timeout_s), self._connected(limits) as connection:
            self._attach(connection, read_only=False, create=True)
            yield connection, lambda: None
