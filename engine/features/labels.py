"""Labels: what followed a decision, for training and scoring only."""

from __future__ import annotations

import polars as pl

from engine.errors import DataError

__all__ = ["labels"]


def labels(candles: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """Label each bar with the return that a decision on it could have earned.

    A decision on bar t is executed at the open of t + 1 and held for ``horizon`` bars:
    ``label = ln(open[t + 1 + h] / open[t + 1])``. A bar is left out where that span reaches past the data or
    into another segment.

    Parameters
    ----------
    candles : pl.DataFrame
        ``symbol, ts, open, segment``, sorted by symbol and ts.
    horizon : int
        Bars held, at least 1.

    Returns
    -------
    pl.DataFrame
        ``symbol, ts, horizon, label, direction, label_end``: the label is a log return, the direction its
        sign (-1, 0, 1), ``label_end`` the open of bar t + 1 + h, the moment at which the label is known.

    Raises
    ------
    DataError
        If a column is missing or a price is not positive.
    ValueError
        If the horizon is under 1.
    """
    if horizon < 1:
        raise ValueError(f"horizon is {horizon}, it must be at least 1 bar")
    for column in ("symbol", "ts", "open", "segment"):
        if column not in candles.columns:
            raise DataError(f"missing; the frame has {candles.columns}", source="candles", column=column)
    bad = candles.select(((pl.col("open") > 0.0) & pl.col("open").is_finite()).not_().fill_null(value=True))
    if bad.to_series().any():
        row = int(bad.to_series().arg_max() or 0) + 1
        raise DataError("is not a positive price", source="candles", row=row, column="open")

    def ahead(column: str, bars: int) -> pl.Expr:
        return pl.col(column).shift(-bars).over("symbol")

    end = horizon + 1
    label = (ahead("open", end) / ahead("open", 1)).log()
    return (
        candles.select(
            "symbol",
            "ts",
            horizon=pl.lit(horizon, pl.Int64),
            label=label,
            direction=label.sign().cast(pl.Int64),
            label_end=ahead("ts", end),
            whole=ahead("segment", end) == pl.col("segment"),
        )
        .filter("whole")
        .drop("whole")
    )
