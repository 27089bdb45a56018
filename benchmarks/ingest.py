"""Candles read per second from Parquet, CSV and a vendor's zip: the files feed beside DuckDB and pandas.

Run from the project root: ``python -m benchmarks.ingest [rows]``. Prints one line of JSON. The same bars lie
in all three formats, each in a folder of its own. The peers only parse: they yield typed columns and
check nothing. The feed recognises the file, then finds units, repetitions, disorder, stamps off the grid and
impossible prices, and refuses or reports them. DuckDB reads no zip; it is given the CSV out of it, unpacked
outside the clock.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl

from resources.feeds.files import FilesFeed

ROWS, REPEATS = 500_000, 5
FIRST_STAMP = 1_577_836_800_000_000  # 2020-01-01 in microseconds
EVER = (datetime(2000, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001  UTC without zone
MINUTE = timedelta(minutes=1)
KLINE = ["open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"]
KLINE += ["taker_buy_volume", "taker_buy_quote_volume", "ignore"]


def bars(rows: int) -> pl.DataFrame:
    """Make minute bars of a random walk."""
    rng = np.random.default_rng(7)
    close = 20_000.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, rows)))
    opened = np.concatenate([close[:1], close[:-1]])
    wick = np.abs(rng.normal(0.0, 3e-4, (2, rows)))
    stamps = FIRST_STAMP + np.arange(rows, dtype=np.int64) * (MINUTE // timedelta(microseconds=1))
    return pl.DataFrame(
        {
            "symbol": ["BTC/USDT"] * rows,
            "ts": pl.Series(stamps).cast(pl.Datetime("us")),
            "open": opened.round(2),
            "high": (np.maximum(opened, close) * (1.0 + wick[0]) + 0.01).round(2),
            "low": (np.minimum(opened, close) * (1.0 - wick[1]) - 0.01).round(2),
            "close": close.round(2),
            "volume": rng.lognormal(1.0, 1.0, rows).round(5),
        }
    )


def lay_out(folder: Path, frame: pl.DataFrame) -> tuple[dict[str, Path], Path]:
    """Write the bars as Parquet, CSV and zipped klines, and the klines once more unpacked."""
    paths = {
        "parquet": folder / "parquet" / "BTCUSDT_1m.parquet",
        "csv": folder / "csv" / "BTCUSDT_1m.csv",
        "zip": folder / "zip" / "BTCUSDT-1m-2020.zip",
    }
    for path in paths.values():
        path.parent.mkdir()
    frame.write_parquet(paths["parquet"])
    frame.with_columns(pl.col("ts").dt.strftime("%Y-%m-%d %H:%M:%S")).write_csv(paths["csv"])
    opened = pl.col("ts").dt.timestamp("ms")
    klines = frame.select(
        opened.alias("open_time"),
        *KLINE[1:6],
        (opened + 59_999).alias("close_time"),
        (pl.col("close") * pl.col("volume")).round(8).alias("quote_volume"),
        pl.lit(100).alias("count"),
        (pl.col("volume") / 2).round(5).alias("taker_buy_volume"),
        (pl.col("close") * pl.col("volume") / 2).round(8).alias("taker_buy_quote_volume"),
        pl.lit(0).alias("ignore"),
    )
    unpacked = folder / "BTCUSDT-1m-2020.csv"
    klines.write_csv(unpacked, include_header=False)
    with zipfile.ZipFile(paths["zip"], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(unpacked, unpacked.name)
    return paths, unpacked


def with_feed(path: Path) -> int:
    """Read through the feed, from finding the file to checked candles."""
    return FilesFeed(path.parent, bar=MINUTE).candles(["BTC/USDT"], *EVER).frame.height


def with_duckdb(path: Path) -> int:
    """Read with DuckDB's own readers into Arrow."""
    with duckdb.connect() as connection:
        if path.suffix == ".parquet":
            return connection.read_parquet(str(path)).to_arrow_table().num_rows
        if path.name == "BTCUSDT_1m.csv":
            return connection.read_csv(str(path)).to_arrow_table().num_rows
        return connection.read_csv(str(path), names=KLINE, header=False).to_arrow_table().num_rows


def with_pandas(path: Path) -> int:
    """Read with pandas' own readers."""
    if path.suffix == ".parquet":
        return len(pd.read_parquet(path))
    if path.suffix == ".zip":
        frame = pd.read_csv(path, names=KLINE, header=None)
        frame["ts"] = pd.to_datetime(frame["open_time"], unit="ms")
        return len(frame)
    return len(pd.read_csv(path, parse_dates=["ts"]))


def rows_per_second(read: Callable[[Path], int], path: Path, rows: int) -> int:
    """Median over a few runs, after one that warms the page cache."""
    assert read(path) == rows, f"{read.__name__} read {read(path)} of {rows} rows of {path.name}"
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        read(path)
        seconds.append(time.perf_counter() - start)
    return round(rows / statistics.median(seconds))


def main(rows: int) -> None:
    """Measure every reader on every format in turn."""
    with tempfile.TemporaryDirectory() as name:
        paths, unpacked = lay_out(Path(name), bars(rows))
        result: dict[str, object] = {"rows": rows, "repeats": REPEATS, "unit": "rows per second"}
        for kind, path in paths.items():
            result[kind] = {
                "feed": rows_per_second(with_feed, path, rows),
                "duckdb": rows_per_second(with_duckdb, unpacked if kind == "zip" else path, rows),
                "pandas": rows_per_second(with_pandas, path, rows),
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
