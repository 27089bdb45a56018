"""Alternative observations fresh from a file: one long frame, each value with the moment it became known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import polars as pl

from engine.alternative.series import OBSERVATION_COLUMNS, SERIES
from engine.errors import DataError
from engine.market.finding import Finding, FindingKind, Severity
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import span

__all__ = [
    "OBSERVATION_SCHEMA",
    "changes",
    "drop_repeated",
    "final_values",
    "found",
    "known_after",
    "observed",
    "source_of",
]

OBSERVATION_SCHEMA: dict[str, pl.DataType] = {
    "series": pl.String(),
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    "available_at": pl.Datetime("us"),
    "value": pl.Float64(),
    "source": pl.String(),
}


def source_of(path: Path) -> str:
    """How a file is named in the ``source`` column: its folder and its name."""
    return f"{path.parent.name}/{path.name}"


def observed(frame: pl.DataFrame, columns: Mapping[str, str], path: Path) -> pl.DataFrame:
    """Bring wide rows into the long frame of observations.

    Parameters
    ----------
    frame : DataFrame
        ``symbol, ts, available_at``, the value columns, and perhaps ``venue``.
    columns : mapping
        From a value column to the name of its series. A missing value makes no row.
    path : Path
        The file.

    Returns
    -------
    DataFrame
        The columns of an observation, sorted.

    Raises
    ------
    DataError
        If a value is not finite; the row is named.
    """
    for name in columns:
        value = frame[name].cast(pl.Float64)
        wrong = value.is_not_null() & ~value.is_finite()
        if wrong.any():
            at = int(wrong.arg_max() or 0)
            raise DataError(f"{value[at]} is not finite", source=str(path), row=frame[ROW][at], column=name)
    place = pl.lit(source_of(path))
    source = pl.concat_str([place, pl.col("venue")], separator=" ") if "venue" in frame.columns else place
    parts = [
        frame.select(
            pl.lit(series).alias("series"),
            "symbol",
            "ts",
            "available_at",
            pl.col(column).cast(pl.Float64).alias("value"),
            source.alias("source"),
        )
        for column, series in columns.items()
    ]
    return pl.concat(parts).drop_nulls("value").select(OBSERVATION_COLUMNS).sort(OBSERVATION_COLUMNS[:4])


def known_after(series: str, period: timedelta) -> pl.Expr:
    """Date a value where the file does not say when it became known.

    That is after the lag of its series, and not before its period is over; a series without lag is stamped
    when it is published.
    """
    lag = SERIES[series].lag
    return pl.col("ts") + (max(lag, period) if lag else lag)


def found(
    rows: pl.DataFrame,
    table: str,
    series: str,
    kind: FindingKind,
    severity: Severity,
    detail: str,
    cause: str = "unknown",
) -> tuple[Finding, ...]:
    """Report rows with a ``ts``; nothing where there are none."""
    if not rows.height:
        return ()
    return (Finding(f"raw.{table}", series, kind, severity, *span(rows["ts"]), rows.height, detail, cause),)


def changes(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep the vintages that change a value; one that repeats the value before it tells nothing new."""
    same = (pl.col("value") == pl.col("value").shift(1)).over(
        "series", "symbol", "ts", order_by="available_at"
    )
    return frame.filter(~same.fill_null(value=False))


def final_values(frame: pl.DataFrame, table: str, series: str, path: Path) -> tuple[Finding, ...]:
    """Warn that a table holds last known values, as if they had been known at once."""
    detail = f"{source_of(path)} holds final values: dated by their lag, with later revisions in them"
    return found(frame, table, series, "revision", "warn", detail, "the source keeps no vintages")


def drop_repeated(
    frame: pl.DataFrame, key: list[str], values: list[str], table: str, series: str, path: Path
) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Drop rows that repeat a key with the same values; refuse a key that has two values.

    Raises
    ------
    DataError
        If rows of one key differ; the later row is named.
    """
    single = frame.unique(key, keep="first", maintain_order=True)
    if single.height == frame.height:
        return frame, ()
    distinct = frame.unique([*key, *values], keep="first", maintain_order=True)
    if distinct.height > single.height:
        row = distinct.filter(~distinct.select(pl.struct(key).is_first_distinct()).to_series())[ROW][0]
        raise DataError(f"a second, different value for the same {', '.join(key)}", source=str(path), row=row)
    surplus = frame.filter(~frame.select(pl.struct(key).is_first_distinct()).to_series())
    detail = f"{surplus.height} rows of {source_of(path)} repeat another exactly; dropped"
    return single, found(surplus, table, series, "duplicate", "info", detail)
