"""The market without structure: nothing known at a moment tells anything about the returns that follow."""

from __future__ import annotations

from datetime import datetime
from functools import cache

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from engine.market.regime_path import market_path
from engine.market.simulator import MarketSimulator, Mode
from engine.market.stylized_facts import autocorrelation, past_returns

BARS, SEEDS = 20_000, range(6)
CONSTANT = ("funding_interval_hours", "repository_archived")
START = datetime(2022, 1, 1)


def known_at_midnight(seed: int, mode: Mode) -> tuple[pl.DataFrame, np.ndarray]:
    """What is known at each midnight (latest period, latest vintage), and the next day's simple return."""
    market = MarketSimulator(["BTC/USDT"], seed=seed, mode=mode).simulate(START, BARS)
    midnights = market.candles.filter(pl.col("ts").dt.hour() == 0).select("ts")
    known = midnights
    for (name,), rows in market.observations.group_by("series", maintain_order=True):
        newest = rows.with_columns(pl.col("ts").cum_max().alias("latest")).sort("available_at")
        column = newest.select(pl.col("available_at").alias("ts"), pl.col("value").alias(name))
        known = known.join_asof(column, on="ts")
    returns = np.diff(np.log(market.candles["close"].to_numpy()), prepend=np.nan)
    returns[0] = 0.0
    at = np.arange(len(midnights)) * 24
    known = known.with_columns(
        day=past_returns(returns, 24)[at],
        week=past_returns(returns, 168)[at],
        month=past_returns(returns, 720)[at],
        net_flow=pl.col("exchange_inflow") / pl.col("exchange_outflow"),
        forced=pl.col("liquidations_long_usd") / pl.col("liquidations_short_usd"),
        # Levels of what moves with the price are ranked low before rises in any sample (Stambaugh 1999).
        exchange_inflow=pl.col("exchange_inflow").log().diff(),
        exchange_outflow=pl.col("exchange_outflow").log().diff(),
        open_interest_usd=pl.col("open_interest_usd").log().diff(),
    )
    ahead = np.append(past_returns(returns, 24)[24:], np.full(24, np.nan))[at]
    sound = known.drop("ts").select(~pl.any_horizontal(pl.all().is_null() | pl.all().is_nan())).to_series()
    keep = sound.to_numpy() & ~np.isnan(ahead)
    return known.filter(pl.Series(keep)), np.expm1(ahead[keep])


@cache
def correlations(mode: Mode) -> tuple[dict[str, float], int]:
    """Rank correlation of each thing known with the next day's return, over all seeds; number of days."""
    by_name: dict[str, list[np.ndarray]] = {}
    ranks = []
    for seed in SEEDS:
        known, ahead = known_at_midnight(seed, mode)
        ranks.append(rankdata(ahead) / len(ahead))
        for column in known.drop("ts", *CONSTANT).get_columns():
            by_name.setdefault(column.name, []).append(rankdata(column.to_numpy()) / len(ahead))
    target = np.concatenate(ranks)
    found = {name: float(np.corrcoef(np.concatenate(x), target)[0, 1]) for name, x in by_name.items()}
    return found, len(target)


def test_nothing_known_predicts_the_next_day() -> None:
    found, days = correlations("null")
    assert len(found) == 18
    assert days > 4000
    assert max(np.abs(list(found.values()))) < 4 / np.sqrt(days)


def test_the_same_test_finds_the_structure_of_the_other_mode() -> None:
    found, days = correlations("regimes")
    assert found["week"] > 4 / np.sqrt(days)


def test_no_drift_in_any_regime() -> None:
    paths = [market_path(seed, 100_000, "null") for seed in range(5)]
    regime = np.concatenate([path.regime for path in paths])
    simple = np.expm1(np.concatenate([path.factor_return for path in paths]))
    for number in range(3):
        inside = simple[regime == number]
        assert abs(inside.mean()) < 4 * inside.std() / np.sqrt(len(inside))
    assert all((path.drift == 0.0).all() and (path.drift_sign == 0).all() for path in paths)
    jump = np.concatenate([path.jump for path in paths])
    for number in range(3):
        sizes = jump[(regime == number) & (jump != 0.0)]
        assert abs(sizes.mean()) < 4 * sizes.std() / np.sqrt(len(sizes))


def test_the_other_mode_drifts_by_its_sign() -> None:
    paths = [market_path(seed, 100_000, "regimes") for seed in range(5)]
    sign = np.concatenate([path.drift_sign for path in paths])
    simple = np.expm1(np.concatenate([path.factor_return for path in paths]))
    for direction in (-1, 1):
        inside = direction * simple[sign == direction]
        assert inside.mean() > 4 * inside.std() / np.sqrt(len(inside))


def test_returns_have_no_memory_but_volatility_has() -> None:
    for seed in range(3):
        candles = MarketSimulator(["ETH/USDT"], seed=seed, mode="null").simulate(START, BARS).candles
        opens = np.diff(np.log(candles["open"].to_numpy()))
        signs = np.sign(opens)
        for lag in (1, 2, 24):
            assert abs(autocorrelation(signs, lag)) < 4 / np.sqrt(BARS)
        assert autocorrelation(np.abs(opens), 1) > 0.10


def test_truth_of_the_null_market_says_no_drift() -> None:
    truth = MarketSimulator(["ETH/USDT"], mode="null").simulate(START, 3000).truth
    assert truth["drift_sign"].to_list() == [0] * 3000
    assert truth["regime"].n_unique() == 3


@pytest.mark.parametrize("seed", [1, 2])
def test_both_modes_share_regimes_and_volatility(seed: int) -> None:
    null, structured = market_path(seed, 2000, "null"), market_path(seed, 2000, "regimes")
    np.testing.assert_array_equal(null.regime, structured.regime)
    np.testing.assert_array_equal(null.volatility, structured.volatility)
