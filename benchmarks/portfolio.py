"""Risk parity on recorded markets, daily and net of costs, beside equal weight and inverse volatility.

Run from the project root with the warehouse of a run on recorded candles (``ENGINE_SOURCE=files make run``):
``ENGINE_WAREHOUSE=data/engine.duckdb python -m benchmarks.portfolio``.

Every midnight from 2020 on each rule sees the same daily returns up to then and allocates among the same
assets: those with 60 returns in the last 180 days. Weights start from what the last ones drifted to and pass
the same no-trade band; they fill at the next hour's open and pay fees and slippage. Settings are the defaults
of `PortfolioConfig`, or named; none was chosen on these data. Under the correlation limit priority goes to
what trades most. The limit leaves few assets and the cap per asset then leaves cash, which lowers volatility
by itself: look at exposure and Sharpe ratio before crediting diversification.

Prints each rule's figures with their 95 % intervals, then the differences of paired bootstrap draws.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.backtest import BacktestResult, backtest
from engine.evaluation.costs import Costs
from engine.evaluation.metrics import metric_intervals, paired_intervals, performance
from engine.evaluation.panel import Panel, panel_from_candles, weights_panel
from engine.portfolio.allocation import PortfolioConfig
from engine.portfolio.covariance import usable_assets
from engine.portfolio.covariance_choice import shrunk_covariance
from engine.portfolio.daily_closes import daily_closes
from engine.portfolio.optimizer import PortfolioRiskOptimizer
from engine.portfolio.rebalance import drifted_weights, no_trade_band
from engine.portfolio.risk_budget import inverse_volatility
from engine.regimes.names import REGIME_COLUMNS
from resources.warehouse import Warehouse

Floats = NDArray[np.float64]
Rule = Callable[[int, Floats], Floats]

BAR, CAPITAL = timedelta(hours=1), 1_000_000.0
START = datetime(2020, 1, 1)  # noqa: DTZ001  (moments in frames are UTC without a zone)
SHOWN = ("annual_return", "volatility", "sharpe", "max_drawdown", "turnover", "exposure")
COMPARED = ("volatility", "sharpe", "max_drawdown")
DEFAULTS = PortfolioConfig()
UNLIMITED = PortfolioConfig(correlation_limit=1.0)


@dataclass(frozen=True)
class Market:
    """Days by symbols: simple returns, traded value, and regime probabilities of the market."""

    symbols: tuple[str, ...]
    days: list[datetime]
    returns: Floats
    traded: Floats
    regimes: Floats


def daily_market(candles: pl.DataFrame, regimes: pl.DataFrame) -> Market:
    """Fold hourly bars into days that end at midnight."""
    closes = daily_closes(candles, BAR)
    symbols = tuple(name for name in closes.columns if name != "day")
    day = (pl.col("ts").dt.truncate("1d") + timedelta(days=1)).alias("day")
    traded = (
        candles.group_by("symbol", day)
        .agg((pl.col("close") * pl.col("volume")).sum().alias("traded"))
        .pivot(on="symbol", index="day", values="traded")
    )
    probabilities = regimes.group_by(day).agg(pl.col(REGIME_COLUMNS).mean())
    wide = closes.join(traded, on="day", how="left", suffix=" traded", maintain_order="left").join(
        probabilities, on="day", how="left", maintain_order="left"
    )

    def matrix(columns: list[str]) -> Floats:
        return wide.select(pl.col(columns).cast(pl.Float64).fill_null(float("nan"))).to_numpy()

    price = matrix(list(symbols))
    change = np.full(price.shape, np.nan)
    change[1:] = price[1:] / price[:-1] - 1.0
    return Market(
        symbols,
        wide["day"].to_list(),
        change,
        np.nan_to_num(matrix([f"{s} traded" for s in symbols])),
        matrix(list(REGIME_COLUMNS)),
    )


def risk_parity(market: Market, config: PortfolioConfig) -> Rule:
    """Allocate by `PortfolioRiskOptimizer`, what trades most first."""
    optimizer = PortfolioRiskOptimizer(config)

    def decide(t: int, current: Floats) -> Floats:
        history = market.returns[max(0, t - config.regime_window) : t]
        order = np.argsort(-market.traded[max(0, t - config.window) : t].sum(axis=0), kind="stable")
        names = [market.symbols[i] for i in order]
        allocation = optimizer.optimize_allocation(
            names,
            dict(zip(market.symbols, current.tolist(), strict=True)),
            history[:, order],
            regimes=market.regimes[max(0, t - config.regime_window) : t],
        )
        return np.array([allocation.weights[s] for s in market.symbols])

    return decide


def among_usable(market: Market, weigh: Callable[[Floats], Floats]) -> Rule:
    """Invest in full by `weigh` in what the optimiser would find usable, inside its cap and band."""

    def decide(t: int, current: Floats) -> Floats:
        history = market.returns[max(0, t - DEFAULTS.window) : t]
        usable = usable_assets(history, min_history=DEFAULTS.min_history, max_stale=DEFAULTS.max_stale).mask
        wanted = np.zeros(len(market.symbols))
        if usable.any():
            wanted[usable] = np.minimum(weigh(history[:, usable]), DEFAULTS.max_weight)
        banded = no_trade_band(current, wanted, DEFAULTS.no_trade_band)
        return banded if banded.sum() <= 1.0 + 1e-12 else wanted

    return decide


def walk(market: Market, decide: Rule) -> pl.DataFrame:
    """Weights of every midnight: ``symbol, ts`` (the bar that closes then) and ``weight``."""
    current, rows = np.zeros(len(market.symbols)), []
    for t, day in enumerate(market.days, start=1):
        if day < START:
            continue
        current = decide(t, drifted_weights(current, market.returns[t - 1]))
        rows += [(s, day - BAR, w) for s, w in zip(market.symbols, current.tolist(), strict=True)]
    return pl.DataFrame(
        rows, schema={"symbol": pl.String, "ts": pl.Datetime("us"), "weight": pl.Float64}, orient="row"
    )


def rules(market: Market) -> dict[str, Rule]:
    """Name every contender."""
    return {
        "risk parity, limit .60": risk_parity(market, DEFAULTS),
        "risk parity, no limit": risk_parity(market, UNLIMITED),
        "equal weight": among_usable(market, lambda r: np.full(r.shape[1], 1.0 / r.shape[1])),
        "inverse volatility": among_usable(
            market, lambda r: inverse_volatility(shrunk_covariance(DEFAULTS, r))
        ),
        "no limit, ewma": risk_parity(market, PortfolioConfig(correlation_limit=1.0, covariance="ewma")),
        "no limit, regime": risk_parity(market, PortfolioConfig(correlation_limit=1.0, covariance="regime")),
        "limit .60, volatility 30 %": risk_parity(market, PortfolioConfig(target_volatility=0.30)),
        "no limit, volatility 30 %": risk_parity(
            market, PortfolioConfig(correlation_limit=1.0, target_volatility=0.30)
        ),
    }


def run(market: Market, panel: Panel, decide: Rule) -> BacktestResult:
    """Backtest one rule."""
    return backtest(panel, weights_panel(walk(market, decide), panel), costs=Costs(), capital=CAPITAL)


def print_figures(name: str, result: BacktestResult) -> None:
    """One line of figures with intervals."""
    daily = result.daily()
    means = {"turnover": daily["turnover"].to_numpy(), "exposure": daily["exposure"].to_numpy()}
    found = metric_intervals(daily["net_return"].to_numpy(), means=means)
    rows = {row["metric"]: row for row in found.iter_rows(named=True)}
    cells = [f"{rows[m]['value']:7.3f} [{rows[m]['low']:6.3f},{rows[m]['high']:6.3f}]" for m in SHOWN]
    print(f"{name:>28}  " + "  ".join(cells))


def print_difference(name: str, candidate: BacktestResult, other: str, baseline: BacktestResult) -> None:
    """One line of paired differences, absolute and in per cent of the baseline's value."""
    ours, theirs = (r.daily()["net_return"].to_numpy() for r in (candidate, baseline))
    found = {row["metric"]: row for row in paired_intervals(ours, theirs).iter_rows(named=True)}
    level = performance(theirs)
    cells = []
    for metric in COMPARED:
        row, base = found[metric], abs(level[metric])
        cells.append(
            f"{row['value']:+.3f} [{row['low']:+.3f},{row['high']:+.3f}]"
            f" {row['value'] / base:+5.0%} [{row['low'] / base:+5.0%},{row['high'] / base:+5.0%}]"
        )
    print(f"{name:>28} - {other:<20}" + "  ".join(f"{cell:>46}" for cell in cells))


def main() -> None:
    """Read, walk, backtest, print."""
    address = os.environ.get("ENGINE_WAREHOUSE", "data/engine.duckdb")
    warehouse = Warehouse(address=address)
    if not Path(address).is_file() or not warehouse.exists("staging.candles"):
        sys.exit(
            f"no candles in {address}: run ENGINE_SOURCE=files make run first,"
            " or set ENGINE_WAREHOUSE to the warehouse of such a run"
        )
    candles = warehouse.frame(
        "SELECT symbol, ts, open, close, volume FROM staging.candles ORDER BY symbol, ts"
    )
    regimes = warehouse.frame("SELECT ts, p_trend, p_range, p_panic FROM regimes.market_regimes")
    market = daily_market(candles, regimes)
    panel = panel_from_candles(candles.filter(pl.col("ts") >= START - BAR), BAR)
    print(
        f"{len(market.symbols)} symbols, {START:%Y-%m-%d} to {market.days[-1]:%Y-%m-%d},"
        f" {Costs()}, load {os.getloadavg()[0]:.1f}"
    )
    results: dict[str, BacktestResult] = {}
    print(f"{'':>28}  " + "  ".join(f"{metric:>23}" for metric in SHOWN))
    for name, decide in rules(market).items():
        started = time.perf_counter()
        results[name] = run(market, panel, decide)
        print_figures(name, results[name])
        print(f"{'':>28}  {time.perf_counter() - started:.1f} s", file=sys.stderr)
    print(f"\n{'paired differences':>51}" + "  ".join(f"{metric:>46}" for metric in COMPARED))
    plain = ("equal weight", "inverse volatility")
    for other in (*plain, "risk parity, no limit"):
        for name in results:
            if name not in (*plain, other) and (name.startswith("risk parity") or other not in plain):
                print_difference(name, results[name], other, results[other])
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
