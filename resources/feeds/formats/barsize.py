"""Size of the bars in a file, from its first rows alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from engine.errors import DataError
from resources.feeds.formats.format import Sample
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import bar_of, from_epoch, from_text

__all__ = ["STAMPS", "bar_at_first_look"]

STAMPS = ("ts", "open_time", "unix", "unix timestamp", "datetime", "timestamp", "date", "time")
_ROWS = 2_000


def bar_at_first_look(seen: Sample) -> timedelta | None:
    """Tell the size of a bar, or ``None`` where the first rows do not suffice."""
    try:
        stamps = _binary(seen) if seen.container in ("parquet", "feather") else _textual(seen)
        return bar_of(stamps, str(seen.path))
    except DataError:
        return None


def _binary(seen: Sample) -> pl.Series:
    """First stamps of a Parquet or Feather file."""
    scan = pl.scan_parquet if seen.container == "parquet" else pl.scan_ipc
    lazy = scan(seen.path)
    named = {name.lower(): name for name in lazy.collect_schema().names()}
    stamp = next(name for name in STAMPS if name in named)
    return _moments(lazy.select(named[stamp]).head(_ROWS).collect().to_series(), seen)


def _textual(seen: Sample) -> pl.Series:
    """First stamps of a CSV or JSON file."""
    at = next((seen.columns.index(name) for name in STAMPS if name in seen.columns), 0)
    cells: list[Any] = [row[at] for row in seen.rows if len(row) > at]
    if any("E+" in str(cell) for cell in cells) and "time" in seen.columns:
        day, hour = seen.columns.index("date"), seen.columns.index("time")
        cells = [f"{row[day]} {row[hour]}" for row in seen.rows if len(row) > max(day, hour)]
        return from_text(
            pl.Series(cells), _rows(cells), str(seen.path), ("%d-%m-%y %H:%M:%S", "%d-%m-%Y %H:%M:%S")
        )
    return _moments(pl.Series([str(cell) for cell in cells], dtype=pl.String), seen)


def _moments(values: pl.Series, seen: Sample) -> pl.Series:
    """Moments of the values, whatever type they have."""
    if values.dtype.is_temporal():
        return values.cast(pl.Datetime("us"))
    numbers = values.cast(pl.Float64, strict=False)
    if not numbers.null_count():
        return from_epoch(numbers, _rows(values), str(seen.path))[0]
    return from_text(values, _rows(values), str(seen.path))


def _rows(values: Any) -> pl.Series:
    """Numbers of rows, counted from one."""
    return pl.Series(ROW, range(1, len(values) + 1))
