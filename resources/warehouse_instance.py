"""DuckDB itself, kept in the process while the files that it reads and writes come and go.

To start an instance takes ten times longer than to attach a file to it. A file is attached only while it is
open, so no other process waits for one that merely goes on.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.warehouse_session import Limits, set_up

if TYPE_CHECKING:
    import duckdb

__all__ = ["attached"]

_KEPT = 2
_CATALOGUE = "warehouse"
# How a file is laid out once it is written to. DuckDB's own default can be read by releases before 1.2; it
# takes a fifth more space and twice as long to attach.
_LAYOUT = "v1.2.0"


@dataclass(eq=False)
class _Instance:
    """An instance with its bounds, and how many connections to its file are open."""

    connection: duckdb.DuckDBPyConnection
    users: int = 0


_Key = tuple[Path, Limits]
_lock = threading.Lock()
_instances: OrderedDict[_Key, _Instance] = OrderedDict()
_of_the_parent: list[OrderedDict[_Key, _Instance]] = []


@contextmanager
def attached(
    path: Path, temporary: Path, limits: Limits, *, read_only: bool
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect to a file for as long as the ``with`` lasts; whoever has it open in this process shares it.

    Parameters
    ----------
    path : Path
        The file.
    temporary : Path
        Folder to spill to, always the same one for a file.
    limits : Limits
        Bounds of the instance.
    read_only : bool
        Whether nothing will be written. The caller sees to it that a writer is alone.

    Raises
    ------
    duckdb.Error
        If the file cannot be opened.
    """
    key = path.absolute(), limits
    with _lock:
        instance = _started(key, temporary)
        cursor = instance.connection.cursor()
        if not instance.users:
            options = "READ_ONLY" if read_only else f"STORAGE_VERSION '{_LAYOUT}'"
            file = str(path).replace("'", "''")
            cursor.execute(f"ATTACH '{file}' AS {_CATALOGUE} (TYPE duckdb, {options})")
        instance.users += 1
    sound = False
    try:
        cursor.execute(f"USE {_CATALOGUE}")
        yield cursor
        sound = True
    finally:
        cursor.close()
        with _lock:
            _leave(key, instance, sound=sound)


def _started(key: _Key, temporary: Path) -> _Instance:
    """Give the instance of a file, and stop those that nobody has used for longest."""
    import duckdb

    instance = _instances.get(key)
    if instance is None:
        instance = _Instance(duckdb.connect())
        set_up(instance.connection, temporary, key[1])
        _instances[key] = instance
    _instances.move_to_end(key)
    idle = [other for other, started in _instances.items() if not started.users and other != key]
    for other in idle[: max(0, len(_instances) - _KEPT)]:
        _instances.pop(other).connection.close()
    return instance


def _leave(key: _Key, instance: _Instance, *, sound: bool) -> None:
    """Let go of the file with its last user; after an error the instance, which may be broken, goes too."""
    import duckdb

    instance.users -= 1
    if not sound and _instances.get(key) is instance:
        del _instances[key]
    if instance.users:
        return
    if _instances.get(key) is instance:
        try:
            instance.connection.execute(f"DETACH {_CATALOGUE}")
        except duckdb.Error:
            del _instances[key]
            instance.connection.close()
            raise
    else:
        instance.connection.close()


@atexit.register
def _stop() -> None:
    """Stop what nobody uses, so that folders it spilled to are removed."""
    import duckdb

    with _lock:
        for key in [key for key, instance in _instances.items() if not instance.users]:
            with suppress(duckdb.Error):
                _instances.pop(key).connection.close()


def _forget() -> None:
    """Leave alone, in a forked process, what has its threads in the process that started it."""
    global _lock, _instances
    _of_the_parent.append(_instances)
    _lock, _instances = threading.Lock(), OrderedDict()


os.register_at_fork(after_in_child=_forget)
