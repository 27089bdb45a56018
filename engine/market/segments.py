"""Stretches of bars without a hole: nothing may be computed across the border of two."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

__all__ = ["segments", "unbroken"]


def segments(candles: pl.DataFrame, bar: timedelta) -> pl.Series:
    """Count the unbroken stretches of each symbol.

    A stretch ends where the next bar opens later than one bar after the last: at an outage, a
    delisting or a re-listing under the same ticker.

    Parameters
    ----------
    candles : polars.DataFrame
        ``symbol, ts``, sorted by symbol and ts, without repeated bars.
    bar : timedelta
        Length of a bar.

    Returns
    -------
    polars.Series
        Int64 ``segment``, one per row: 0 for the first stretch of a symbol, one more at each gap.
    """
    hole = (pl.col("ts").diff() > bar).fill_null(value=False)
    return candles.select(hole.cast(pl.Int64).cum_sum().over("symbol").alias("segment")).to_series()


def unbroken(candles: pl.DataFrame, bar: timedelta, horizon: int) -> pl.Series:
    """Say of each bar whether the ``horizon`` bars after it follow without a hole.

    Parameters
    ----------
    candles : polars.DataFrame
        ``symbol, ts``, sorted by symbol and ts, without repeated bars.
    bar : timedelta
        Length of a bar.
    horizon : int
        Length h of the span ``[i, i + h]`` in bars, not negative.

    Returns
    -------
    polars.Series
        Boolean ``unbroken``: rows i to i + h are one symbol's and lie in one segment. False where the
        data end before i + h.
    """
    if horizon < 0:
        raise ValueError(f"horizon={horizon}: a span reaches forward, give 0 or more bars")
    span = pl.col("ts").shift(-horizon).over("symbol") - pl.col("ts")
    return candles.select((span == horizon * bar).fill_null(value=False).alias("unbroken")).to_series()
