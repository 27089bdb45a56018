"""Whether choosing engines by a bandit pays: regret where the truth is known, and returns on the simulator.

Run from the project root: ``python -m benchmarks.bandit`` prints tables and one line of JSON. Of each kind
``BANDIT_SEEDS`` markets (10 by default) are simulated, their features and filtered regimes computed;
``BANDIT_CACHE`` names a folder to keep them in.

- ``regret``: plain, discounted and windowed Thompson sampling on engines that pay with fixed chances, where
  nothing changes (.6, .5, .4 over 6000 rounds) and where two engines (.6, .4) change places at round 3000;
  mean over 12 seeds with its standard error.
- ``returns``: four symbols, 13,000 hourly bars, five engines at their default parameters, costs of 6 basis
  points a fill and funding. Each way to choose sees the same signals and regimes. Claimed for the bandit was
  12 to 18 % more than the best fixed engine, or than a choice without learning. Shown are yearly net returns
  (sums, of one unit a symbol), the paired difference over markets with Student's interval, and the ratio
  where the other way earned anything. `best fixed` is the best in hindsight of each market, `best before`
  the engine that was best on the *other* markets. `bandit` has the coordinator's settings, the others named
  so count an outcome once unless weighted.
- ``null``: the same on markets without any structure, where nothing can be earned.

Timings are of one walk, compiled and with its frames.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student

from engine.agents.market_rows import market_rows
from engine.alpha.bandit import AlphaEngineBandit, BanditConfig
from engine.alpha.bandit_regret import play
from engine.alpha.bandit_scores import compare
from engine.alpha.bandit_walk import walk
from engine.alpha.coordinator import TRADES, default_engines
from engine.alpha.trade_outcomes import TradeOutcomes
from engine.market.simulator import VERSION, MarketSimulator, Mode

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime.fromisoformat("2022-01-01")
SYMBOLS, BARS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "ADA/USDT"), 13_000
SEEDS = int(os.environ.get("BANDIT_SEEDS", "10"))
FIRST_SEED = 101  # markets 1 to 10 were looked at when the weight of an outcome was settled
CONFIGS = {
    "plain": BanditConfig(forgetting="none"),
    "gamma .99": BanditConfig(gamma=0.99),
    "gamma .998": BanditConfig(),
    "window 400": BanditConfig(forgetting="window", window=400),
}
LEARNED = {"pattern_memory", "agent"}  # need trained models


def regret_table() -> dict[str, dict[str, tuple[float, float]]]:
    """Play every configuration; mean final regret and its standard error."""
    stationary = np.tile([0.6, 0.5, 0.4], (6000, 1))
    switching = np.tile([0.6, 0.4], (6000, 1))
    switching[3000:] = [0.4, 0.6]
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for world, chances in (("stationary", stationary), ("switching", switching)):
        found[world] = {}
        for name, config in CONFIGS.items():
            final = [play(chances, config, seed=seed)[1][-1] for seed in range(12)]
            found[world][name] = (float(np.mean(final)), float(np.std(final, ddof=1) / np.sqrt(12)))
            print(f"{world:>12} {name:>22}: {found[world][name][0]:6.1f} +- {found[world][name][1]:.1f}")
    return found


def market(seed: int, mode: Mode) -> pl.DataFrame:
    """Rows of a simulated market as a walk takes them."""
    cache = os.environ.get("BANDIT_CACHE")
    path = Path(cache) / f"bandit-{VERSION}-{mode}-{seed}-{BARS}.parquet" if cache else None
    if path is not None and path.is_file():
        return pl.read_parquet(path)
    simulated = MarketSimulator(SYMBOLS, seed=seed, mode=mode).simulate(START, BARS)
    rows = market_rows(simulated.candles, simulated.observations, HOUR, regime_refit=180 * DAY).rows
    # A long decided on bar t pays what falls due at the open of t+2, the end of its first bar.
    paid = pl.col("funding").shift(-2).over("symbol", "segment").fill_null(0.0)
    rows = rows.with_columns(paid)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(path)
    return rows


def yearly(mode: Mode) -> tuple[pl.DataFrame, float]:
    """Net return per year of each way to choose on each market, and the seconds of a walk."""
    engines = [engine for engine in default_engines() if engine.name not in LEARNED]
    rows, seconds = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        outcomes = TradeOutcomes.from_frame(market(seed, mode), engines)
        found = compare(outcomes, seed=seed, draws=99)
        years = found.daily.height / 365.0
        totals = dict(found.figures.select("policy", "total").rows())
        for name, config in (CONFIGS | {"plain, weighted": replace(TRADES, forgetting="none")}).items():
            bandit = AlphaEngineBandit(outcomes.engines, config, seed=seed)
            began = time.perf_counter()
            totals[f"bandit, {name}"] = float(walk(outcomes, bandit).daily["net_return"].sum())
            seconds.append(time.perf_counter() - began)
        totals["best fixed"] = totals[f"only {found.best_engine}"]
        turnover = dict(found.figures.select("policy", "turnover").rows())["bandit"] / years
        rows.append({"seed": seed, "turnover": turnover} | {k: v / years for k, v in totals.items()})
        print(f"  {mode} market {seed} done, best alone: {found.best_engine}", file=sys.stderr)
    table = pl.DataFrame(rows)
    alone = [column for column in table.columns if column.startswith("only ")]
    matrix = table.select(alone).to_numpy()
    others = (matrix.sum(axis=0) - matrix).argmax(axis=1)
    return table.with_columns(pl.Series("best before", matrix[np.arange(SEEDS), others])), float(
        np.median(seconds)
    )


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and Student's 95 % interval over markets."""
    half = student.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def report(mode: Mode) -> dict[str, Any]:
    """Print and return the figures of one kind of market."""
    table, seconds = yearly(mode)
    own = table["bandit"].to_numpy()
    mean, low, high = interval(own)
    turnover = float(np.mean(table["turnover"].to_numpy()))
    print(f"{mode}: bandit {mean:+.3f} a year [{low:+.3f}, {high:+.3f}], turnover {turnover:.0f}")
    found: dict[str, Any] = {"bandit": (mean, low, high), "walk_s": seconds}
    for policy in table.columns:
        if policy in ("seed", "turnover", "bandit"):
            continue
        other = table[policy].to_numpy()
        level, (difference, low, high) = float(other.mean()), interval(own - other)
        ratio = f"{difference / level:+.0%}" if level > 0 else "no gain to compare with"
        print(
            f"{policy:>28} {level:+.3f}; bandit less it {difference:+.3f} [{low:+.3f}, {high:+.3f}] {ratio}"
        )
        found[policy] = {"level": level, "difference": (difference, low, high)}
    return found


def main() -> None:
    """Print everything."""
    began = os.getloadavg()[0]
    result: dict[str, Any] = {"regret": regret_table()}
    for mode in ("regimes", "null"):
        result[mode] = report(mode)
    result |= {"seeds": SEEDS, "simulator": VERSION, "load": (began, os.getloadavg()[0])}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
