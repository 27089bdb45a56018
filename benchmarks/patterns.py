"""Whether windows found alike were in the same regime: the encoder beside distances of plain features.

Run from the project root: ``python -m benchmarks.patterns``; ``python -m benchmarks.patterns SEED ...`` takes
other markets than the default five. Prints a table and one line of JSON.

A market has four symbols and 13 000 hourly bars. Encoder, scaler, and components are fitted on the first
60 %; windows of the rest, every 19 bars, are the queries. Each contender searches the same past, without
overlap with the query's window, its outcome and an embargo of 6 bars, and takes ten neighbours in ten
disjoint stretches of time. Score: the share of them whose last bar was in the query's true regime. The
interval is Student's over the markets, of the difference to the contender within the same market.

- ``raw``: Euclidean distance of the scaled windows, all 50 channels
- ``raw candles``: of the channels made of candles alone, which the encoder sees
- ``last bar``: of the 50 features of the last bar
- ``pca``: 128 principal components of the windows
- ``hand-made``: volatility, drift, largest move and late drift of the window, volatility across symbols
- ``untrained``: the encoder at its initial weights
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.decomposition import PCA

from engine.agents.market_rows import market_rows
from engine.evaluation.splits import Window
from engine.features.catalogue import CATALOGUE
from engine.features.labels import labels
from engine.market.simulator import MarketSimulator
from engine.patterns.embedding_quality import effective_rank, uniformity
from engine.patterns.encoder import TransformerPatternMatcher
from engine.patterns.features import STRIDE, pattern_features, remember
from engine.patterns.memory import MemoryStore
from engine.patterns.model import train_pattern_model
from engine.patterns.windows import CANDLE_CHANNELS, LENGTH, PatternWindows

__all__ = ["precision", "rows_with_truth"]

Floats = NDArray[np.float32]
HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)  # noqa: DTZ001  (moments in frames are UTC without a zone)
SYMBOLS = ["BTC/USDT", "ETH/USDT", "BNB/USDT", "SOL/USDT"]
SEEDS = (11, 12, 13, 14, 15)
BARS, TRAINED, EVERY, TOP_K, HORIZON, EMBARGO = 13_000, 0.6, 19, 10, 24, 6
TIMES = ("train_seconds", "embed_seconds", "features_seconds")


def rows_with_truth(seed: int, bars: int = BARS, symbols: Sequence[str] = SYMBOLS) -> pl.DataFrame:
    """Simulate the rows of a market, with the true regime in place of the filtered one."""
    market = MarketSimulator(symbols, HOUR, seed).simulate(START, bars)
    rows = market_rows(market.candles, market.observations, HOUR).rows.drop("regime")
    return rows.join(market.truth.select("ts", "regime"), on="ts", how="left", maintain_order="left")


def precision(
    rows: pl.DataFrame, windows: PatternWindows, ends: NDArray[np.int64], points: Floats, cut: datetime
) -> float:
    """Share of neighbours in the query's true regime, over queries whose window opens after the cut."""
    remembered = windows.every(STRIDE)
    outcome = labels(rows, HORIZON)
    place = np.searchsorted(ends, remembered)
    memory = MemoryStore.of(windows, remembered, points[place], outcome, embargo=EMBARGO)
    truth = dict(rows.select("ts", "regime").unique("ts").iter_rows())
    regime = np.array([truth[moment] for moment in memory.ts.tolist()])
    queries = np.flatnonzero(windows.ts[ends] >= np.datetime64(cut + (LENGTH + HORIZON + EMBARGO) * HOUR))
    queries = queries[(windows.ts[ends[queries]].astype("datetime64[h]").astype(np.int64) % EVERY) == 0]
    found = memory.search(points[queries], windows.ts[ends[queries]], TOP_K)
    asked = np.array([truth[moment] for moment in windows.ts[ends[queries]].tolist()])
    return float((regime[found.index] == asked[:, None])[found.index >= 0].mean())


def hand_made(rows: pl.DataFrame, ends: NDArray[np.int64], trained: NDArray[np.bool_]) -> Floats:
    """Five features of a window that a person would compare it by, standardised on the training rows."""
    returns = rows["log_return"].fill_null(0.0)
    made = rows.select(
        ts="ts",
        spread=returns.rolling_std(LENGTH).log(),
        drift=returns.rolling_mean(LENGTH) / returns.rolling_std(LENGTH),
        largest=returns.abs().rolling_max(LENGTH) / returns.rolling_std(LENGTH),
        late=returns.rolling_mean(10) / returns.rolling_std(LENGTH),
    ).with_columns(market=pl.col("spread").mean().over("ts"))
    values = made.drop("ts").to_numpy()[ends]
    return ((values - values[trained].mean(axis=0)) / values[trained].std(axis=0)).astype(np.float32)


def contenders(rows: pl.DataFrame, windows: PatternWindows, cut: datetime) -> dict[str, Floats]:
    """Points of every window by each contender but the encoder."""
    ends = windows.ends
    trained = windows.ts[ends] < np.datetime64(cut)
    raw = windows.batch(ends)
    flat = raw.reshape(len(raw), -1)
    components = PCA(128, random_state=0).fit(flat[trained][::7])
    untrained = TransformerPatternMatcher(len(CATALOGUE.columns), channels=CANDLE_CHANNELS, seed=1)
    return {
        "raw": flat,
        "raw candles": np.ascontiguousarray(raw[:, :, CANDLE_CHANNELS]).reshape(len(raw), -1),
        "last bar": np.ascontiguousarray(raw[:, -1]),
        "pca": components.transform(flat).astype(np.float32),
        "hand-made": hand_made(rows, ends, trained),
        "untrained": untrained.encode_all(windows),
    }


def study(seed: int) -> dict[str, float]:
    """Score all on one market, and time the encoder's work."""
    rows = rows_with_truth(seed)
    cut = START + int(TRAINED * BARS) * HOUR
    started = time.perf_counter()
    model, report = train_pattern_model(rows, Window(START, cut), HOUR, seed=seed)
    trained = time.perf_counter()
    windows = model.windows(rows, HOUR)
    points = model.encoder.encode_all(windows)
    embedded = time.perf_counter()
    memory = remember(model, windows, labels(rows, HORIZON), embargo=EMBARGO)
    pattern_features(model, windows, memory)
    done = time.perf_counter()
    judged = points[windows.ts[windows.ends] >= np.datetime64(cut)][::11]
    scores = {"encoder": precision(rows, windows, windows.ends, points, cut)}
    for name, others in contenders(rows, windows, cut).items():
        scores[name] = precision(rows, windows, windows.ends, others, cut)
    return {
        **scores,
        "rank": effective_rank(judged),
        "rank_centred": effective_rank(judged - judged.mean(axis=0)),
        "uniformity": uniformity(judged[:2000]),
        "loss_start": report.start,
        "loss": dict(report.checks)[report.best_step],
        "chance": report.chance,
        **dict(zip(TIMES, (trained - started, embedded - trained, done - embedded), strict=True)),
        "load": os.getloadavg()[0],
    }


def interval(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and its 95 % interval over seeds."""
    n, mean = len(differences), float(differences.mean())
    half = float(student.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return mean, mean - half, mean + half


def main(seeds: tuple[int, ...]) -> None:
    """Run every seed and print what they give."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    results = []
    for seed in seeds:
        results.append(study(seed))
        print(seed, {name: round(value, 3) for name, value in results[-1].items()}, flush=True)
    table = pl.DataFrame(results)
    print(f"\nprecision@{TOP_K}, mean of {len(seeds)} markets, and the encoder's lead with its 95 % interval")
    summary = {}
    for name in ("encoder", "raw", "raw candles", "last bar", "pca", "hand-made", "untrained"):
        mean, low, high = interval((table["encoder"] - table[name]).to_numpy())
        summary[name] = {"precision": table[name].to_numpy().mean(), "lead": mean, "low": low, "high": high}
        print(f"{name:12s} {summary[name]['precision']:.3f}   {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    print(json.dumps({"seeds": seeds, "summary": summary, "runs": results}))


if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or SEEDS)
