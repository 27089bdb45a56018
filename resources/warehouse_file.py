"""The warehouse in one DuckDB file: one lock for all processes, and errors that say what to do."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.warehouse_instance import attached
from resources.warehouse_session import (
    Limits,
    NoWarehouseError,
    WarehouseError,
    is_about_space,
    stamp,
    transaction,
)

if TYPE_CHECKING:
    import duckdb

__all__ = ["DatabaseFile", "held"]

_HELD_ELSEWHERE = ("Could not set lock on file", "Unique file handle conflict")
_THIS_PROGRAM = secrets.token_hex(4)
_held = threading.local()


@dataclass(frozen=True)
class DatabaseFile:
    """The tables in one DuckDB file: many readers, or one writer of any table."""

    path: Path

    @property
    def place(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def shell(self) -> str:
        """Command that opens it in DuckDB's own shell."""
        return f"duckdb {self.path}"

    @contextmanager
    def opened(
        self, limits: Limits, *, read_only: bool, tables: Collection[str] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect as `Store` says; a writer has the whole file, whichever ``tables`` it names."""
        path, timeout_s = self.path, limits.lock_timeout_s
        if read_only and not path.exists():
            raise NoWarehouseError(self.place)
        with held(path, read_only=read_only, timeout_s=timeout_s):
            temporary = _folder_to_spill_to(path, alone=not read_only)
            with _connected(path, temporary, limits, read_only=read_only) as connection, _explained(path):
                if read_only:
                    stamp(connection, self.place, write=False)
                    yield connection
                else:
                    with transaction(connection):
                        stamp(connection, self.place, write=True)
                        yield connection


def _folder_to_spill_to(path: Path, *, alone: bool) -> Path:
    """Name a folder that no other process uses: DuckDB gives the files in it the same names everywhere."""
    mine = path.with_name(f"{path.name}.{os.getpid()}-{_THIS_PROGRAM}.tmp")
    if alone:
        for left_by_the_killed in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
            if left_by_the_killed != mine:
                shutil.rmtree(left_by_the_killed, ignore_errors=True)
    return mine


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
def _connected(
    path: Path, temporary: Path, limits: Limits, *, read_only: bool
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the file, wait for a foreign program that holds it, and always close.

    Raises
    ------
    WarehouseError
        If the file is no DuckDB database or is damaged, or a program that does not take the lock has
        held it for ``limits.lock_timeout_s``.
    """
    import duckdb

    timeout_s = limits.lock_timeout_s
    deadline, pause = time.monotonic() + timeout_s, 0.05
    with ExitStack() as stack:
        while True:
            try:
                connection = stack.enter_context(attached(path, temporary, limits, read_only=read_only))
                break
            except duckdb.Error as error:
                if not any(text in str(error) for text in _HELD_ELSEWHERE):
                    raise _explanation(error, path) from error
                if time.monotonic() + pause > deadline:
                    raise WarehouseError(_foreign_holder(path, timeout_s, str(error))) from error
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
        yield connection


def _foreign_holder(path: Path, timeout_s: float, text: str) -> str:
    found = re.search(r"held in (.+?\(PID \d+\))", text)
    who = found[1] if found else "this very process, through a connection of its own"
    return (
        f"{path}: held for more than {timeout_s:g} s (lock_timeout_s) by {who}, which does not take the "
        "warehouse's lock. Close that program, or let it read a copy of the file"
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an error of the file itself, not of a statement, into one that names the file and what to do."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if isinstance(error, duckdb.FatalException) or str(path) in str(error) or is_about_space(error):
            raise _explanation(error, path) from error
        raise


def _explanation(error: duckdb.Error, path: Path) -> WarehouseError:
    if is_about_space(error):
        return WarehouseError(
            f"{path}: no space left to write. Nothing was changed; free space on that disk "
            f"(about as much as the file holds now) and run again ({error})"
        )
    return WarehouseError(
        f"{path}: cannot be read as a DuckDB database. Restore it from a copy, or move it away and "
        f"materialise again; a file of a newer DuckDB needs that version ({error})"
    )
