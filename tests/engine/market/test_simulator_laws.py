"""The laws the simulated market is made of: stays, jumps, volatility, correlation, the inside of a bar."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from engine.market.price_path import price_path, symbol_traits
from engine.market.random_streams import stream
from engine.market.regime_path import (
    JUMP_DECAY,
    JUMP_EXCITATION,
    LOG_VOLATILITY_AR,
    LOG_VOLATILITY_VARIANCE,
    REGIME_LAWS,
    UPWARD_TRENDS,
    MarketPath,
    ar1,
    market_path,
)
from engine.market.stylized_facts import autocorrelation, regime_runs
from engine.regimes.names import REGIMES

LONG = 1_000_000


@cache
def path() -> MarketPath:
    return market_path(1, LONG, "regimes")


@cache
def stays() -> list[tuple[int, int]]:
    return regime_runs(path().regime)[1:-1]


@pytest.mark.parametrize("name", REGIMES)
def test_mean_stay(name: str) -> None:
    lengths = np.array([b - a for a, b in stays() if REGIMES[path().regime[a]] == name])
    # Stays are rounded up to whole bars: half a bar on average.
    error = lengths.std() / np.sqrt(len(lengths))
    assert lengths.mean() == pytest.approx(REGIME_LAWS[name].mean_stay + 0.5, abs=4 * error)
    # Semi-Markov: gamma stays of shape 2 vary less than the geometric ones of a Markov chain.
    assert lengths.std() / lengths.mean() == pytest.approx(np.sqrt(0.5), rel=0.1)


@pytest.mark.parametrize("number", range(3))
def test_what_follows_a_stay(number: int) -> None:
    following = np.array([path().regime[b[0]] for a, b in pairwise(stays()) if path().regime[a[0]] == number])
    for other, probability in enumerate(REGIME_LAWS[REGIMES[number]].next_regime):
        error = np.sqrt(probability * (1 - probability) / len(following))
        assert (following == other).mean() == pytest.approx(probability, abs=4 * error + 1e-12)


def test_a_trend_keeps_its_direction_and_most_lead_up() -> None:
    signs = []
    for a, b in stays():
        if path().regime[a] == 0:
            assert abs(path().drift_sign[a]) == 1
            assert (path().drift_sign[a:b] == path().drift_sign[a]).all()
            signs.append(path().drift_sign[a])
    error = np.sqrt(UPWARD_TRENDS * (1 - UPWARD_TRENDS) / len(signs))
    assert (np.array(signs) > 0).mean() == pytest.approx(UPWARD_TRENDS, abs=4 * error)


def test_drift_of_each_regime() -> None:
    for number, name in enumerate(REGIMES):
        inside = path().regime == number
        expected = path().drift_sign[inside] * abs(REGIME_LAWS[name].drift)
        np.testing.assert_array_equal(path().drift[inside], expected)
    assert set(path().drift[path().regime == REGIMES.index("PANIC")]) == {-0.0006}


def test_the_first_regime_is_drawn_from_the_long_run_shares() -> None:
    first = np.array([market_path(seed, 1, "regimes").regime[0] for seed in range(600)])
    for number in range(3):
        share = (path().regime == number).mean()
        error = np.sqrt(share * (1 - share) / 600)
        assert (first == number).mean() == pytest.approx(share, abs=4 * error)


def test_jumps_excite_jumps() -> None:
    jumped = path().jump != 0.0
    calm = np.isin(path().regime, [0, 1])
    offspring = JUMP_EXCITATION * JUMP_DECAY / (1 - JUMP_DECAY)
    panic_rate = jumped[~calm].mean()
    # Every jump has 0.28 direct and 0.40 descendants in all; some that PANIC excites fall after its end.
    assert 0.02 < panic_rate < 0.02 / (1 - offspring)
    after = jumped[1:][jumped[:-1] & calm[:-1] & calm[1:]].mean()
    assert after == pytest.approx(JUMP_EXCITATION * JUMP_DECAY, rel=0.5)
    assert after > 10 * jumped[calm].mean()


def test_jumps_in_panic_are_falls_on_average_and_elsewhere_are_not() -> None:
    panic = path().regime == REGIMES.index("PANIC")
    for inside, mean in ((panic, -0.01), (~panic, 0.0)):
        sizes = path().jump[inside & (path().jump != 0.0)]
        assert sizes.mean() == pytest.approx(mean, abs=4 * sizes.std() / np.sqrt(len(sizes)))


def test_log_volatility_is_the_declared_autoregression() -> None:
    level = np.array([REGIME_LAWS[name].volatility for name in REGIMES])[path().regime]
    log_volatility = np.log(path().state_volatility / level)
    assert autocorrelation(log_volatility, 1) == pytest.approx(LOG_VOLATILITY_AR, abs=0.005)
    assert log_volatility.var() == pytest.approx(LOG_VOLATILITY_VARIANCE, rel=0.05)
    rise = log_volatility[1:] - LOG_VOLATILITY_AR * log_volatility[:-1]
    assert np.polyfit((path().shock * path().volatility / path().state_volatility)[:-1], rise, 1)[0] == (
        pytest.approx(-0.03, abs=0.002)
    )


def test_the_first_volatility_is_drawn_from_the_long_run_law() -> None:
    draws = []
    for seed in range(600):
        first = market_path(seed, 1, "regimes")
        draws.append(np.log(first.state_volatility[0] / REGIME_LAWS[REGIMES[first.regime[0]]].volatility))
    assert np.std(draws) == pytest.approx(np.sqrt(LOG_VOLATILITY_VARIANCE), rel=4 / np.sqrt(1200))


@pytest.mark.parametrize(("name", "correlation"), [("TREND", 0.45), ("RANGE", 0.35), ("PANIC", 0.85)])
def test_correlation_of_shocks_in_each_regime(name: str, correlation: float) -> None:
    inside = (path().regime == REGIMES.index(name)) & (path().jump == 0.0)
    shocks = []
    for symbol in ("BTC/USDT", "ETH/USDT"):
        traits = symbol_traits(1, symbol)
        moved = np.expm1(price_path(1, symbol, path()).log_return) / traits.volatility - path().drift
        shocks.append((moved / path().volatility)[inside])
    assert np.corrcoef(shocks)[0, 1] == pytest.approx(correlation, abs=4 / np.sqrt(inside.sum()))
    assert np.std(shocks) == pytest.approx(1.0, abs=0.01)


def test_large_moves_come_in_all_symbols_at_once() -> None:
    tail = path().volatility / path().state_volatility
    assert tail.std() > 0.3
    assert (tail**2).mean() == pytest.approx(1.0, rel=0.05)
    size = [
        np.abs(price_path(1, s, path()).log_return / path().state_volatility) for s in ("AA/USDT", "BB/USDT")
    ]
    quiet = path().regime == REGIMES.index("RANGE")
    large = [s[quiet] > np.quantile(s[quiet], 0.999) for s in size]
    assert (large[0] & large[1]).mean() > 100 * 0.001**2


def test_high_and_low_have_the_law_of_a_brownian_path() -> None:
    driftless = market_path(1, LONG, "null")
    prices = price_path(1, "BTC/USDT", driftless)
    scale = symbol_traits(1, "BTC/USDT").volatility * driftless.volatility
    still = driftless.jump == 0.0
    extent = (np.log(prices.high / prices.low) / scale)[still]
    # Feller (1951): the range of Brownian motion over a unit of time has mean sqrt(8 / pi).
    assert extent.mean() == pytest.approx(np.sqrt(8 / np.pi), rel=0.01)
    top = (np.log(prices.high / prices.open) / scale)[still]
    assert top.mean() == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)


def test_opens_add_no_return_of_their_own() -> None:
    prices = price_path(1, "BTC/USDT", path())
    gap = np.log(prices.open[1:] / prices.close[:-1])
    body = np.log(prices.close / prices.open)[1:]
    assert gap.std() / prices.log_return.std() == pytest.approx(1 / 60, rel=0.1)
    assert abs(np.corrcoef(gap, body)[0, 1]) < 0.01
    opens = np.diff(np.log(prices.open))
    assert abs(np.corrcoef(opens[1:], opens[:-1])[0, 1]) < 0.01


def test_volume_grows_with_volatility_and_with_the_move() -> None:
    prices = price_path(1, "BTC/USDT", path())
    turnover = np.log(prices.volume * prices.close)
    assert np.corrcoef(turnover, np.log(path().state_volatility))[0, 1] > 0.5
    assert np.corrcoef(turnover, np.abs(prices.log_return))[0, 1] > 0.3
    assert np.median(prices.volume * prices.close) == pytest.approx(80e6, rel=0.5)


def test_symbols_have_traits_of_their_own() -> None:
    assert symbol_traits(1, "BTC/USDT") == symbol_traits(2, "BTC/USDT")
    assert symbol_traits(1, "AAA/USDT") != symbol_traits(1, "AAB/USDT")
    assert symbol_traits(1, "AAA/USDT") == symbol_traits(1, "AAA/USDT")


def test_streams_are_apart_and_repeatable() -> None:
    assert stream(1, "a", "b").random() == stream(1, "a", "b").random()
    different = {
        stream(*name).random() for name in ((1, "a", "b"), (2, "a", "b"), (1, "ab"), (1, "a"), (1, "b", "a"))
    }
    assert len(different) == 5


def test_autoregression_by_hand() -> None:
    np.testing.assert_allclose(ar1(np.array([1.0, 0.0, 2.0]), 0.5, 4.0), [3.0, 1.5, 2.75])
