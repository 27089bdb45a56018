"""Observations of every series over some months: late, revised, with holes and impossible values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest

from engine.alternative.series import MARKET_WIDE, SERIES
from engine.alternative.vintages import OBSERVATION_SCHEMA

START = datetime(2024, 1, 1)
EVERY = {"funding": 8, "liquidations": 4, "open_interest": 4, "long_short_ratio": 4, "social": 3}


@cache
def simulated(seed: int, days: int = 130, symbols: tuple[str, ...] = ("A/USDT", "B/USDT")) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    parts = []
    for series in SERIES.values():
        for symbol in (MARKET_WIDE,) if series.name == "fear_greed" else symbols:
            every = EVERY.get(series.table, 24)
            ts = pl.datetime_range(
                START, START + timedelta(days=days), f"{every}h", eager=True, time_unit="us"
            )
            if series.name == "liquidation_print_usd":
                seconds = np.sort(random.choice(days * 86_400, 3 * days, replace=False))
                ts = START + pl.Series(seconds * 1_000_000).cast(pl.Duration("us"))
            high = min(series.upper, 2.0 if series.unit == "ratio" else 1e6)
            value = np.clip(
                max(series.lower, 0.0) + high * np.exp(random.normal(-4.0, 1.5, len(ts))), None, high
            )
            if series.name == "funding_interval_hours":
                value = random.choice([8.0, 4.0], len(ts), p=[0.95, 0.05])
            if series.name == "repository_archived":
                value = np.zeros(len(ts))
            value[random.random(len(ts)) < 0.005] = series.upper + 1.0  # impossible, infinite where unbounded
            value[random.random(len(ts)) < 0.005] = np.nan
            late = (random.gamma(0.5, 60.0, len(ts)) * 60e6).astype(np.int64)
            row = pl.DataFrame(
                {
                    "series": [series.name] * len(ts),
                    "symbol": [symbol] * len(ts),
                    "ts": ts,
                    "available_at": ts + series.lag + pl.Series(late).cast(pl.Duration("us")),
                    "value": value,
                    "source": ["random"] * len(ts),
                },
                schema_overrides=OBSERVATION_SCHEMA,
            )
            again = pl.Series((random.gamma(1.0, 40.0, len(ts)) * 3600e6).astype(np.int64)).cast(
                pl.Duration("us")
            )
            revised = row.with_columns(
                available_at=pl.col("available_at") + again, value=pl.col("value").reverse()
            ).filter(pl.Series(random.random(len(ts)) < 0.3))
            parts += [row.filter(pl.Series(random.random(len(ts)) < 0.99)), revised]
    key = ["series", "symbol", "ts", "available_at"]
    return pl.concat(parts).unique(key, maintain_order=True).sample(fraction=1.0, shuffle=True, seed=seed)


@pytest.fixture(scope="session")
def observed() -> Callable[..., pl.DataFrame]:
    return simulated
