"""The statements that put a frame into a table. Each runs inside the caller's transaction."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import DataError

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from resources.table import Table

__all__ = [
    "append_new",
    "columns",
    "fingerprint",
    "replace",
    "replace_keys",
    "replace_range",
    "sql_name",
    "tables",
]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*")


def _parts(full_name: str) -> tuple[str, str]:
    if not _NAME.fullmatch(full_name):
        raise ValueError(f"{full_name!r} is not the name of a table; it has the form 'schema.table'")
    schema, name = full_name.split(".")
    return schema, name


def sql_name(full_name: str) -> str:
    """Quote ``schema.table`` for SQL."""
    schema, name = _parts(full_name)
    return f'"{schema}"."{name}"'


def columns(con: duckdb.DuckDBPyConnection, full_name: str) -> dict[str, tuple[str, bool]]:
    """Columns of a stored table: name -> (type, nullable). Empty if there is no such table."""
    import duckdb

    try:
        # Not from duckdb_columns(): it looks at every column of every table.
        rows = con.execute(
            'SELECT name, type, NOT "notnull" FROM pragma_table_info(?) ORDER BY cid', [sql_name(full_name)]
        ).fetchall()
    except duckdb.CatalogException:
        return {}
    return {column: (str(kind), bool(nullable)) for column, kind, nullable in rows}


def tables(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all stored tables, sorted."""
    # Not from duckdb_tables(): on DuckLake it reads the statistics of every table.
    rows = con.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_columns() "
        "WHERE database_name = current_database() "
        "EXCEPT SELECT schema_name || '.' || view_name FROM duckdb_views() "
        "WHERE database_name = current_database() ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def fingerprint(con: duckdb.DuckDBPyConnection, full_name: str) -> str:
    """Digest of a table's columns and rows, whatever the order they are stored in."""
    stored = columns(con, full_name)
    if not stored:
        raise ValueError(f"{full_name} is not in the warehouse; materialise it first")
    names = sorted(stored)
    row = ", ".join(f'"{name}"' for name in names)
    # A sum, unlike an exclusive or, does not lose a row that occurs twice.
    [counted] = con.execute(
        f"SELECT count(*), coalesce(sum(hash({row})::HUGEINT), 0) FROM {sql_name(full_name)}"  # noqa: S608
    ).fetchall()
    text = repr(([(name, stored[name][0]) for name in names], counted))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _prepare(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Create the table, or hold the stored columns against the declaration."""
    con.execute(f'CREATE SCHEMA IF NOT EXISTS "{table.schema}"')
    stored = columns(con, table.full_name)
    if not stored:
        con.execute(table.ddl())
        return
    remedy = "; materialise the whole table again, or export it and drop it first"
    for name in stored.keys() - set(table.column_names):
        raise DataError("is stored but no longer declared" + remedy, source=table.full_name, column=name)
    for column in table.columns:
        if column.name not in stored:
            if not column.nullable:
                reason = (
                    "is declared without missing values, but rows are stored that do not have it" + remedy
                )
                raise DataError(reason, source=table.full_name, column=column.name)
            con.execute(f'ALTER TABLE {sql_name(table.full_name)} ADD COLUMN "{column.name}" {column.type}')
        elif stored[column.name] != (column.type, column.nullable):
            (was, was_nullable) = stored[column.name]
            reason = (
                f"is stored as {was}{'' if was_nullable else ' NOT NULL'}, declared is "
                f"{column.type}{'' if column.nullable else ' NOT NULL'}"
            )
            raise DataError(reason + remedy, source=table.full_name, column=column.name)


def _insert(con: duckdb.DuckDBPyConnection, table: Table, condition: str = "") -> int:
    [(rows,)] = con.execute(
        f"INSERT INTO {sql_name(table.full_name)} BY NAME SELECT * FROM frame {condition}"  # noqa: S608
    ).fetchall()
    return int(rows)


def _equal(names: Sequence[str]) -> str:
    return " AND ".join(f'stored."{name}" IS NOT DISTINCT FROM frame."{name}"' for name in names)


def _refuse_repeated_keys(con: duckdb.DuckDBPyConnection, table: Table, replaced: Sequence[str]) -> None:
    """Refuse a frame that repeats the key of a row that stays; it cannot if the key holds ``replaced``."""
    if not table.key or set(replaced) <= set(table.key):
        return
    key = ", ".join(f'"{name}"' for name in table.key)
    stored = f"{sql_name(table.full_name)} AS stored"
    repeated = con.execute(
        f"SELECT {key} FROM frame SEMI JOIN {stored} ON {_equal(table.key)} LIMIT 1"  # noqa: S608
    ).fetchall()
    if repeated:
        reason = f"key {table.key} = {repeated[0]} is already stored outside of what is being replaced"
        raise DataError(reason, source=table.full_name)


def replace(con: duckdb.DuckDBPyConnection, table: Table, frame: pl.DataFrame) -> int:
    """Make ``frame`` the whole table, in its present declaration."""
    con.execute(f'CREATE SCHEMA IF NOT EXISTS "{table.schema}"')
    con.execute(f"DROP TABLE IF EXISTS {sql_name(table.full_name)}")
    con.execute(table.ddl())
    con.register("frame", frame.to_arrow())
    return _insert(con, table)


def replace_range(
    con: duckdb.DuckDBPyConnection, table: Table, frame: pl.DataFrame, column: str, start: object, end: object
) -> int:
    """Replace the rows with ``start <= column < end``."""
    _prepare(con, table)
    con.register("frame", frame.to_arrow())
    con.execute(
        f'DELETE FROM {sql_name(table.full_name)} WHERE "{column}" >= ? AND "{column}" < ?',  # noqa: S608
        [start, end],
    )
    _refuse_repeated_keys(con, table, [column])
    return _insert(con, table)


def replace_keys(
    con: duckdb.DuckDBPyConnection, table: Table, frame: pl.DataFrame, names: Sequence[str]
) -> int:
    """Replace the rows whose values of ``names`` occur in the frame."""
    _prepare(con, table)
    con.register("frame", frame.to_arrow())
    con.execute(
        f"DELETE FROM {sql_name(table.full_name)} AS stored "  # noqa: S608
        f"WHERE EXISTS (SELECT 1 FROM frame WHERE {_equal(names)})"
    )
    _refuse_repeated_keys(con, table, names)
    return _insert(con, table)


def append_new(con: duckdb.DuckDBPyConnection, table: Table, frame: pl.DataFrame) -> int:
    """Insert the rows whose key is not stored yet; stored rows stay as they are."""
    _prepare(con, table)
    con.register("frame", frame.to_arrow())
    condition = f"ANTI JOIN {sql_name(table.full_name)} AS stored ON {_equal(table.key)}"
    return _insert(con, table, condition)
