"""Candles: their columns, and how small bars add up to a larger one."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.errors import DataError

__all__ = ["CANDLE_COLUMNS", "CANDLE_SCHEMA", "resample"]

CANDLE_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
}
CANDLE_COLUMNS: tuple[str, ...] = tuple(CANDLE_SCHEMA)

_MICROSECOND = timedelta(microseconds=1)


def resample(
    candles: pl.DataFrame, bar: timedelta, to: timedelta, *, with_parts: bool = False
) -> pl.DataFrame:
    """Aggregate candles to a larger bar.

    Bars of length ``to`` start at whole multiples of ``to`` since 1970-01-01 00:00 UTC. A bar of which only
    some parts exist (around an outage, at either end of the data) is made from those; a bar of which no part
    exists is not made.

    Parameters
    ----------
    candles : DataFrame
        Columns of `CANDLE_SCHEMA`, sorted by symbol and ts, without repetition.
    bar : timedelta
        Length of the bars given.
    to : timedelta
        Length of the bars wanted, a whole multiple of ``bar``.
    with_parts : bool
        Add the column ``parts`` (Int64), the number of given bars in each; a full one has ``to / bar``.

    Returns
    -------
    DataFrame
        Columns of `CANDLE_SCHEMA`, sorted by symbol and ts: first open, highest high, lowest low, last close,
        sum of volumes.

    Raises
    ------
    ValueError
        If ``to`` is not a whole multiple of ``bar``.
    DataError
        If a column is missing or of another type, rows are out of order or repeat, or a ``ts`` is no multiple
        of ``bar``.
    """
    if bar <= timedelta(0):
        raise ValueError(f"bar = {bar} must be longer than zero")
    if to < bar or to % bar != timedelta(0):
        raise ValueError(f"to = {to} must be a whole multiple of bar = {bar}")
    _check(candles, bar)
    length = to // _MICROSECOND
    stamp = pl.col("ts").cast(pl.Int64)
    aggregated = (
        candles.lazy()
        .group_by(
            "symbol", (stamp - stamp.mod(length)).cast(pl.Datetime("us")).alias("ts"), maintain_order=True
        )
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            pl.len().cast(pl.Int64).alias("parts"),
        )
        .collect()
    )
    return aggregated if with_parts else aggregated.select(CANDLE_COLUMNS)


def _check(candles: pl.DataFrame, bar: timedelta) -> None:
    """Refuse candles that would be aggregated wrongly, with the first row at fault."""
    for name, dtype in CANDLE_SCHEMA.items():
        if candles.schema.get(name) != dtype:
            raise DataError(f"has type {candles.schema.get(name)}, candles need {dtype}", column=name)
    symbol, ts = pl.col("symbol"), pl.col("ts")
    same = symbol == symbol.shift(1)
    faults = candles.select(
        disorder=((same & (ts <= ts.shift(1))) | (symbol < symbol.shift(1))).fill_null(value=False),
        off_grid=ts.cast(pl.Int64).mod(bar // _MICROSECOND) != 0,
    )
    if faults["disorder"].any():
        row = int(faults["disorder"].arg_max() or 0)
        raise DataError(
            f"{candles.select('symbol', 'ts').row(row)} repeats or precedes the row before it; sort by "
            "symbol and ts and drop duplicates first",
            row=row + 1,
            column="ts",
        )
    if faults["off_grid"].any():
        row = int(faults["off_grid"].arg_max() or 0)
        raise DataError(
            f"{candles['ts'][row]} is not the open of a bar of {bar}; give the right size of bar",
            row=row + 1,
            column="ts",
        )
