"""Daily closes from bars: what covariances are estimated from."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

__all__ = ["daily_closes"]


def daily_closes(candles: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Last close of each UTC day, one column a symbol.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, close``.
    bar : timedelta
        Length of a bar; it must divide a day.

    Returns
    -------
    DataFrame
        ``day`` (the midnight at which the day ended) and one column per symbol; null where the last bar of
        the day is missing.
    """
    ends_day = (pl.col("ts") + bar).dt.truncate("1d") == pl.col("ts") + bar
    return (
        candles.filter(ends_day)
        .select("symbol", "close", day=pl.col("ts") + bar)
        .pivot(on="symbol", index="day", values="close", sort_columns=True)
        .sort("day")
        .upsample("day", every="1d")
    )
