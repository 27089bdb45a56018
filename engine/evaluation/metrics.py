"""Performance of a stream of returns and of the trades behind it: figures and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.bootstrap import (
    automatic_block_length,
    bootstrap_interval,
    stationary_bootstrap_indices,
)

__all__ = [
    "METRICS",
    "TRADE_METRICS",
    "metric_intervals",
    "paired_intervals",
    "performance",
    "trade_intervals",
]

Floats = NDArray[np.float64]

_DRAWN_AT_ONCE = 4_000_000


def annual_return(returns: Floats, periods: float) -> Floats:
    """Compound growth per year (CAGR); -1 if equity was ever gone."""
    growth = np.prod(np.maximum(1.0 + returns, 0.0), axis=-1)
    return growth ** (periods / returns.shape[-1]) - 1.0


def volatility(returns: Floats, periods: float) -> Floats:
    """Return the standard deviation per year."""
    return returns.std(axis=-1, ddof=1) * np.sqrt(periods)


def sharpe(returns: Floats, periods: float) -> Floats:
    """Mean over standard deviation, per year; the riskless rate is zero. NaN without variation."""
    return _ratio(returns.mean(axis=-1) * periods, volatility(returns, periods))


def sortino(returns: Floats, periods: float) -> Floats:
    """Mean over the root mean square of losses, per year. NaN without losses."""
    downside = np.sqrt((np.minimum(returns, 0.0) ** 2).mean(axis=-1) * periods)
    return _ratio(returns.mean(axis=-1) * periods, downside)


def max_drawdown(returns: Floats, periods: float) -> Floats:
    """Largest fall from a peak, as a positive fraction; the start is a peak."""
    wealth = np.cumprod(np.maximum(1.0 + returns, 0.0), axis=-1)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=-1), 1.0)
    return (1.0 - wealth / peak).max(axis=-1)


def calmar(returns: Floats, periods: float) -> Floats:
    """Compound return per year over the largest drawdown. NaN without a drawdown."""
    return _ratio(annual_return(returns, periods), max_drawdown(returns, periods))


def cvar_95(returns: Floats, periods: float) -> Floats:
    """Mean loss in the worst 5 % of periods (at least one), as a positive fraction of equity per period."""
    worst = max(int(np.floor(0.05 * returns.shape[-1])), 1)
    return 0.0 - np.partition(returns, worst - 1, axis=-1)[..., :worst].mean(axis=-1)


def hit_rate(returns: Floats, periods: float) -> Floats:
    """Share of gains among the periods with a gain or a loss. NaN without either."""
    return _ratio((returns > 0).sum(axis=-1), (returns != 0).sum(axis=-1))


def trade_hit_rate(net: Floats, hours: Floats) -> Floats:
    """Share of trades with a gain."""
    return (net > 0).mean(axis=-1)


def profit_factor(net: Floats, hours: Floats) -> Floats:
    """Sum of gains over sum of losses. NaN without losses."""
    return _ratio(np.maximum(net, 0.0).sum(axis=-1), np.maximum(-net, 0.0).sum(axis=-1))


def payoff_ratio(net: Floats, hours: Floats) -> Floats:
    """Mean gain over mean loss. NaN without either."""
    gains, losses = (net > 0).sum(axis=-1), (net < 0).sum(axis=-1)
    odds = _ratio(losses, gains)
    return profit_factor(net, hours) * odds


def net_per_trade(net: Floats, hours: Floats) -> Floats:
    """Mean net result, quote units."""
    return net.mean(axis=-1)


def worst_trade(net: Floats, hours: Floats) -> Floats:
    """Smallest net result, quote units."""
    return net.min(axis=-1)


def holding_hours(net: Floats, hours: Floats) -> Floats:
    """Mean time from entry to exit."""
    return hours.mean(axis=-1)


METRICS: dict[str, Callable[[Floats, float], Floats]] = {
    "annual_return": annual_return,
    "volatility": volatility,
    "sharpe": sharpe,
    "sortino": sortino,
    "max_drawdown": max_drawdown,
    "calmar": calmar,
    "cvar_95": cvar_95,
    "hit_rate": hit_rate,
}

TRADE_METRICS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "trade_hit_rate": trade_hit_rate,
    "profit_factor": profit_factor,
    "payoff_ratio": payoff_ratio,
    "net_per_trade": net_per_trade,
    "worst_trade": worst_trade,
    "holding_hours": holding_hours,
}


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    defined = denominator > 1e-12
    return np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)


def performance(returns: Floats, periods_per_year: float = 365.0) -> dict[str, float]:
    """Every figure of `METRICS` for one stream of simple returns; NaN where undefined."""
    stream = _stream(returns)
    return {name: float(metric(stream, periods_per_year)) for name, metric in METRICS.items()}


def metric_intervals(
    returns: Floats,
    *,
    periods_per_year: float = 365.0,
    means: Mapping[str, Floats] | None = None,
    confidence: float = 0.95,
    draws: int = 999,
    block: float | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Figures of a stream of returns with stationary-bootstrap intervals.

    Daily returns are the right input: a bootstrap of hourly ones costs 24 times as much and sees the same
    days.

    Parameters
    ----------
    returns : ndarray, shape (n,)
        Simple net returns per period, finite.
    periods_per_year : float
    means : mapping of str to ndarray of shape (n,), optional
        Further series whose mean is reported and drawn with the returns, such as turnover and exposure.
    confidence : float
        Of the two-sided percentile interval.
    draws : int
    block : float, optional
        Mean block length; automatic on the returns if None.
    seed : int

    Returns
    -------
    polars.DataFrame
        Columns ``metric, value, low, high``, null where undefined.
    """
    stream = _stream(returns)
    series = {name: _stream(values, stream.size) for name, values in (means or {}).items()}

    def figures(rows: NDArray[np.int64]) -> Floats:
        drawn = [metric(stream[rows], periods_per_year) for metric in METRICS.values()]
        return np.stack([*drawn, *(values[rows].mean(axis=-1) for values in series.values())], axis=-1)

    length = automatic_block_length(stream) if block is None else block
    return _interval_frame([*METRICS, *series], figures, stream.size, length, draws, confidence, seed)


def paired_intervals(
    candidate: Floats,
    baseline: Floats,
    *,
    periods_per_year: float = 365.0,
    confidence: float = 0.95,
    draws: int = 999,
    block: float | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Differences of every figure, candidate minus baseline, over the same periods.

    Both streams are drawn with the same indices: the market's noise is common to them and cancels. The
    automatic block length is that of the difference of returns. Parameters and result as in
    `metric_intervals`.
    """
    ours = _stream(candidate)
    theirs = _stream(baseline, ours.size)

    def figures(rows: NDArray[np.int64]) -> Floats:
        return np.stack(
            [m(ours[rows], periods_per_year) - m(theirs[rows], periods_per_year) for m in METRICS.values()],
            axis=-1,
        )

    length = automatic_block_length(ours - theirs) if block is None else block
    return _interval_frame([*METRICS], figures, ours.size, length, draws, confidence, seed)


def trade_intervals(
    trades: pl.DataFrame,
    *,
    confidence: float = 0.95,
    draws: int = 999,
    block: float | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Figures of closed trades with stationary-bootstrap intervals over the trades in order of their exits.

    Trades held at the same time share the market's moves, and blocks of neighbouring exits keep that.

    Parameters
    ----------
    trades : polars.DataFrame
        ``entry_ts, exit_ts, net_pnl`` as a backtest or a sweep gives them; open trades are left out.
    confidence, draws, block, seed
        As in `metric_intervals`; the automatic block length is that of the net results.

    Returns
    -------
    polars.DataFrame
        Columns ``metric, value, low, high`` with a row for each of `TRADE_METRICS`; null where undefined, and
        everywhere with fewer than two closed trades. The bootstrap cannot draw a trade worse than the worst:
        `worst_trade` has no lower bound.
    """
    closed = trades.drop_nulls("exit_ts").sort("exit_ts", "entry_ts", maintain_order=True)
    if closed.height < 2:
        none = dict.fromkeys(("value", "low", "high"), pl.lit(None, pl.Float64))
        return pl.DataFrame({"metric": list(TRADE_METRICS)}).with_columns(**none)
    net = _stream(closed["net_pnl"].to_numpy())
    hours = (closed["exit_ts"] - closed["entry_ts"]).dt.total_seconds().to_numpy() / 3600.0

    def figures(rows: NDArray[np.int64]) -> Floats:
        return np.stack([metric(net[rows], hours[rows]) for metric in TRADE_METRICS.values()], axis=-1)

    length = automatic_block_length(net) if block is None else block
    frame = _interval_frame([*TRADE_METRICS], figures, net.size, length, draws, confidence, seed)
    unbounded = pl.col("metric") == "worst_trade"
    return frame.with_columns(low=pl.when(unbounded).then(None).otherwise(pl.col("low")))


def _interval_frame(
    names: list[str],
    figures: Callable[[NDArray[np.int64]], Floats],
    n: int,
    block: float,
    draws: int,
    confidence: float,
    seed: int,
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    at_once = max(_DRAWN_AT_ONCE // n, 1)
    parts = [
        figures(stationary_bootstrap_indices(n, block, min(at_once, draws - done), rng))
        for done in range(0, draws, at_once)
    ]
    low, high = bootstrap_interval(np.concatenate(parts), confidence)
    frame = pl.DataFrame({"metric": names, "value": figures(np.arange(n)), "low": low, "high": high})
    return frame.with_columns(pl.col("value", "low", "high").fill_nan(None))


def _stream(values: Floats, size: int | None = None) -> Floats:
    stream = np.asarray(values, dtype=np.float64)
    if stream.ndim != 1 or stream.size < 2 or not np.isfinite(stream).all():
        raise ValueError(f"a finite series of at least 2 values is needed, got shape {stream.shape}")
    if size is not None and stream.size != size:
        raise ValueError(f"series of {stream.size} and {size} values must cover the same periods")
    return stream
