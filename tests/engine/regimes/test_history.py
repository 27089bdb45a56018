"""The walk forward of the regime detector: point in time, and right often enough on simulated markets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.market.simulator import MarketSimulator
from engine.regimes.detector import PROBABILITIES
from engine.regimes.history import walk_forward_regimes
from engine.regimes.names import REGIMES

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
SCHEDULE = {"refit": 30 * DAY, "warmup": 30 * DAY, "lookback": 60 * DAY}


def simulated(seed: int, bars: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    market = MarketSimulator(["BTC/USDT", "ETH/USDT", "SOL/USDT"], HOUR, seed).simulate(START, bars)
    returns = (pl.col("close") / pl.col("close").shift(1)).log().over("symbol")
    return market.candles.with_columns(log_return=returns), market.truth


@pytest.fixture(scope="module")
def candles() -> pl.DataFrame:
    """Four months of three symbols, the last of which is listed after two."""
    frame, _ = simulated(3, 2_900)
    listed = (pl.col("symbol") != "SOL/USDT") | (pl.col("ts") >= START + 60 * DAY)
    return frame.filter(listed)


@pytest.fixture(scope="module")
def regimes(candles: pl.DataFrame) -> pl.DataFrame:
    return walk_forward_regimes(candles, HOUR, **SCHEDULE).rows


@pytest.mark.parametrize("bars", [719, 720, 721, 1_440, 1_441, 1_500, 2_160, 2_500])
def test_the_future_changes_nothing(candles: pl.DataFrame, regimes: pl.DataFrame, bars: int) -> None:
    end = START + bars * HOUR
    past = walk_forward_regimes(candles.filter(pl.col("ts") < end), HOUR, **SCHEDULE).rows
    assert_frame_equal(past, regimes.filter(pl.col("ts") < end), check_exact=True)


def test_nothing_is_known_before_the_first_fit(candles: pl.DataFrame, regimes: pl.DataFrame) -> None:
    assert_frame_equal(regimes.select("symbol", "ts"), candles.select("symbol", "ts"))
    early = regimes.filter(pl.col("ts") < START + 30 * DAY)
    late = regimes.filter(pl.col("ts") >= START + 30 * DAY)
    assert early.select(pl.col(*PROBABILITIES, "regime").is_null().all()).row(0) == (True,) * 4
    assert late.select(pl.col(*PROBABILITIES, "regime").is_not_null().all()).row(0) == (True,) * 4


def test_too_short_a_history_has_no_regimes(candles: pl.DataFrame) -> None:
    short = candles.filter(pl.col("ts") < START + 20 * DAY)
    assert walk_forward_regimes(short, HOUR, **SCHEDULE).rows["regime"].null_count() == short.height
    assert walk_forward_regimes(short.head(0), HOUR, **SCHEDULE).rows.is_empty()
    with pytest.raises(ValueError, match="refit"):
        walk_forward_regimes(short, HOUR, **(SCHEDULE | {"refit": timedelta(0)}))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_better_than_chance_on_simulated_truth(seed: int) -> None:
    candles, truth = simulated(seed, 12_000)
    found = walk_forward_regimes(candles, HOUR, refit=90 * DAY, warmup=180 * DAY, lookback=365 * DAY).rows
    judged = found.drop_nulls("regime").join(truth.select("ts", truth="regime"), on="ts")
    recall = [
        judged.filter(pl.col("truth") == name).select((pl.col("regime") == name).mean()).item()
        for name in REGIMES
    ]
    assert np.mean(recall) >= 0.55
    assert recall[REGIMES.index("PANIC")] >= 0.6
