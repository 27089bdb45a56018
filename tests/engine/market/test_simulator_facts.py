"""Table of stylized facts: the simulator meets every row, wrong markets do not, and each figure is right."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import cache

import numpy as np
import polars as pl
import pytest

from engine.errors import NotEnoughDataError
from engine.market import stylized_facts as facts
from engine.market.simulator import MarketSimulator, SimulatedMarket
from engine.market.stylized_facts import Fact, market_facts, past_returns, return_facts

SEEDS = (7, 8, 9, 10)
ROWS = {
    "mean absolute autocorrelation of returns, lags 1-10": (-np.inf, 0.05),
    "autocorrelation of absolute returns, lag 1": (0.10, np.inf),
    "autocorrelation of absolute returns, lag 10": (0.07, np.inf),
    "autocorrelation of absolute returns, lag 50": (0.02, np.inf),
    "excess kurtosis": (2.0, np.inf),
    "excess kurtosis of 24-bar sums over that of bars": (-np.inf, 0.80),
    "Hill index of the top 2 %": (2.0, 6.0),
    "correlation of return and absolute returns that follow": (-np.inf, -0.01),
    "volatility in PANIC over RANGE": (2.0, np.inf),
    "correlation of pairs in PANIC less RANGE": (0.15, np.inf),
    "drift over volatility of TREND over RANGE stays": (1.3, np.inf),
    "smallest share of a regime": (0.03, np.inf),
    "largest share of a regime": (-np.inf, 0.75),
    "mean stay in a regime, bars": (30.0, np.inf),
    "correlation of index and past 24 bars": (0.20, np.inf),
    "partial correlation of index and next 24 bars given past returns": (-0.15, 0.15),
    "correlation of funding and past 48 bars": (0.15, np.inf),
    "liquidations on 3-sd periods over others": (3.0, np.inf),
}


@cache
def simulated(seed: int) -> SimulatedMarket:
    return MarketSimulator(["BTC/USDT", "ETH/USDT", "SOL/USDT"], seed=seed).simulate(
        datetime(2022, 1, 1), 20_000
    )


@cache
def table(seed: int) -> dict[str, Fact]:
    return {fact.name: fact for fact in market_facts(simulated(seed))}


def value(found: tuple[Fact, ...], name: str) -> Fact:
    return next(fact for fact in found if fact.name == name)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("row", ROWS)
def test_the_simulated_market_meets_the_row(row: str, seed: int) -> None:
    fact = table(seed)[row]
    assert (fact.lower, fact.upper) == ROWS[row]
    assert fact.lower <= fact.value <= fact.upper
    assert fact.holds


def test_no_row_is_left_out() -> None:
    assert list(table(SEEDS[0])) == list(ROWS)


def test_a_gaussian_walk_fails() -> None:
    walk = 0.01 * np.random.default_rng(1).standard_normal(20_000)
    failed = {fact.name for fact in return_facts(walk) if not fact.holds}
    assert {
        "autocorrelation of absolute returns, lag 1",
        "autocorrelation of absolute returns, lag 10",
        "excess kurtosis",
        "Hill index of the top 2 %",
    } <= failed


def test_shuffled_returns_of_the_simulator_fail() -> None:
    returns = simulated(7).truth["market_return"].to_numpy()
    shuffled = np.random.default_rng(2).permutation(returns)
    failed = {fact.name for fact in return_facts(shuffled) if not fact.holds}
    assert "autocorrelation of absolute returns, lag 1" in failed
    assert "excess kurtosis" not in failed


def test_an_index_computed_from_future_bars_fails() -> None:
    market = simulated(7)
    returns = market.truth["market_return"].to_numpy()
    hours = (pl.col("ts") - market.truth["ts"][0]).dt.total_hours()
    day = market.observations.filter(pl.col("series") == "fear_greed").select(hours).to_series().to_numpy()
    ahead = np.append(past_returns(returns, 24)[24:], np.zeros(24))[day]
    leading = 50.0 + 300.0 * ahead + 300.0 * np.nan_to_num(past_returns(returns, 24)[day])
    leading += 5.0 * np.random.default_rng(3).standard_normal(len(day))
    observations = market.observations.filter(pl.col("series") != "fear_greed")
    index = market.observations.filter(pl.col("series") == "fear_greed").with_columns(
        pl.Series("value", leading)
    )
    found = market_facts(replace(market, observations=pl.concat([observations, index])))
    partial = value(found, "partial correlation of index and next 24 bars given past returns")
    assert partial.value > 0.5
    assert not partial.holds
    assert value(found, "correlation of index and past 24 bars").holds


def test_side_series_that_ignore_the_market_fail() -> None:
    market = simulated(7)
    draws = np.random.default_rng(4).random(len(market.observations))
    deaf = market.observations.with_columns(pl.Series("value", draws))
    failed = {fact.name for fact in market_facts(replace(market, observations=deaf)) if not fact.holds}
    assert failed == {
        "correlation of index and past 24 bars",
        "correlation of funding and past 48 bars",
        "liquidations on 3-sd periods over others",
    }


def test_regimes_that_mean_nothing_fail() -> None:
    market = simulated(7)
    shifted = market.truth.with_columns(pl.col("regime").reverse())
    failed = {fact.name for fact in market_facts(replace(market, truth=shifted)) if not fact.holds}
    assert {"volatility in PANIC over RANGE", "correlation of pairs in PANIC less RANGE"} <= failed


def test_too_short_a_series_is_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="999 returns"):
        return_facts(np.zeros(999))


def test_a_figure_that_is_not_a_number_does_not_hold() -> None:
    assert not Fact("nothing", float("nan")).holds
    assert Fact("anything", 1e9).holds


def test_autocorrelation_of_a_known_series() -> None:
    assert facts.autocorrelation(np.array([1.0, 2.0, 3.0, 4.0]), 1) == pytest.approx(0.25)
    assert facts.autocorrelation(np.tile([1.0, -1.0], 500), 1) == pytest.approx(-0.999)


def test_kurtosis_of_known_laws() -> None:
    assert facts.excess_kurtosis(np.array([-1.0, 1.0])) == pytest.approx(-2.0)
    # Bernoulli(p): (1 - 6 p q) / (p q).
    coin = np.r_[np.ones(1), np.zeros(9)]
    assert facts.excess_kurtosis(coin) == pytest.approx((1 - 6 * 0.09) / 0.09)


def test_kurtosis_of_sums_of_independent_draws_falls_with_their_number() -> None:
    draws = np.random.default_rng(5).laplace(size=480_000)
    assert facts.aggregational_kurtosis(draws) == pytest.approx(1 / 24, abs=0.02)


@pytest.mark.parametrize("index", [2.0, 4.0])
def test_hill_index_of_pareto_tails(index: float) -> None:
    draws = (1.0 - np.random.default_rng(6).random(200_000)) ** (-1.0 / index)
    assert facts.hill_index(draws) == pytest.approx(index, rel=4 / np.sqrt(4000))


def test_leverage_correlation_against_its_definition() -> None:
    returns = np.random.default_rng(7).standard_normal(60)
    pairs = [(returns[t], np.abs(returns[t + 1 : t + 4]).mean()) for t in range(57)]
    assert facts.leverage_correlation(returns, 3) == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])


def test_past_returns_against_their_definition() -> None:
    past = past_returns(np.array([1.0, 2.0, 4.0, 8.0]), 2)
    np.testing.assert_array_equal(past, [np.nan, np.nan, 3.0, 6.0, 12.0])


def test_runs_of_regimes() -> None:
    assert facts.regime_runs(np.array(["A", "A", "B", "A"])) == [(0, 2), (2, 3), (3, 4)]


def test_drift_ratio_leaves_short_stays_out() -> None:
    wave = np.tile([1.0, -1.0], 50)
    returns = np.r_[wave + 0.5, wave + 0.1, np.full(10, 9.0)]
    regime = np.array(["TREND"] * 100 + ["RANGE"] * 100 + ["TREND"] * 10)
    assert facts.drift_ratio(returns, regime) == pytest.approx(5.0)


def test_partial_correlation_of_a_common_cause_vanishes() -> None:
    cause, a, b = np.random.default_rng(8).standard_normal((3, 50_000))
    x, y = cause + a, cause + b
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(0.5, abs=0.02)
    assert facts.partial_correlation(x, y, [cause]) == pytest.approx(0.0, abs=0.02)
    r = np.corrcoef([x, y, cause])
    known = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    assert facts.partial_correlation(x, y, [cause]) == pytest.approx(known)


def test_pair_correlation_averages_over_pairs() -> None:
    panel = np.random.default_rng(9).standard_normal((100, 3))
    r = np.corrcoef(panel.T)
    assert facts.pair_correlation(panel) == pytest.approx((r[0, 1] + r[0, 2] + r[1, 2]) / 3)


def test_threshold_ratio() -> None:
    move = np.r_[np.tile([0.1, -0.1], 50), 5.0]
    assert facts.threshold_ratio(np.r_[np.full(100, 2.0), 14.0], move) == pytest.approx(7.0)
