"""The markets that `benchmarks.rl` trains on, and how a policy is judged on them."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.agents.environment import EnvironmentConfig
from engine.agents.outcomes import outcomes
from engine.agents.tape import MarketTape
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler
from engine.market.simulator import MarketSimulator
from engine.regimes.names import REGIME_COLUMNS

Floats = NDArray[np.float64]

START, BARS, TRAIN_SHARE, STRETCH = datetime.fromisoformat("2021-01-01"), 16_000, 0.7, 240
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
SPANS = (3, 12, 48, 168)


def noise_market(bars: int = 50_000, window: int = 30, features: int = 20, seed: int = 23) -> MarketTape:
    """Lay the peers' market out as a tape: windows of noise, a little of the next return in one column."""
    r = np.random.default_rng(seed)
    returns = r.standard_t(4, bars).astype(np.float32) * 0.004
    table = r.standard_normal((bars, features)).astype(np.float32)
    table[:, 0] = np.r_[returns[1:], 0] * 50 + r.standard_normal(bars) * 0.5
    x = np.lib.stride_tricks.sliding_window_view(table, window, axis=0).transpose(0, 2, 1).reshape(-1, 600)
    n = len(x)
    growth = np.r_[returns[window:], np.nan, np.nan][:n].astype(np.float64)
    left = np.maximum(np.arange(n, 0, -1) - 2, 0).astype(np.int32)
    return MarketTape(
        symbols=("NOISE",),
        features=tuple(f"f{i}" for i in range(x.shape[1])),
        symbol=np.zeros(n, np.int16),
        ts=np.datetime64(START, "us") + np.arange(n) * np.timedelta64(1, "h"),
        run=np.zeros(n, np.int32),
        x=np.ascontiguousarray(x),
        growth=np.where(left > 0, growth, np.nan),
        funding=np.zeros(n),
        scale=np.full(n, 0.004),
        p_regime=np.full((n, 3), 1 / 3, np.float32),
        regime=np.full(n, -1, np.int8),
        decisions_left=left,
        synthetic=np.zeros(n, bool),
    )


def simulated_market(seed: int) -> tuple[MarketTape, MarketTape]:
    """Train and later judge on four simulated symbols, with sixteen features of their candles.

    The later part is cut into stretches that are each walked from flat.
    """
    candles = MarketSimulator(SYMBOLS, seed=seed).simulate(START, BARS).candles
    parts = [_with_features(part) for part in candles.partition_by("symbol", maintain_order=True)]
    rows = pl.concat(parts)
    names = [f"{kind}_{w}" for kind in ("drift", "efficiency", "gap", "restless") for w in SPANS]
    split = START + timedelta(hours=int(BARS * TRAIN_SHARE))
    scaler = Scaler.fit(rows, names, Window(START, split))
    tape = MarketTape.from_frame(rows, names, scaler)
    end = START + timedelta(hours=BARS)
    return tape.between(START, split), tape.between(split, end).episodes(STRETCH)


def _with_features(candles: pl.DataFrame) -> pl.DataFrame:
    r = pl.col("open").log().diff()
    rows = candles.with_columns(
        segment=pl.lit(0),
        volatility=r.rolling_std(168).clip(lower_bound=1e-5),
        **dict.fromkeys(REGIME_COLUMNS, pl.lit(1 / 3)),
        **{f"drift_{w}": (pl.col("close") / pl.col("open").shift(w - 1)).log() for w in SPANS},
        **{f"efficiency_{w}": r.rolling_sum(w).abs() / r.abs().rolling_sum(w) for w in SPANS},
        **{f"gap_{w}": (pl.col("close") / pl.col("close").rolling_mean(w)).log() for w in SPANS},
        **{f"restless_{w}": r.rolling_std(w).log() for w in SPANS},
    )
    per_deviation = [
        pl.col(f"{kind}_{w}") / pl.col("volatility") / w**0.5 for kind in ("drift", "gap") for w in SPANS
    ]
    return rows.with_columns(per_deviation)[168:]


def judged(tape: MarketTape, positions: Floats, config: EnvironmentConfig) -> float:
    """Mean reward per decision of positions on every row."""
    return float(np.mean(outcomes(tape, positions, config).reward[tape.decisions_left > 0]))
