"""Allocation day after day: each from what was known at its close and what the last one drifted to."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.portfolio.allocation import Allocation, PortfolioConfig, Signal
from engine.portfolio.optimizer import PortfolioRiskOptimizer
from engine.portfolio.rebalance import drifted_weights

__all__ = ["daily_closes", "walk_allocations"]

_DAY = timedelta(days=1)


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


def walk_allocations(
    signals: pl.DataFrame, closes: pl.DataFrame, bar: timedelta, config: PortfolioConfig | None = None
) -> pl.DataFrame:
    """Allocate at every midnight that has signals.

    Parameters
    ----------
    signals : DataFrame
        ``symbol, ts, direction, confidence``; rows whose bar ends at midnight are decided on, null confidence
        means unknown.
    closes : DataFrame
        From `daily_closes`, with the history before the first decision.
    bar : timedelta
        Length of a bar.
    config : PortfolioConfig, optional

    Returns
    -------
    DataFrame
        One row per decision and symbol: ``ts`` (the decision bar), ``decided_at, symbol, direction,
        confidence, weight, risk_share`` (null if unknown), ``trade, method, reasons``.
    """
    optimizer = PortfolioRiskOptimizer(config)
    symbols = [name for name in closes.columns if name != "day"]
    returns = closes.with_columns(pl.col(symbols) / pl.col(symbols).shift(1) - 1.0)
    rows_until = {day: i + 1 for i, day in enumerate(closes["day"])}
    window = optimizer.config.window
    decisions = (
        signals.with_columns(decided_at=pl.col("ts") + bar)
        .filter(pl.col("decided_at").dt.truncate("1d") == pl.col("decided_at"))
        .sort("decided_at", "symbol")
        .partition_by("decided_at", maintain_order=True)
    )
    weights: dict[str, float] = {}
    last = 0
    rows: list[dict[str, object]] = []
    for day in decisions:
        decided_at = day["decided_at"][0]
        until = rows_until.get(decided_at)
        if until is None:
            continue
        for i in range(last, until):
            weights = _drifted(weights, returns.row(i, named=True))
        last = until
        views = {
            row["symbol"]: Signal(row["direction"], row["confidence"]) for row in day.iter_rows(named=True)
        }
        history = returns.slice(max(0, until - window), min(window, until)).select(symbols)
        allocation = optimizer.optimize_allocation(symbols, weights, history, views)
        rows += _rows(allocation, day, views)
        weights = allocation.weights
    return pl.DataFrame(rows, schema=_SCHEMA)


_SCHEMA: dict[str, pl.DataType] = {
    "ts": pl.Datetime("us"),
    "decided_at": pl.Datetime("us"),
    "symbol": pl.String(),
    "direction": pl.Int64(),
    "confidence": pl.Float64(),
    "weight": pl.Float64(),
    "risk_share": pl.Float64(),
    "trade": pl.Float64(),
    "method": pl.String(),
    "reasons": pl.String(),
}


def _drifted(weights: dict[str, float], returns: dict[str, object]) -> dict[str, float]:
    """Weights after a day of returns; all in cash once everything is lost."""
    moves = [r if isinstance(r := returns[symbol], float) else float("nan") for symbol in weights]
    try:
        after = drifted_weights(list(weights.values()), moves)
    except ValueError:
        return {}
    return dict(zip(weights, after.tolist(), strict=True))


def _rows(allocation: Allocation, day: pl.DataFrame, views: dict[str, Signal]) -> list[dict[str, object]]:
    """One row for each symbol of an allocation, with the reasons that concern it."""
    failed = [f"{a.method} failed: {a.failure}" for a in allocation.attempts if a.failure]
    shared = [*failed, *allocation.reasons]
    return [
        {
            "ts": day["ts"][0],
            "decided_at": day["decided_at"][0],
            "symbol": symbol,
            "direction": views[symbol].direction if symbol in views else 0,
            "confidence": views[symbol].confidence if symbol in views else None,
            "weight": allocation.weights.get(symbol, 0.0),
            "risk_share": allocation.risk_contributions.get(symbol),
            "trade": allocation.trades.get(symbol, 0.0),
            "method": allocation.method,
            "reasons": "; ".join([*([d] if (d := allocation.dropped.get(symbol)) else []), *shared]),
        }
        for symbol in allocation.symbols
    ]
