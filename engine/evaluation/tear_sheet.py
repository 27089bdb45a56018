"""A backtest on one page: pictures, figures with their intervals, trades by symbol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import NotEnoughDataError
from engine.evaluation import tear_sheet_plots as plots
from engine.evaluation.backtest import BacktestResult
from engine.evaluation.metrics import METRICS, metric_intervals, sharpe, trade_intervals
from engine.figures import data_uri

__all__ = ["tear_sheet"]

_ROLLING_DAYS = 90
_LEAST_DAYS = 10
_MOST_SYMBOLS = 30
_LABELS = {
    "annual_return": ("Annual return (CAGR)", "percent"),
    "volatility": ("Volatility per year", "percent"),
    "sharpe": ("Sharpe ratio", "number"),
    "sortino": ("Sortino ratio", "number"),
    "max_drawdown": ("Largest drawdown", "percent"),
    "calmar": ("Calmar ratio", "number"),
    "cvar_95": ("CVaR 95 %, daily", "percent"),
    "hit_rate": ("Days with a gain", "percent"),
    "turnover": ("Turnover per day", "percent"),
    "exposure": ("Exposure", "percent"),
    "trade_hit_rate": ("Trades with a gain", "percent"),
    "profit_factor": ("Profit factor", "number"),
    "payoff_ratio": ("Mean gain over mean loss", "number"),
    "net_per_trade": ("Net result per trade", "money"),
    "worst_trade": ("Worst trade", "money"),
    "holding_hours": ("Holding time, hours", "number"),
}
_FORMATS: dict[str, Callable[[float], str]] = {
    "percent": lambda value: f"{100 * value:.2f} %",
    "number": lambda value: f"{value:.2f}",
    "money": lambda value: f"{value:,.2f}",
}
_CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1a202c; --soft: #5a6577; --line: #e2e8f0; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #171c26; --ink: #e2e8f0; --soft: #a0aec0; --line: #2d3748; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 900px; margin: 0 auto; padding: 28px 18px 60px; }
h1 { font-size: 1.6em; margin: 0 0 .1em; }
h2 { font-size: 1.1em; margin: 1.8em 0 .5em; border-bottom: 1px solid var(--line); padding-bottom: .25em; }
p { margin: .3em 0; color: var(--soft); }
img { max-width: 100%; height: auto; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; }
table { border-collapse: collapse; width: 100%; margin: 0 0 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; }
"""


def tear_sheet(
    result: BacktestResult,
    title: str,
    *,
    baselines: Mapping[str, BacktestResult] | None = None,
    confidence: float = 0.95,
    draws: int = 999,
    seed: int = 0,
) -> str:
    """Write a backtest's tear sheet as HTML.

    The page loads nothing: pictures are inside, once for light and once for dark screens, and all text is
    escaped.

    Parameters
    ----------
    result : BacktestResult
        The strategy.
    title : str
    baselines : mapping of str to BacktestResult, optional
        Drawn beside the strategy's equity; over the same bars.
    confidence : float
        Of the two-sided bootstrap intervals of daily figures and of trades.
    draws, seed : int
        Of the bootstrap.

    Raises
    ------
    NotEnoughDataError
        With fewer than ten days.
    """
    daily = result.daily()
    if daily.height < _LEAST_DAYS:
        raise NotEnoughDataError(f"{daily.height} days of returns; a tear sheet needs {_LEAST_DAYS}")
    returns = daily["net_return"].to_numpy()
    means = {name: daily[name].fill_null(0.0).to_numpy() for name in ("turnover", "exposure")}
    figures = metric_intervals(returns, means=means, confidence=confidence, draws=draws, seed=seed)
    of_trades = trade_intervals(result.trades, confidence=confidence, draws=draws, seed=seed)
    by_symbol = _by_symbol(result.trades)
    first, last = result.equity["ts"][0], result.equity["ts"][-1]
    closed = result.trades["exit_ts"].count()
    costs = {name: float(result.equity[name].sum()) for name in ("fees", "slippage", "funding")}
    curves = {"strategy": result, **(baselines or {})}
    summary = (
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, {daily.height} days; {closed} closed trades in "
        f"{by_symbol.height} symbols; capital {result.capital:,.0f}, at the end "
        f"{result.equity['equity'][-1]:,.0f}. Paid: fees {costs['fees']:,.0f}, slippage "
        f"{costs['slippage']:,.0f}, funding {costs['funding']:,.0f}."
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{summary}</p>",
        _picture(
            partial(
                plots.equity_and_drawdown,
                result.equity["ts"].to_numpy(),
                {name: each.equity["equity"].to_numpy() / each.capital for name, each in curves.items()},
            ),
            "Equity and drawdown",
        ),
        "<h2>Figures</h2>",
        f"<p>Daily net returns; the intervals hold {confidence:.0%} of a stationary bootstrap.</p>",
        _table(figures, confidence),
        "<h2>Returns</h2>",
        _picture(partial(plots.monthly_returns, _monthly(daily)), "Net return per month"),
        '<div class="pair">',
        _picture(
            partial(plots.rolling_sharpe, daily["day"].to_numpy(), _rolling_sharpe(returns), _ROLLING_DAYS),
            "Rolling Sharpe ratio",
        ),
        _picture(
            partial(plots.return_distribution, returns, float(METRICS["cvar_95"](returns, 365.0))),
            "Distribution of daily returns",
        ),
        "</div>",
        "<h2>Trades</h2>",
        _table(of_trades, confidence),
    ]
    if by_symbol.height:
        parts.append(_picture(partial(plots.trades_by_symbol, by_symbol.head(_MOST_SYMBOLS)), "By symbol"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_CSS}</style></head>\n<body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def _picture(draw: Callable[[plots.Theme], bytes], name: str) -> str:
    light, dark = plots.in_both_themes(draw)
    return (
        f'<picture><source srcset="{data_uri(dark)}" media="(prefers-color-scheme: dark)">'
        f'<img src="{data_uri(light)}" alt="{escape(name)}"></picture>'
    )


def _table(figures: pl.DataFrame, confidence: float) -> str:
    rows = []
    for name, *values in figures.select("metric", "value", "low", "high").iter_rows():
        label, kind = _LABELS[name]
        cells = "".join(f"<td>{'–' if value is None else _FORMATS[kind](value)}</td>" for value in values)
        rows.append(f"<tr><td>{escape(label)}</td>{cells}</tr>")
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    bounds = "".join(f"<th>{100 * tail:g} %</th>" for tail in tails)
    return f"<table><tr><th></th><th>value</th>{bounds}</tr>{''.join(rows)}</table>"


def _monthly(daily: pl.DataFrame) -> pl.DataFrame:
    return (
        daily.group_by(year=pl.col("day").dt.year(), month=pl.col("day").dt.month())
        .agg(net_return=(1.0 + pl.col("net_return")).product() - 1.0)
        .sort("year", "month")
    )


def _rolling_sharpe(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full(returns.size, np.nan)
    if returns.size >= _ROLLING_DAYS:
        windows = np.lib.stride_tricks.sliding_window_view(returns, _ROLLING_DAYS)
        out[_ROLLING_DAYS - 1 :] = sharpe(windows, 365.0)
    return out


def _by_symbol(trades: pl.DataFrame) -> pl.DataFrame:
    """Net result and number of trades of each symbol, the largest gain or loss first."""
    return (
        trades.group_by("symbol")
        .agg(pl.col("net_pnl").sum(), trades=pl.len())
        .sort(pl.col("net_pnl").abs(), "symbol", descending=[True, False])
    )
