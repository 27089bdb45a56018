"""Opening the warehouse's DuckDB file: one lock for all processes, and errors that say what to do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "SCHEMA_VERSION",
    "WarehouseError",
    "connected",
    "explained",
    "held",
    "set_up",
    "stamped",
    "transaction",
]

SCHEMA_VERSION = 1
"""Layout of the tables in schema ``meta``; a warehouse stamped with a higher number is refused."""

_HELD_ELSEWHERE = ("Could not set lock on file", "different configuration than existing connections")
_NO_SPACE = ("No space left on device", "File too large", "Disk quota exceeded", "database or disk is full")
_held = threading.local()


class WarehouseError(EngineError):
    """The warehouse cannot be opened, read or written; the text names the file and what to do."""


@contextmanager
def held(path: Path, *, read_only: bool, timeout_s: float) -> Iterator[None]:
    """Hold the cross-process lock of the warehouse: many readers or one writer.

    DuckDB itself lets one process write or several read, and fails at once otherwise; this lock waits
    instead. A process that dies lets go of it.

    Raises
    ------
    WarehouseError
        If another step has not let go within ``timeout_s``.
    RuntimeError
        If this thread already has a connection open that the new one would wait for forever.
    """
    import sqlite3

    from filelock import ReadWriteLock, Timeout

    mine: list[tuple[Path, bool]] = _held.__dict__.setdefault("modes", [])
    if any(open_path == path and not (open_read_only and read_only) for open_path, open_read_only in mine):
        raise RuntimeError(
            f"{path}: this thread already has a connection open and would wait for itself; close it first"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # One instance per opening: threads of one process then wait for each other as processes do.
        lock = ReadWriteLock(f"{path}.lock.db", timeout=timeout_s, is_singleton=False)
        (lock.acquire_read if read_only else lock.acquire_write)()
    except Timeout as error:
        raise WarehouseError(
            f"{path}: another step has held the warehouse for more than {timeout_s:g} s (lock_timeout_s); "
            "see which run is writing, or raise the limit"
        ) from error
    except sqlite3.Error as error:
        raise WarehouseError(f"{path}.lock.db: the lock cannot be taken ({error})") from error
    mine.append((path, read_only))
    try:
        yield
    finally:
        mine.remove((path, read_only))
        lock.release()
        lock.close()


@contextmanager
def connected(path: Path, *, read_only: bool, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the file, wait for a foreign program that holds it, and always close.

    Raises
    ------
    WarehouseError
        If there is nothing to read, the file is no DuckDB database or is damaged, or a program that
        does not take the lock has held it for ``timeout_s``.
    """
    import duckdb

    if read_only and not path.exists():
        raise WarehouseError(f"{path}: there is no warehouse yet; materialise the raw assets first")
    deadline, pause = time.monotonic() + timeout_s, 0.05
    while True:
        try:
            connection = duckdb.connect(path, read_only=read_only)
            break
        except duckdb.Error as error:
            if not any(text in str(error) for text in _HELD_ELSEWHERE):
                raise _explanation(error, path) from error
            if time.monotonic() + pause > deadline:
                raise WarehouseError(_foreign_holder(path, timeout_s, str(error))) from error
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
    try:
        yield connection
    finally:
        connection.close()


def _foreign_holder(path: Path, timeout_s: float, text: str) -> str:
    found = re.search(r"held in (.+?\(PID \d+\))", text)
    who = found[1] if found else "this very process, through a connection of its own"
    return (
        f"{path}: held for more than {timeout_s:g} s (lock_timeout_s) by {who}, which does not take the "
        "warehouse's lock. Close that program, or let it read a copy of the file"
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of the file itself, not of a statement, into one that names the file and what to do."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if isinstance(error, duckdb.FatalException) or str(path) in str(error) or _is_about_space(error):
            raise _explanation(error, path) from error
        raise


def _is_about_space(error: duckdb.Error) -> bool:
    return any(sign in str(error) for sign in _NO_SPACE)


def _explanation(error: duckdb.Error, path: Path) -> WarehouseError:
    if _is_about_space(error):
        return WarehouseError(
            f"{path}: no space left to write. Nothing was changed; free space on that disk "
            f"(about as much as the file holds now) and run again ({error})"
        )
    return WarehouseError(
        f"{path}: cannot be read as a DuckDB database. Restore it from a copy, or move it away and "
        f"materialise again; a file of a newer DuckDB needs that version ({error})"
    )


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


def set_up(
    connection: duckdb.DuckDBPyConnection, temporary: Path, memory_limit: str, threads: int | None
) -> None:
    """Bound memory and threads, keep the session in UTC, and never fetch an extension from a network."""
    settings: dict[str, str | int] = {
        "TimeZone": "UTC",
        "memory_limit": memory_limit,
        "temp_directory": str(temporary),
        "autoinstall_known_extensions": "false",
    }
    if threads is not None:
        settings["threads"] = threads
    for name, value in settings.items():
        connection.execute(f"SET {name} = '{value}'")


def stamped(connection: duckdb.DuckDBPyConnection, where: str, *, write: bool) -> None:
    """Refuse a warehouse of a newer layout; stamp one that has no stamp yet."""
    exists = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'meta' AND table_name = 'schema_version' "
        "AND database_name = current_database()"
    ).fetchall()
    if exists:
        [(stored,)] = connection.execute("SELECT max(version) FROM meta.schema_version").fetchall()
        if stored > SCHEMA_VERSION:
            raise WarehouseError(
                f"{where}: written by a newer Engine (layout {stored}, this one knows {SCHEMA_VERSION}); "
                "update Engine, or use another address"
            )
    elif write:
        connection.execute("CREATE SCHEMA IF NOT EXISTS meta")
        connection.execute(
            "CREATE TABLE meta.schema_version AS SELECT ?::BIGINT AS version", [SCHEMA_VERSION]
        )
