"""Speed of the warehouse: a year of hourly bars in, out and fingerprinted, and many processes at one file.

Run ``python -m benchmarks.warehouse``. The same processes are then started against DuckDB as it is, without
the lock of the warehouse: that shows how many of them fail.
"""

from __future__ import annotations

import multiprocessing as mp
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from resources.table import Column, Table
from resources.warehouse import Warehouse

ROWS, FEATURES, PROCESSES, TURNS = 100_000, 50, 8, 5
MATRIX = Table(
    "features",
    "matrix",
    "Like the feature matrix: one row per symbol and hour.",
    (
        Column("symbol", "VARCHAR", "Market."),
        Column("ts", "TIMESTAMP", "Open of the bar."),
        *(Column(f"feature_{i}", "DOUBLE", "Noise.") for i in range(FEATURES)),
    ),
    ("symbol", "ts"),
)


def matrix() -> pl.DataFrame:
    """Ten symbols side by side."""
    rng = np.random.default_rng(0)
    row = np.arange(ROWS)
    columns = {
        "symbol": [f"S{i}" for i in row % 10],
        "ts": pl.Series(row // 10 * 3_600_000_000).cast(pl.Datetime("us")),
    }
    return pl.DataFrame({**columns, **{f"feature_{i}": rng.normal(size=ROWS) for i in range(FEATURES)}})


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def through_the_warehouse(address: str, who: int) -> None:
    """Write and read by turns."""
    warehouse = Warehouse(address=address)
    log = Table(
        "raw", "log", "-", (Column("who", "BIGINT", "-"), Column("turn", "BIGINT", "-")), ("who", "turn")
    )
    for turn in range(TURNS):
        warehouse.append_new(log, pl.DataFrame({"who": [who], "turn": [turn]}))
        warehouse.frame("SELECT count(*) FROM raw.log")


def straight_at_the_file(address: str, who: int) -> None:
    """Write and read by turns, without the lock."""
    for turn in range(TURNS):
        with duckdb.connect(address) as connection:
            connection.execute("INSERT INTO raw.log VALUES (?, ?)", [who, turn])
            connection.execute("SELECT count(*) FROM raw.log")


def crowd(work: Callable[[str, int], None], address: str) -> tuple[int, float]:
    """Run all processes at once; return how many failed and how long it took."""
    context = mp.get_context("spawn")
    processes = [context.Process(target=work, args=(address, who)) for who in range(PROCESSES)]
    start = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes), time.perf_counter() - start


def main() -> None:
    """Print both tables."""
    frame = matrix()
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(address=str(Path(folder) / "engine.duckdb"))
        middle, end = frame["ts"][ROWS // 2], frame["ts"][-1]
        tail = frame.filter(pl.col("ts").is_between(middle, end, closed="left"))
        print(f"{ROWS:,} rows of {FEATURES} features, duckdb {duckdb.__version__}")
        for name, work in {
            "check against the declaration": lambda: MATRIX.check(frame),
            "replace": lambda: warehouse.replace(MATRIX, frame),
            "replace the later half": lambda: warehouse.replace_range(MATRIX, tail, "ts", middle, end),
            "append what is new (nothing)": lambda: warehouse.append_new(MATRIX, frame),
            "version": lambda: warehouse.version("features.matrix"),
            "read all": lambda: warehouse.frame("FROM features.matrix"),
            "open and read one row": lambda: warehouse.frame("SELECT 1"),
        }.items():
            print(f"  {name:32} {timed(work):7.3f} s")
        print(f"  {'size of the file':32} {warehouse.path.stat().st_size / 1e6:7.1f} MB")
        print(f"{PROCESSES} processes, each {TURNS} writes and {TURNS} reads of one table")
        for name, target in (("warehouse", through_the_warehouse), ("no lock", straight_at_the_file)):
            failed, seconds = crowd(target, warehouse.address)
            print(f"  {name:32} {failed} failed, {seconds:.1f} s with start-up")


if __name__ == "__main__":
    main()
