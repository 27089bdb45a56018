"""Synthetic tables and PANIC windows: which part makes them hard to tell from real ones.

Run from the project root: ``python -m benchmarks.synthetic`` runs every contender, each in its own process,
and prints a table and a line of JSON for each; ``python -m benchmarks.synthetic NAME ...`` only those named.

``table NAME``: 5,000 rows of 20 skewed, heavy-tailed columns and a category, judged against held-out rows by
the peers' own script (skipped where that is absent), in random order: its classifier's folds are consecutive
rows, so that a sample sorted by category, of real rows too, looks better than it is. Three seeds; ``real`` is
the limit.

``windows NAME``: windows of 30 bars that open in a simulated PANIC, the first half of the episodes to learn
from, the rest to be judged by; see `engine.synthetic.validation` for the tests and how thresholds are set.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from engine.market.simulator import MarketSimulator
from engine.synthetic.block_bootstrap import BlockBootstrap
from engine.synthetic.ctgan_generator import CTGANGenerator
from engine.synthetic.ctgan_table import CTGANTable
from engine.synthetic.validation import RealWindows
from engine.synthetic.vine_copula import VineCopulaGenerator
from engine.synthetic.window_generator import WindowGenerator
from engine.synthetic.windows import PanicWindows, panic_windows

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers"
ROWS, SEEDS, LIMIT_S = 5_000, 3, 3_600
REGIMES = ("trend", "range", "panic")

TABLES: dict[str, Callable[[], CTGANTable]] = {
    "ours": CTGANTable,
    "ours without resampling": lambda: CTGANTable(candidates=1),
    "ours without ctgan": lambda: CTGANTable(updates=0),
    "copula alone": lambda: CTGANTable(updates=0, candidates=1),
}
WINDOWS: dict[str, Callable[[], WindowGenerator]] = {
    "ctgan": CTGANGenerator,
    "ctgan without resampling": lambda: CTGANGenerator(candidates=1),
    "ctgan without ctgan": lambda: CTGANGenerator(components=0),
    "copula alone": lambda: CTGANGenerator(components=0, candidates=1),
    "vine copula": VineCopulaGenerator,
    "block bootstrap": BlockBootstrap,
}


def peers() -> ModuleType:
    """Return the peers' script, which holds the table and its judge."""
    path = PEERS / "synthetic.py"
    if not path.is_file():
        raise FileNotFoundError(f"the peers' script is not at {path}")
    sys.path.insert(0, str(PEERS))
    spec = importlib.util.spec_from_file_location("peers_synthetic", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judged(script: ModuleType, table: pd.DataFrame) -> dict[str, float]:
    """Judge rows in random order."""
    order = np.random.default_rng(0).permutation(len(table))
    figures: dict[str, float] = script.quality(table.iloc[order].reset_index(drop=True), script.table(1))
    return figures


def of_table(name: str) -> list[dict[str, Any]]:
    """Fit a synthesiser of rows with each seed and judge what it draws."""
    script = peers()
    if name == "real":
        return [judged(script, script.table(3))]
    train = script.table(1)
    columns = [column for column in train if column != "regime"]
    rows = train[columns].to_numpy()
    categories = train["regime"].map({regime: k for k, regime in enumerate(REGIMES)}).to_numpy()
    results = []
    for seed in range(SEEDS):
        began, cpu = time.perf_counter(), time.process_time()
        if name == "ctgan out of the box":
            drawn = out_of_the_box(train, seed)
        else:
            model = TABLES[name]().fit(rows, categories, seed)
        spent = {"fit_s": time.perf_counter() - began, "fit_cpu_s": time.process_time() - cpu}
        if name != "ctgan out of the box":
            values, labels = model.sample(ROWS, seed + 100)
            drawn = pd.DataFrame(values, columns=columns).assign(regime=np.array(REGIMES)[labels])
        results.append({"seed": seed} | judged(script, drawn) | spent)
    return results


def out_of_the_box(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Sample CTGAN as its documentation has it, for as many epochs as the peers' script."""
    from ctgan import CTGAN

    model = CTGAN(epochs=100, enable_gpu=False)
    model.set_random_state(seed)
    model.fit(train, ["regime"])
    drawn: pd.DataFrame = model.sample(ROWS)
    return drawn


def simulated_panic(bars: int = 30_000, stride: int = 15) -> PanicWindows:
    """Windows of a simulated market that open when its true regime is PANIC."""
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"]
    market = MarketSimulator(symbols, seed=7).simulate(datetime(2020, 1, 1), bars)  # noqa: DTZ001
    change = (pl.col("close") / pl.col("close").shift(1).over("symbol")).log()
    candles = market.candles.with_columns(segment=pl.lit(0), log_return=change)
    regimes = candles.select("symbol", "ts").join(market.truth.select("ts", "regime"), on="ts", how="left")
    return panic_windows(candles, regimes.sort("symbol", "ts"), datetime(2100, 1, 1), stride=stride)  # noqa: DTZ001


def of_windows(name: str) -> list[dict[str, Any]]:
    """Fit a generator of windows and run every test of the validation on what it draws."""
    windows = simulated_panic()
    episodes = np.unique(windows.episode)
    early = np.isin(windows.episode, episodes[: len(episodes) // 2])
    train = windows.values[early]
    groups = np.concatenate([windows.episode[early], windows.episode[~early]])
    real = RealWindows(train, windows.values[~early], groups, 0)
    if name == "threshold":
        return [{test: float(value) for test, value in real.thresholds.items()}]
    results = []
    for seed in range(SEEDS):
        began, cpu = time.perf_counter(), time.process_time()
        generator = WINDOWS[name]().fit(train, seed)
        spent = {"fit_s": time.perf_counter() - began, "fit_cpu_s": time.process_time() - cpu}
        report = real.judge(generator.sample(len(train), seed + 100))
        distances = {result.test: result.distance for result in report.results}
        results.append({"seed": seed, "failed": ", ".join(report.failures)} | distances | spent)
    return results


CONTENDERS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    **{f"table {name}": of_table for name in ("real", *TABLES, "ctgan out of the box")},
    **{f"windows {name}": of_windows for name in ("threshold", *WINDOWS)},
}


def run_one(name: str) -> None:
    """Run one contender in this process and print its figures."""
    try:
        found: dict[str, Any] = {"runs": CONTENDERS[name](name.split(" ", 1)[1])}
    except FileNotFoundError as error:
        found = {"skipped": str(error)}
    print("RESULT " + json.dumps({name: found | {"load_1min": round(os.getloadavg()[0], 1)}}))


def show(result: dict[str, Any]) -> None:
    """Print the runs of a contender as a table."""
    for name, found in result.items():
        print(f"{name} (load {found['load_1min']})")
        with pl.Config(tbl_cols=-1, tbl_width_chars=250, tbl_hide_dataframe_shape=True, float_precision=3):
            print(pl.DataFrame(found["runs"]) if "runs" in found else f"  skipped: {found['skipped']}")


def main() -> None:
    """Run the contenders named, or all."""
    if sys.argv[1:2] == ["--one"]:
        run_one(sys.argv[2])
        return
    unknown = sorted(set(sys.argv[1:]) - CONTENDERS.keys())
    if unknown:
        raise SystemExit(f"{unknown} are no contenders; there are {sorted(CONTENDERS)}")
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    for name in sys.argv[1:] or CONTENDERS:
        command = [sys.executable, "-m", "benchmarks.synthetic", "--one", name]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        lines = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if not lines:
            raise SystemExit(f"{name} failed: {done.stderr[-2000:]}")
        show(json.loads(lines[-1]))
        print(lines[-1], flush=True)


if __name__ == "__main__":
    main()
