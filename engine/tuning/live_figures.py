"""What the live accounts of all symbols made together."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.tuning.market_state import DAY

__all__ = ["account_curve", "daily_returns"]


def account_curve(points: pl.DataFrame) -> pl.DataFrame:
    """Join the accounts of symbols to one that gives each the same share again at every midnight.

    Parameters
    ----------
    points : DataFrame
        ``symbol, ts, equity``: each account at the close of its bars, over what it began with. One that has
        not begun yet is held as cash.

    Returns
    -------
    DataFrame
        ``ts, equity``, over what it began with.
    """
    wide = points.pivot(on="symbol", index="ts", values="equity", sort_columns=True).sort("ts")
    values = wide.drop("ts").fill_null(strategy="forward").fill_null(1.0).to_numpy()
    days = wide["ts"].dt.truncate("1d").to_numpy()
    starts = np.flatnonzero(np.append(True, days[1:] != days[:-1])) if days.size else np.zeros(0, int)
    equity, base, before = np.ones(days.size), np.ones(values.shape[1]), 1.0
    for first, end in zip(starts, [*starts[1:], days.size], strict=True):
        # A share of nothing stays nothing.
        growth = np.divide(values[first:end], base, out=np.zeros((end - first, base.size)), where=base > 0.0)
        equity[first:end] = before * growth.mean(axis=1)
        base, before = values[end - 1], equity[end - 1]
    return pl.DataFrame({"ts": wide["ts"], "equity": equity})


def daily_returns(points: pl.DataFrame, start: datetime, end: datetime) -> NDArray[np.float64]:
    """Return the net returns of the days from one midnight to another, of the account of `account_curve`.

    A day without bars returned nothing.
    """
    curve = account_curve(points)
    last = curve.group_by(pl.col("ts").dt.truncate("1d").alias("day"), maintain_order=True).last()
    made = last.select("day", made=pl.col("equity") / pl.col("equity").shift(fill_value=1.0) - 1.0)
    days = pl.datetime_range(start, end, DAY, closed="left", eager=True, time_unit="us").alias("day")
    return (
        days.to_frame()
        .join(made, on="day", how="left", maintain_order="left")["made"]
        .fill_null(0.0)
        .to_numpy()
    )
