"""A random market with outages, ragged listings, flat stretches and revised alternative data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.alternative.features import alternative_features
from engine.alternative.series import MARKET_WIDE, SERIES
from engine.market.segments import segments

BAR = timedelta(hours=1)
START = datetime(2024, 1, 1)


def random_candles(seed: int = 0, bars: int = 700, symbols: int = 3, gaps: int = 2) -> pl.DataFrame:
    """Candles as staged: segments and returns inside them; each symbol lists later than the one before."""
    random = np.random.default_rng(seed)
    parts = []
    for index in range(symbols):
        length = bars - 40 * index
        steps = random.standard_t(4, length) * 0.01
        steps[length // 2 : length // 2 + 5] = 0.0
        close = 10.0 ** (3 - 2 * index) * np.exp(np.cumsum(steps))
        open_ = np.r_[close[0], close[:-1]] * np.exp(random.normal(0, 0.001, length))
        spread = np.exp(np.abs(random.normal(0, 0.004, (2, length))))
        volume = random.gamma(2.0, 50.0, length)
        volume[random.integers(0, length, 3)] = 0.0
        keep = np.ones(length, dtype=bool)
        for start in random.integers(1, length - 5, gaps):
            keep[start : start + random.integers(1, 4)] = False
        moments = [START + (40 * index + i) * BAR for i in range(length)]
        part = pl.DataFrame(
            {
                "symbol": [f"S{index}/USDT"] * length,
                "ts": pl.Series(moments, dtype=pl.Datetime("us")),
                "open": open_,
                "high": np.maximum(open_, close) * spread[0],
                "low": np.minimum(open_, close) / spread[1],
                "close": close,
                "volume": volume,
            }
        )
        parts.append(part.filter(pl.Series(keep)))
    candles = pl.concat(parts)
    candles = candles.with_columns(segments(candles, BAR))
    return candles.with_columns(
        known_at=pl.col("ts") + BAR, log_return=pl.col("close").log().diff().over("symbol", "segment")
    )


def random_observations(candles: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """Observations of every series over the span of the candles, published late and partly revised."""
    random = np.random.default_rng(seed + 1)
    first, last = candles["ts"].min(), candles["ts"].max()
    hours = {"funding": 8, "liquidations": 4, "open_interest": 4, "long_short_ratio": 4, "social": 1}
    parts = []
    for series in SERIES.values():
        ts = pl.datetime_range(first, last, f"{hours.get(series.table, 24)}h", eager=True, time_unit="us")  # type: ignore[arg-type]
        for symbol in [MARKET_WIDE] if series.name == "fear_greed" else candles["symbol"].unique().sort():
            low, high = max(series.lower, 0.0), min(series.upper, 1e6)
            value = low + (high - low) * random.beta(2, 5, len(ts))
            delay = (random.gamma(1.0, 20.0, len(ts)) * 60e6).astype(np.int64)
            row = pl.DataFrame(
                {
                    "series": [series.name] * len(ts),
                    "symbol": [symbol] * len(ts),
                    "ts": ts,
                    "available_at": ts + series.lag + pl.Series(delay).cast(pl.Duration("us")),
                    "value": value,
                    "source": ["random"] * len(ts),
                }
            )
            revised = row.filter(pl.Series(random.random(len(ts)) < 0.3)).with_columns(
                available_at=pl.col("available_at") + timedelta(hours=5), value=low + (high - low) * 0.3
            )
            parts += [row.filter(pl.Series(random.random(len(ts)) < 0.97)), revised]
    return pl.concat(parts).unique(["series", "symbol", "ts", "available_at"], maintain_order=True)


def joined(candles: pl.DataFrame, observations: pl.DataFrame) -> pl.DataFrame:
    """Candles with the alternative features of each bar."""
    wide = alternative_features(candles, observations, BAR)
    return candles.join(wide, on=["symbol", "ts"], how="left", maintain_order="left")


@pytest.fixture(scope="session")
def market() -> Callable[..., pl.DataFrame]:
    """Make a random market: candles joined with alternative features."""

    def make(seed: int = 0, bars: int = 700, symbols: int = 3, gaps: int = 2) -> pl.DataFrame:
        candles = random_candles(seed, bars, symbols, gaps)
        return joined(candles, random_observations(candles, seed))

    return make


@pytest.fixture(scope="session")
def raw_market() -> Callable[..., dict[str, pl.DataFrame]]:
    """Make a random market as its two sources: ``candles`` and ``observations``."""

    def make(seed: int = 0, bars: int = 700, symbols: int = 3, gaps: int = 2) -> dict[str, pl.DataFrame]:
        candles = random_candles(seed, bars, symbols, gaps)
        return {"candles": candles, "observations": random_observations(candles, seed)}

    return make
