"""Sixty rolling features of 500,000 bars: the recipe beside hand-written Polars, pandas, DuckDB and TA-Lib.

Run from the project root: ``python -m benchmarks.features`` runs every contender, each in its own process,
and prints one line of JSON; ``python -m benchmarks.features NAME ...`` only those named. Peers are skipped
where their scripts or packages are absent.

- ``recipe``: rows/s of `FeatureRecipe.compute`, largest relative difference from the hand-written expressions
- ``beside_handwritten``: the two in turns in one process; ratios above 1 where the recipe is faster
- ``growth``: seconds at 125k, 250k and 500k rows, and how much longer the last takes per row than the first
- ``one_bar``: milliseconds to bring ten symbols up to date by one bar
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from engine.features.catalogue import CATALOGUE
from engine.features.causality import look_back
from engine.features.recipe import Feature, FeatureRecipe

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers"
SYMBOLS, BARS, WINDOWS, REPEATS = 10, 50_000, (5, 14, 20, 50, 100, 200), 5


def recipe() -> FeatureRecipe:
    """Declare ten features over six windows each."""
    close, change = pl.col("close"), pl.col("close") - pl.col("close").shift(1)
    blocks = {
        "price_change": change.abs(),
        "true_range": pl.max_horizontal(
            pl.col("high") - pl.col("low"),
            (pl.col("high") - close.shift(1)).abs(),
            (pl.col("low") - close.shift(1)).abs(),
        ),
    }
    features = []
    for w in WINDOWS:
        forgets = look_back(close.ewm_mean(span=w, adjust=False))
        definitions = {
            f"ret{w}": (close / close.shift(w) - 1.0, w),
            f"mean{w}": (close.rolling_mean(w), w),
            f"std{w}": (close.rolling_std(w), w),
            f"min{w}": (close.rolling_min(w), w),
            f"max{w}": (close.rolling_max(w), w),
            f"z{w}": ((close - pl.col(f"mean{w}")) / pl.col(f"std{w}"), w),
            # Rises less falls is the change over the window, rises plus falls the sum of absolute changes.
            f"rsi{w}": (50.0 + 50.0 * (close - close.shift(w)) / pl.col("price_change").rolling_sum(w), w),
            f"atr{w}": (pl.col("true_range").rolling_mean(w), w),
            f"ema{w}": (close.ewm_mean(span=w, adjust=False), forgets),
            f"dist{w}": (close / pl.col(f"ema{w}") - 1.0, forgets),
        }
        features += [Feature(name, expr, warmup, "", "") for name, (expr, warmup) in definitions.items()]
    return FeatureRecipe(tuple(features), blocks=blocks)


def handwritten() -> list[pl.Expr]:
    """Return the same features as one writes them by hand."""
    close, before = pl.col("close"), pl.col("close").shift(1)
    change = close - before
    up, down = change.clip(lower_bound=0), (-change).clip(lower_bound=0)
    true_range = pl.max_horizontal(
        pl.col("high") - pl.col("low"), (pl.col("high") - before).abs(), (pl.col("low") - before).abs()
    )
    out = []
    for w in WINDOWS:
        mean, std = close.rolling_mean(w), close.rolling_std(w)
        ema = close.ewm_mean(span=w, adjust=False)
        gain, loss = up.rolling_mean(w), down.rolling_mean(w)
        out += [
            (close / close.shift(w) - 1).alias(f"ret{w}"),
            mean.alias(f"mean{w}"),
            std.alias(f"std{w}"),
            close.rolling_min(w).alias(f"min{w}"),
            close.rolling_max(w).alias(f"max{w}"),
            ((close - mean) / std).alias(f"z{w}"),
            (100 * gain / (gain + loss)).alias(f"rsi{w}"),
            true_range.rolling_mean(w).alias(f"atr{w}"),
            ema.alias(f"ema{w}"),
            (close / ema - 1).alias(f"dist{w}"),
        ]
    return out


def by_partition(frame: pl.DataFrame) -> pl.DataFrame:
    """Compute the hand-written expressions symbol by symbol, the fastest plain way."""
    expressions = handwritten()
    parts = frame.partition_by("symbol", maintain_order=True)
    return pl.concat(pl.collect_all([part.lazy().with_columns(expressions) for part in parts]))


def candles(bars: int = BARS) -> pl.DataFrame:
    """Simulate candles of ten symbols without a gap."""
    random = np.random.default_rng(7)
    shape = (SYMBOLS, bars)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.004, shape), axis=1) * 0.3)
    open_ = np.roll(close, 1, axis=1)
    open_[:, 0] = 100
    spread = np.abs(random.normal(0, 0.002, shape)) * close
    return pl.DataFrame(
        {
            "symbol": np.repeat(np.arange(SYMBOLS, dtype=np.int16), bars),
            "ts": np.tile(np.arange(bars), SYMBOLS),
            "segment": np.zeros(SYMBOLS * bars, dtype=np.int64),
            "open": open_.ravel(),
            "high": (np.maximum(open_, close) + spread).ravel(),
            "low": (np.minimum(open_, close) - spread).ravel(),
            "close": close.ravel(),
            "volume": random.gamma(2, 50, SYMBOLS * bars),
        }
    )


def seconds(call: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Wall seconds of each call after an uncounted one."""
    call()
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        out.append(time.perf_counter() - start)
    return out


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest, to four significant digits."""
    return {
        name: float(f"{figure(values):.4g}")
        for name, figure in (("median", statistics.median), ("min", min), ("max", max))
    }


def run_recipe() -> dict[str, Any]:
    """Speed of the recipe and its agreement with the hand-written expressions."""
    frame, ours = candles(), recipe()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    secs = seconds(lambda: ours.compute(frame))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    computed, by_hand = ours.compute(frame), by_partition(frame)
    worst = 0.0
    for name in ours.columns:
        one, other = computed[name].to_numpy(), by_hand[name].to_numpy()
        known = np.isfinite(one)
        scale = np.maximum(np.abs(other[known]), 1e-3)
        worst = max(worst, float(np.max(np.abs(one[known] - other[known]) / scale)))
    return {
        "rows_per_s": spread([frame.height / s for s in secs]),
        "columns": len(ours.columns),
        "largest_relative_difference": worst,
        "peak_mb_above_data": round((peak - before) / 1024),
    }


def run_beside_handwritten() -> dict[str, Any]:
    """Recipe and hand-written Polars in turns, so that both meet the same load."""
    frame, ours = candles(), recipe()
    calls: dict[str, Callable[[], object]] = {
        "recipe": lambda: ours.compute(frame),
        "handwritten": lambda: by_partition(frame),
    }
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(2 * REPEATS + 1):
        for name, call in calls.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            call()
            if turn:
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - start_cpu)
    return {
        "rows_per_s": {name: spread([frame.height / s for s in secs]) for name, secs in wall.items()},
        "speed_ratio": spread([h / r for h, r in zip(wall["handwritten"], wall["recipe"], strict=True)]),
        "cpu_ratio": spread([h / r for h, r in zip(cpu["handwritten"], cpu["recipe"], strict=True)]),
    }


def run_growth() -> dict[str, Any]:
    """Seconds against rows."""
    ours = recipe()
    out: dict[str, Any] = {}
    for bars in (BARS // 4, BARS // 2, BARS):
        frame = candles(bars)
        out[f"s_at_{SYMBOLS * bars}"] = spread(seconds(partial(ours.compute, frame)))
    first, *_, last = out.values()
    return {**out, "per_row_last_over_first": round(last["min"] / first["min"] / 4, 3)}


def run_one_bar() -> dict[str, Any]:
    """Milliseconds for one new bar of every symbol, with as much history as the longest warm-up."""
    ours, out = recipe(), {}
    frame = candles(ours.warmup + 1)
    out["sixty_features_ms"] = spread([1e3 * s for s in seconds(lambda: ours.latest(frame), 20)])
    bars = candles(CATALOGUE.warmup + 1)
    absent = [name for name in CATALOGUE.inputs if name not in bars.columns]
    bars = bars.with_columns(
        (pl.datetime(2024, 1, 1, time_unit="us") + pl.duration(hours="ts")).alias("ts"),
        *(pl.lit(0.01).alias(name) for name in absent),
    )
    out["catalogue_ms"] = spread([1e3 * s for s in seconds(lambda: CATALOGUE.latest(bars), 20)])
    return out


def peer(name: str) -> Callable[[], dict[str, Any]]:
    """Return a contender out of the peers' own script."""

    def run() -> dict[str, Any]:
        sys.path.insert(0, str(PEERS))
        module_path = PEERS / "features.py"
        if not module_path.is_file():
            raise ImportError(f"{module_path} is not there")
        spec = importlib.util.spec_from_file_location("peers_features", module_path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return dict(getattr(module, name)())

    return run


CONTENDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "recipe": run_recipe,
    "beside_handwritten": run_beside_handwritten,
    "growth": run_growth,
    "one_bar": run_one_bar,
    **{
        name: peer(name)
        for name in ("polars_partition", "polars_over", "pandas_rolling", "duckdb_windows", "talib_functions")
    },
}


def main() -> None:
    """Run the contenders that are named, or all."""
    wanted = sys.argv[1:]
    if wanted[:1] == ["--one"]:
        try:
            figures = CONTENDERS[wanted[1]]()
        except ImportError as error:
            figures = {"skipped": str(error)}
        figures["load_1min"] = round(os.getloadavg()[0], 1)
        print("RESULT " + json.dumps(figures))
        return
    result: dict[str, Any] = {"benchmark": "features", "cpus": os.cpu_count(), "rows": SYMBOLS * BARS}
    for name in wanted or CONTENDERS:
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.features", "--one", name],
            cwd=Path(__file__).resolve().parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line[7:] for line in process.stdout.splitlines() if line.startswith("RESULT ")]
        result[name] = (
            json.loads(lines[-1]) if lines else {"failed": process.stderr.strip().splitlines()[-1:]}
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
