"""Change-point alerts: one row for each time that the guard steps in or steps up."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

__all__ = ["changepoint_alerts"]


def changepoint_alerts(rows: pl.DataFrame, bar: timedelta = timedelta(hours=1)) -> pl.DataFrame:
    """Alerts of a stretch of detections, each once.

    An alert is raised where the action goes up: from hold to reduce or exit, and from reduce to exit. Bars
    without a probability, on which the guard is careful because it knows nothing, raise none. What was under
    way at a symbol's first row was raised before it.

    Parameters
    ----------
    rows : DataFrame
        From `detect_changepoints`, any order.
    bar : timedelta
        Length of a bar.

    Returns
    -------
    DataFrame
        ``symbol, ts, known_at, action, p_changepoint, p_mean, p_volatility, changed_at``, sorted by ts and
        symbol. ``changed_at`` is the open of the first bar of the segment that the alarmed channel most
        probably is in, gaps not counted.
    """
    rank = pl.col("action").replace_strict({"hold": 0, "reduce": 1, "exit": 2}, return_dtype=pl.Int64)
    of_mean = pl.col("p_mean") >= pl.col("p_volatility")
    length = pl.when(of_mean).then("run_length_mean").otherwise("run_length_volatility")
    return (
        rows.drop_nulls("p_changepoint")
        .sort("symbol", "ts")
        .filter((rank > rank.shift(1).over("symbol")).fill_null(value=False))
        .select(
            "symbol",
            "ts",
            (pl.col("ts") + bar).alias("known_at"),
            "action",
            "p_changepoint",
            "p_mean",
            "p_volatility",
            (pl.col("ts") - (length - 1) * pl.lit(bar)).alias("changed_at"),
        )
        .sort("ts", "symbol")
    )
