"""What each stored table was made from: code, inputs, settings and run, beside the rows themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resources.table import Column, Table
from resources.warehouse_writes import columns, fingerprint

if TYPE_CHECKING:
    import duckdb

__all__ = ["MATERIALIZATIONS", "is_current", "record"]

MATERIALIZATIONS = Table(
    schema="meta",
    name="materializations",
    description="One row for each time that a table was made: from what, by which code, in which run.",
    columns=(
        Column("asset", "VARCHAR", "Table that was made, schema.name."),
        Column("code_version", "VARCHAR", "Version of the code that made it."),
        Column("inputs", "VARCHAR", "JSON object: each table that was read, with its content version."),
        Column("settings_hash", "VARCHAR", "Digest of the settings that the code was given."),
        Column("version", "VARCHAR", "Content version of the table after the write."),
        Column("written_at", "TIMESTAMP", "When, UTC."),
        Column("run_id", "VARCHAR", "Run that made it."),
    ),
)


def _text(inputs: Mapping[str, str]) -> str:
    return json.dumps(dict(inputs), sort_keys=True)


def record(
    con: duckdb.DuckDBPyConnection,
    asset: str,
    code_version: str,
    inputs: Mapping[str, str],
    settings_hash: str,
    run_id: str,
) -> str:
    """Note how the table ``asset`` came about, and return its content version."""
    con.execute("CREATE SCHEMA IF NOT EXISTS meta")
    con.execute(MATERIALIZATIONS.ddl())
    version = fingerprint(con, asset)
    now = datetime.now(UTC).replace(tzinfo=None)
    con.execute(
        f"INSERT INTO {MATERIALIZATIONS.full_name} VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [asset, code_version, _text(inputs), settings_hash, version, now, run_id],
    )
    return version


def is_current(
    con: duckdb.DuckDBPyConnection,
    asset: str,
    code_version: str,
    inputs: Mapping[str, str],
    settings_hash: str,
) -> bool:
    """Tell whether the stored table is what this code would make of these inputs and settings.

    It is if its last record says so and its rows are still the recorded ones.
    """
    if not columns(con, MATERIALIZATIONS.full_name) or not columns(con, asset):
        return False
    last = con.execute(
        f"SELECT code_version, inputs, settings_hash, version FROM {MATERIALIZATIONS.full_name} "  # noqa: S608
        "WHERE asset = ? ORDER BY written_at DESC LIMIT 1",
        [asset],
    ).fetchall()
    return last == [(code_version, _text(inputs), settings_hash, fingerprint(con, asset))]
