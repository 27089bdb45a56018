"""The warehouse: the tables that every step reads and writes, safely from several processes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
from pydantic import field_validator

from engine.errors import DataError
from resources import provenance, warehouse_writes
from resources.warehouse_address import store_at
from resources.warehouse_file import DatabaseFile
from resources.warehouse_session import SCHEMA_VERSION, Limits, NoWarehouseError, Store, WarehouseError

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from resources.table import Table

__all__ = ["SCHEMA_VERSION", "Warehouse", "WarehouseError"]


Bound = TypeVar("Bound", datetime, int)


class Warehouse(dg.ConfigurableResource):
    """Tables in one DuckDB file or on DuckLake. Open late, close early, and never compute inside.

    Any number of processes may use the same address, and who comes at the wrong moment waits: in a file
    readers share it and a writer has it alone; on DuckLake in PostgreSQL readers never wait, and writers
    only for writers of the same table. A write is one transaction: a process that is killed leaves the old
    rows or the new ones. Times are ``TIMESTAMP`` without zone, in UTC.

    Parameters
    ----------
    address : str
        Path of the DuckDB file, or where DuckLake keeps its catalogue and its Parquet files:
        ``ducklake:postgres:<connection string>;data=<shared folder>``, for one machine also
        ``ducklake:sqlite:<file>;data=<folder>``. All is created on the first write. A password is refused
        here; PostgreSQL's client takes it from ``PGPASSWORD`` or a password file.
    lock_timeout_s : float
        Longest wait for other steps and programs, in seconds.
    memory_limit : str
        Most memory that one connection uses before it spills to a folder: beside the file, or the system's
        folder for temporary files.
    threads : int, optional
        Threads of one connection; all cores by default.
    """

    address: str
    lock_timeout_s: float = 300.0
    memory_limit: str = "1GB"
    threads: int | None = None

    @field_validator("address")
    @classmethod
    def _shows_no_secret(cls, address: str) -> str:
        # Not when it is first used: by then it would be in Dagster's storage and UI.
        store_at(address)
        return address

    @property
    def path(self) -> Path:
        """The file behind the address."""
        store = self.store
        if not isinstance(store, DatabaseFile):
            raise ValueError(f"{store.place} is no file")
        return store.path

    @property
    def store(self) -> Store:
        """Where the address keeps the tables."""
        if not self.address or self.address == ":memory:":
            raise ValueError(
                f"address is {self.address!r}; it must be the path of a file that processes can share"
            )
        return store_at(self.address)

    @property
    def _limits(self) -> Limits:
        return Limits(self.lock_timeout_s, self.memory_limit, self.threads)

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open for reading. What is read inside one ``with`` belongs to one state of the warehouse.

        Raises
        ------
        WarehouseError
            If there is no warehouse yet, it is damaged, of a newer layout, or held by another program.
        """
        with self.store.opened(self._limits, read_only=True) as connection:
            yield connection

    @contextmanager
    def write(self, tables: Collection[str] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open for writing, as one transaction: committed at the end, rolled back on any error.

        Parameters
        ----------
        tables : collection of str, optional
            Full names of all tables that will be changed. On DuckLake in PostgreSQL others can then be
            written at the same time; without names this writer is the only one.

        Raises
        ------
        WarehouseError
            As `read`, and if the disk is full.
        """
        with self.store.opened(self._limits, read_only=False, tables=tables) as connection:
            yield connection

    def frame(self, sql: str, params: Sequence[object] | Mapping[str, object] | None = None) -> pl.DataFrame:
        """Answer a query with a Polars frame; ``params`` fill ``?`` or ``$name``."""
        import polars as pl

        with self.read() as connection:
            # A relation with parameters goes through a copy of its result that is read ten times slower.
            answer = connection.execute(sql, params).to_arrow_table()
        frame = pl.from_arrow(answer)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101  a table makes a frame
        return frame

    def exists(self, name: str) -> bool:
        """Tell whether the table ``schema.name`` is stored."""
        try:
            with self.read() as connection:
                return bool(warehouse_writes.columns(connection, name))
        except NoWarehouseError:
            return False

    def tables(self) -> list[str]:
        """Names of all stored tables, ``schema.name``, sorted."""
        try:
            with self.read() as connection:
                return warehouse_writes.tables(connection)
        except NoWarehouseError:
            return []

    def version(self, name: str) -> str:
        """Fingerprint of a table's content: equal columns and rows, in any order, have the same.

        Raises
        ------
        ValueError
            If the table is not stored.
        """
        return self.versions([name])[name]

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """Fingerprints of several tables in one state of the warehouse: the ``inputs`` of `record`."""
        with self.read() as connection:
            return {name: warehouse_writes.fingerprint(connection, name) for name in names}

    def replace(self, table: Table, frame: pl.DataFrame) -> int:
        """Make ``frame`` the whole table; return its number of rows.

        Raises
        ------
        DataError
            If the frame does not match the declaration (as in every write below); the column is named.
        """
        frame = table.check(frame)
        with self.write([table.full_name]) as connection:
            return warehouse_writes.replace(connection, table, frame)

    def replace_range(self, table: Table, frame: pl.DataFrame, column: str, start: Bound, end: Bound) -> int:
        """Replace the rows with ``start <= column < end`` by ``frame``; return the number of rows put in.

        Raises
        ------
        DataError
            If a row of the frame lies outside the range.
        """
        import polars as pl

        _known(table, [column])
        frame = table.check(frame)
        start, end = _utc(start), _utc(end)
        if not start < end:
            raise ValueError(f"{table.full_name}: start {start} must be before end {end}")
        inside = pl.col(column).is_between(start, end, closed="left").fill_null(value=False)
        outside = frame.select(~inside).to_series()
        if outside.any():
            row = int(outside.arg_max() or 0)
            reason = f"{frame[column][row]} lies outside of the range [{start}, {end}) that is being replaced"
            raise DataError(reason, source=table.full_name, row=row + 1, column=column)
        with self.write([table.full_name]) as connection:
            return warehouse_writes.replace_range(connection, table, frame, column, start, end)

    def replace_keys(self, table: Table, frame: pl.DataFrame, columns: Sequence[str]) -> int:
        """Replace the rows whose values of ``columns`` occur in ``frame``; return the number put in."""
        _known(table, columns)
        frame = table.check(frame)
        with self.write([table.full_name]) as connection:
            return warehouse_writes.replace_keys(connection, table, frame, columns)

    def append_new(self, table: Table, frame: pl.DataFrame) -> int:
        """Insert the rows whose key is not stored yet, keep all others; return the number put in."""
        if not table.key:
            raise ValueError(f"{table.full_name} declares no key, so no row of it can be told to be new")
        frame = table.check(frame)
        with self.write([table.full_name]) as connection:
            return warehouse_writes.append_new(connection, table, frame)

    def record(
        self, *, asset: str, code_version: str, inputs: Mapping[str, str], settings_hash: str, run_id: str
    ) -> str:
        """Note in ``meta.materializations`` how ``asset`` came about; return its content version.

        ``inputs`` are the versions that were read (`versions`), taken before reading.
        """
        with self.write([provenance.MATERIALIZATIONS.full_name]) as connection:
            return provenance.record(connection, asset, code_version, inputs, settings_hash, run_id)

    def is_current(
        self, asset: str, code_version: str, inputs: Mapping[str, str], settings_hash: str
    ) -> bool:
        """Tell whether ``asset`` as stored is what this code would make of these inputs and settings."""
        try:
            with self.read() as connection:
                return provenance.is_current(connection, asset, code_version, inputs, settings_hash)
        except NoWarehouseError:
            return False


def _utc(bound: Bound) -> Bound:
    if isinstance(bound, datetime) and bound.tzinfo:
        return bound.astimezone(UTC).replace(tzinfo=None)
    return bound


def _known(table: Table, columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in table.column_names]
    if unknown or not columns:
        raise ValueError(f"{table.full_name}: {list(columns)} must name columns of {table.column_names}")
