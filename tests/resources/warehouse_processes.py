"""Real processes that work on a warehouse, forked from one that has the imports behind it.

Run as a script it reads one JSON object a line, ``{"role": ..., "report": path, ...}``, forks a process that
plays the role and answers with its pid. What it has to say it appends to the report, as JSON lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import filelock
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset

from resources.table import Column, Table
from resources.warehouse import Warehouse

ROWS = 60_000
NUMBERS = Table(
    schema="raw",
    name="numbers",
    description="All rows carry the number of the write they belong to.",
    columns=(
        Column("part", "VARCHAR", "One of four parts."),
        Column("row", "BIGINT", "Number of the row."),
        Column("write", "BIGINT", "Number of the write."),
        Column("value", "DOUBLE", "Row times write."),
    ),
    key=("part", "row"),
)
LOG = Table(
    "raw",
    "log",
    "Who wrote what.",
    (Column("who", "BIGINT", "Process."), Column("turn", "BIGINT", "Turn.")),
    ("who", "turn"),
)

Say = Callable[..., None]
LOADED_BEFORE_THE_FORK = (
    filelock,
    pd,
    pyarrow.dataset,
)  # or each process would load them


def state(write: int) -> pl.DataFrame:
    """Return the whole table as write number ``write`` leaves it."""
    row = np.arange(ROWS)
    columns = {
        "part": np.array(["a", "b", "c", "d"])[row % 4],
        "row": row,
        "write": write,
        "value": row * write / 7,
    }
    return pl.DataFrame(columns, schema=NUMBERS.polars_schema)


def write_on(say: Say, address: str, start: int) -> None:
    """Write state after state, by each kind of write in turn, and say each one that is committed."""
    warehouse, number = Warehouse(address=address), start
    while True:
        frame = state(number)
        kind = number % 3
        if kind == 0:
            warehouse.replace(NUMBERS, frame)
        elif kind == 1:
            warehouse.replace_range(NUMBERS, frame, "row", 0, ROWS)
        else:
            warehouse.replace_keys(NUMBERS, frame, ["part"])
        say(number)
        number += 1


def take_turns(say: Say, address: str, who: int, turns: int) -> None:
    """Write, append and read by turns; say what was read."""
    warehouse = Warehouse(address=address)
    for turn in range(turns):
        warehouse.append_new(LOG, pl.DataFrame({"who": [who], "turn": [turn]}))
        mine = warehouse.frame("SELECT count(*) AS n FROM raw.log WHERE who = ?", [who])["n"][0]
        say(mine)


def read_on(say: Say, address: str, seconds: float) -> None:
    """Say the least and the greatest write of each reading."""
    warehouse, end = Warehouse(address=address), time.monotonic() + seconds
    while time.monotonic() < end:
        say(*warehouse.frame("SELECT min(write), max(write), count(*) FROM raw.numbers").row(0))


def write_own_table(say: Say, address: str, who: int) -> None:
    """Make a table of one's own, note where it came from, and say how many rows it has."""
    warehouse = Warehouse(address=address, threads=1)
    table = Table("raw", f"own{who}", "-", LOG.columns, LOG.key)
    rows = warehouse.replace(table, pl.DataFrame({"who": [who] * 20, "turn": range(20)}))
    warehouse.record(asset=table.full_name, code_version="", inputs={}, settings_hash="", run_id="")
    say(rows)


def write_own_range(say: Say, address: str, who: int) -> None:
    """Replace twenty rows of a table next to those that others replace."""
    rows = pl.DataFrame({"who": [who] * 20, "turn": range(20 * who, 20 * who + 20)})
    say(Warehouse(address=address, threads=1).replace_range(LOG, rows, "turn", 20 * who, 20 * who + 20))


def append_the_same(say: Say, address: str) -> None:
    """Append a row that all others append as well; say how many were new."""
    say(Warehouse(address=address, threads=1).append_new(LOG, pl.DataFrame({"who": [0], "turn": [0]})))


def spill(say: Say, address: str, seconds: float) -> None:
    """Read with so little memory that the disk is needed; say where it is, and that nothing is mixed up."""
    query = "SELECT bool_and(z = 'x' || i), count(*) FROM (SELECT i, 'x' || i AS z FROM range($n) AS t(i) "
    query += "ORDER BY hash(i + $salt))"
    warehouse, end = Warehouse(address=address, memory_limit="64MB", threads=1), time.monotonic() + seconds
    while time.monotonic() < end:
        with warehouse.read() as connection:
            answer = connection.execute(query, {"n": 2_000_000, "salt": os.getpid()}).fetchall()
            say(connection.execute("SELECT current_setting('temp_directory')").fetchall()[0][0], *answer[0])


def write_under_quota(say: Say, address: str, quota: int, write: int) -> None:
    """Write with a limit on the size of a file; say the error, or that there was none."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (quota, quota))
    try:
        Warehouse(address=address).replace(NUMBERS, state(write))
    except Exception as error:
        say(type(error).__name__, str(error))
    else:
        say("done", "")


def hold(say: Say, address: str, seconds: float) -> None:
    """Open the file as any other program does, without the lock."""
    connection = duckdb.connect(address)
    say("held")
    time.sleep(seconds)
    connection.close()


ROLES = {
    role.__name__: role
    for role in (
        write_on,
        take_turns,
        read_on,
        write_own_table,
        write_own_range,
        append_the_same,
        spill,
        write_under_quota,
        hold,
    )
}


@dataclass(frozen=True)
class Worker:
    """A process that plays a role."""

    pid: int
    report: Path

    def said(self) -> list[Any]:
        """Everything it has said so far."""
        lines = self.report.read_text().splitlines() if self.report.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for_words(self, count: int, timeout: float = 60.0) -> None:
        """Wait until it has spoken so many times."""
        self._wait(lambda: len(self.said()) >= count, timeout)

    def join(self, timeout: float = 120.0) -> list[Any]:
        """Wait until it has ended; return what it said."""
        self._wait(lambda: not self.alive(), timeout)
        return self.said()

    def alive(self) -> bool:
        """Tell whether it still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """Kill it without a chance to tidy up; one that has already ended is as dead."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _wait(self, done: Callable[[], bool], timeout: float) -> None:
        end = time.monotonic() + timeout
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(
                    f"process {self.pid} did not get there in {timeout} s; it said {self.said()}"
                )
            time.sleep(0.01)


class Nursery:
    """Starts workers."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder, self._started = process, folder, 0

    def start(self, role: Callable[..., None], **arguments: Any) -> Worker:
        """Fork a process that plays ``role``."""
        report = self._folder / f"report-{self._started}.jsonl"
        self._started += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            json.dumps({"role": role.__name__, "report": str(report), **arguments}),
            file=self._process.stdin,
            flush=True,
        )
        return Worker(int(self._process.stdout.readline()), report)


@contextlib.contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """Run this file as the process that workers are forked from."""
    command = [sys.executable, str(Path(__file__).resolve())]
    places = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(reversed(places)),
        "POLARS_MAX_THREADS": "1",
        "TMPDIR": str(folder),
    }
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Nursery(process, folder)
        finally:
            process.terminate()


def _serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then buries the dead at once
    for line in sys.stdin:
        task = json.loads(line)
        role, report = ROLES[task.pop("role")], task.pop("report")
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _play(role, report, task)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _play(role: Callable[..., None], report: str, task: dict[str, Any]) -> NoReturn:
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(*words: object) -> None:
        os.write(file, json.dumps(words).encode() + b"\n")

    try:
        role(say, **task)
    except BaseException as error:
        say("error", type(error).__name__, str(error))
    finally:
        os._exit(0)


if __name__ == "__main__":
    _serve()
