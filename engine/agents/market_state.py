"""How the market as a whole stands, bar by bar: what trees expect of it, and how it has moved.

One hidden state drives the drift of all symbols, so what tells of it is what they have in common.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.agents.market_columns import CALM, COMOVEMENT, HALF_LIVES, SIZE, SLOW, USUAL

__all__ = ["market_state"]

_LARGEST_MOVE, _LEAST_SPREAD = 6.0, 1e-3


def market_state(rows: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Make of all symbols on each bar what `market_columns` names, from this bar and those before it.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, ts, segment, close, forecast`` and ``volatility``, which scales each symbol's return; where
        it is not positive the symbol is left out. Sorted by symbol and ts.
    bar : timedelta

    Returns
    -------
    DataFrame
        One row for each ``ts``.
    """
    rows = rows.filter(pl.col("volatility") > 0.0)

    def mean(value: pl.Expr, hours: float) -> pl.Expr:
        return value.ewm_mean(half_life=timedelta(hours=hours) / bar)

    step = pl.col("close").log().diff().over("symbol") / pl.col("volatility")
    slow = mean(pl.col("forecast"), SLOW).over("symbol", "segment")
    scaled = rows.with_columns(move=step.clip(-_LARGEST_MOVE, _LARGEST_MOVE), slow=slow)
    market = scaled.group_by("ts").agg(
        market_forecast=pl.col("forecast").mean(),
        market_forecast_slow=pl.col("slow").mean(),
        move=pl.col("move").mean(),
        spread=pl.col("move").std(ddof=0),
        volatility=pl.col("volatility").log().mean(),
    )
    move, volatility = pl.col("move"), pl.col("volatility")
    common, apart = (mean(x.pow(2), COMOVEMENT) for x in (move, pl.col("spread")))
    moves = {
        f"market_move_{hours}h": mean(move, hours) * (timedelta(hours=hours) / bar) ** 0.5
        for hours in HALF_LIVES
    }
    return market.sort("ts").select(
        "ts",
        "market_forecast",
        "market_forecast_slow",
        **moves,
        market_size=mean(move.abs(), SIZE),
        market_comovement=common / (apart + _LEAST_SPREAD),
        market_volatility_3d=volatility - mean(volatility, CALM),
        market_volatility_30d=volatility - mean(volatility, USUAL),
    )
