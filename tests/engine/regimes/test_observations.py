"""Observations of the regime detector: what they mean, and that they never look ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.regimes.observations import OBSERVATIONS, observations

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def candles(
    returns: np.ndarray, symbol: str = "BTC/USDT", first: int = 0, missing: frozenset[int] = frozenset()
) -> pl.DataFrame:
    """Bars that open at the last close; `missing` ones are dropped and the return after them is unknown."""
    close = 100.0 * np.exp(np.cumsum(returns))
    frame = pl.DataFrame(
        {
            "symbol": symbol,
            "ts": [START + (first + k) * HOUR for k in range(len(returns))],
            "open": np.r_[100.0, close[:-1]],
            "close": close,
            "log_return": returns,
        },
        schema_overrides={"ts": pl.Datetime("us")},
    ).with_columns(high=pl.max_horizontal("open", "close"), low=pl.min_horizontal("open", "close"))
    kept = [k for k in range(len(returns)) if k not in missing]
    after_gap = [k == 0 or k - 1 in missing for k in kept]
    return frame[kept].with_columns(log_return=pl.when(~pl.Series(after_gap)).then("log_return"))


def several(seed: int = 0, bars: int = 400) -> pl.DataFrame:
    """Three symbols, one listed later, with a wick beyond the cap every twenty bars."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(4, bars)
    frame = pl.concat(
        candles(0.01 * (common[first:] + rng.standard_t(4, bars - first)), f"{name}/USDT", first)
        for name, first in (("ADA", 0), ("BTC", 0), ("NEW", 250))
    )
    wick = pl.int_range(pl.len()) % 20 == 7
    return frame.with_columns(high=pl.when(wick).then(pl.col("high") * 3.0).otherwise("high"))


@pytest.mark.parametrize("cut", [30, 47, 250, 251, 300, 367])
def test_the_future_changes_nothing(cut: int) -> None:
    full = several()
    end = START + cut * HOUR
    past = observations(full.filter(pl.col("ts") <= end))
    assert_frame_equal(past, observations(full).filter(pl.col("ts") <= end), check_exact=True)


def test_rows_and_columns() -> None:
    frame = several()
    found = observations(frame)
    assert found.columns == ["symbol", "ts", *OBSERVATIONS]
    assert_frame_equal(found.select("symbol", "ts"), frame.select("symbol", "ts"))
    assert not any(found[name].is_nan().any() for name in OBSERVATIONS)


def test_volatility_is_the_log_of_the_average_range() -> None:
    steady = observations(candles(np.where(np.arange(200) % 2, 0.01, -0.01)))
    assert steady["volatility"][-1] == pytest.approx(np.log(0.01), abs=1e-9)


def test_direction_of_a_straight_line_a_walk_and_a_zigzag() -> None:
    rng = np.random.default_rng(1)
    straight = observations(candles(np.full(100, 0.01)))["direction"][-1]
    walk = observations(candles(0.01 * rng.standard_normal(20_000)))["direction"].mean()
    zigzag = observations(candles(np.where(np.arange(100) % 2, 0.01, -0.01)))["direction"][-1]
    assert straight == pytest.approx(np.sqrt(24))
    assert walk == pytest.approx(np.sqrt(2 / np.pi), abs=0.03)
    assert zigzag == pytest.approx(0.0, abs=1e-9)


def test_stress_is_the_average_correlation() -> None:
    rng = np.random.default_rng(2)
    common, own = rng.standard_normal(6_000), rng.standard_normal((3, 6_000))
    frame = pl.concat(
        candles(0.01 * (np.sqrt(0.6) * common + np.sqrt(0.4) * own[k]), f"S{k}/USDT") for k in range(3)
    )
    stress = observations(frame).filter(pl.col("symbol") == "S0/USDT")["stress"]
    assert stress.mean() == pytest.approx(0.6, abs=0.04)


def test_one_symbol_has_no_stress() -> None:
    assert observations(candles(np.full(50, 0.01)))["stress"].null_count() == 50


def test_stress_is_unknown_while_one_symbol_trades() -> None:
    frame = several()
    alone = (pl.col("symbol") == "BTC/USDT") & (pl.col("ts") == START + 200 * HOUR)
    kept = frame.filter((pl.col("ts") != START + 200 * HOUR) | alone)
    assert observations(kept).filter(alone)["stress"].to_list() == [None]


def test_an_outage_blinds_for_no_bar_and_no_range_spans_it() -> None:
    rng = np.random.default_rng(3)
    returns = 0.01 * rng.standard_normal(200)
    returns[120] += 0.5
    found = observations(candles(returns, missing=frozenset(range(100, 121))))
    after = found.filter(pl.col("ts") >= START + 121 * HOUR)
    assert after.height == 79
    assert after.select(pl.col("volatility", "direction").is_not_null().all()).row(0) == (True, True)
    # the price moved by a half while nobody traded: neither observation may know
    assert after["volatility"].max() < np.log(0.03)
    assert after["direction"][0] < np.sqrt(24)


def test_a_bar_without_a_trade_is_unknown_and_a_wick_is_bounded() -> None:
    rng = np.random.default_rng(4)
    frame = candles(0.01 * rng.standard_normal(300)).with_columns(bar=pl.int_range(pl.len()))
    silent = frame.with_columns(
        pl.when(pl.col("bar") == 150).then(99.0).otherwise(name).alias(name)
        for name in ("high", "low", "close")
    ).with_columns(log_return=pl.when(pl.col("bar") == 150).then(0.0).otherwise("log_return"))
    assert observations(silent)["volatility"][150] is None
    usual = observations(frame)["volatility"]
    wick = frame.with_columns(low=pl.when(pl.col("bar") == 150).then(1e-4).otherwise("low"))
    assert observations(wick)["volatility"][150] - usual[150] < np.log(3.0)
    assert abs(observations(wick)["volatility"][250] - usual[250]) < 0.01
