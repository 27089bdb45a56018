from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import DataError
from engine.tuning.ab_test import ABTest, TooEarlyError
from engine.tuning.algorithm import TradingAlgorithm
from engine.tuning.market_state import MarketState
from engine.tuning.parameters import DEFAULTS
from engine.tuning.positions import Position

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2024, 3, 1)
CANDIDATE = replace(DEFAULTS, social_go=0.5, sl_news=2.0)
TEST = ABTest(DEFAULTS, CANDIDATE, ("BTC/USDT", "ETH/USDT"), START, 60 * DAY, seed=4, draws=499)


def outcomes(test: ABTest, rng: np.random.Generator, effect: float = 0.0) -> pl.DataFrame:
    """Results that depend on each other in time and between symbols, whatever the assignment."""
    planned = test.assignment()
    shared = np.zeros(test.blocks)
    for block in range(1, test.blocks):
        shared[block] = 0.6 * shared[block - 1] + 0.003 * rng.standard_t(4)
    own = 0.002 * rng.standard_normal(planned.height)
    value = shared[planned["block"].to_numpy()] + own
    treated = (planned["arm"] == "candidate").to_numpy()
    return planned.select("block", "symbol", "arm").with_columns(value=pl.Series(value + effect * treated))


# ------------------------------------------------------------------------------------- assignment


def test_a_block_of_a_symbol_has_one_arm_from_its_seed_alone():
    for symbol in TEST.symbols:
        for block in range(TEST.blocks):
            begin = START + block * DAY
            arms = {TEST.arm(symbol, begin + hour * HOUR) for hour in range(24)}
            assert len(arms) == 1
    assert replace(TEST, symbols=("ETH/USDT",)).arm("ETH/USDT", START) == TEST.arm("ETH/USDT", START)
    other = replace(TEST, seed=5)
    both = TEST.assignment().join(other.assignment(), on=["block", "symbol"])
    assert 0.25 < (both["arm"] == both["arm_right"]).mean() < 0.75


def test_the_assignment_is_the_same_in_every_process():
    """A known answer: Python's own hash of text is another in each process."""
    mine = TEST.assignment().filter(symbol="BTC/USDT")["arm"]
    assert "".join(arm[0] for arm in mine[:24]) == "lccllllcllcclcllccclccll"


def test_shares_are_even_and_symbols_and_blocks_independent():
    long = replace(TEST, horizon=4000 * DAY)
    arms = (long.assignment()["arm"] == "candidate").to_numpy().reshape(-1, 2).astype(float)
    assert abs(arms.mean() - 0.5) < 3 * 0.5 / np.sqrt(arms.size)
    for one, other in ((arms[:, 0], arms[:, 1]), (arms[1:, 0], arms[:-1, 0])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 3 / np.sqrt(len(one))


def test_what_is_not_part_of_the_test_has_no_arm():
    with pytest.raises(ValueError, match="'SOL/USDT' is not part of the test"):
        TEST.arm("SOL/USDT", START)
    with pytest.raises(ValueError, match="which runs from"):
        TEST.arm("BTC/USDT", TEST.end)
    with pytest.raises(ValueError, match="which runs from"):
        TEST.arm("BTC/USDT", START - HOUR)


def test_sets_change_between_blocks_but_never_under_an_open_position():
    arms = TEST.assignment().filter(symbol="BTC/USDT")["arm"].to_list()
    change = next(k for k in range(1, 60) if arms[k - 1] == "candidate" and arms[k] == "live")
    last = START + change * DAY - HOUR

    def state(ts):
        return MarketState("BTC/USDT", ts, 100.0, news_strength=0.6, news_direction=1, expected_cost_bps=5.0)

    def decide(ts, position=None):
        drawn = CANDIDATE if TEST.arm("BTC/USDT", ts) == "candidate" else DEFAULTS
        return TradingAlgorithm(drawn).decide(state(ts), position)

    entered = decide(last)
    assert entered == TradingAlgorithm(CANDIDATE).decide(state(last))
    assert entered.action == "enter"
    position = Position.filled(entered, 100.0, last + HOUR)
    held = decide(last + HOUR, position)
    assert (held.action, held.stop, held.target) == ("hold", entered.stop, entered.target)
    # Flat, the live set decides: its threshold is higher.
    assert decide(last + HOUR).action == "none"


# ------------------------------------------------------------------------------------- units


def test_a_trade_counts_for_the_unit_it_was_decided_in():
    bars = pl.DataFrame(
        [(s, START + h * HOUR) for s in TEST.symbols for h in range(60 * 24)],
        schema={"symbol": pl.String, "ts": pl.Datetime("us")},
        orient="row",
    )
    arms = bars.with_columns(
        arm=pl.Series([TEST.arm(symbol, ts) for symbol, ts in bars.iter_rows()], dtype=pl.String)
    )
    trades = pl.DataFrame(
        {
            "symbol": ["BTC/USDT", "BTC/USDT", "ETH/USDT", "ETH/USDT"],
            "decided_ts": [START + 23 * HOUR, START + 2 * HOUR, START + 24 * HOUR, START - HOUR],
            "net_return": [0.01, 0.02, -0.04, 9.0],
        }
    )
    units = TEST.units_of(trades, arms)
    assert units.select("block", "symbol", "arm").equals(TEST.assignment().select("block", "symbol", "arm"))
    values = {(block, symbol): value for block, symbol, _, value in units.iter_rows() if value}
    assert values == {(0, "BTC/USDT"): pytest.approx(0.03), (1, "ETH/USDT"): -0.04}
    wrong = arms.with_columns(
        arm=pl.when((pl.col("ts") == START) & (pl.col("symbol") == "BTC/USDT"))
        .then(pl.lit("live" if TEST.arm("BTC/USDT", START) == "candidate" else "candidate"))
        .otherwise("arm")
    )
    mixed = TEST.units_of(trades, wrong)
    assert mixed["arm"][0] == "mixed"
    assert TEST.result(mixed, TEST.end).verdict == "void"


# ------------------------------------------------------------------------------------- verdicts


def test_no_look_before_the_horizon():
    units = outcomes(TEST, np.random.default_rng(0), effect=0.05)
    with pytest.raises(TooEarlyError, match="2024-04-30 00:00") as early:
        TEST.result(units, TEST.end - HOUR)
    assert early.value.due == TEST.end
    assert TEST.result(units, TEST.end).verdict == "promote"


def test_a_void_test_says_why_whatever_it_shows():
    units = outcomes(TEST, np.random.default_rng(0), effect=0.05)
    lost = units.filter((pl.col("arm") == "live") | (pl.col("block") % 3 == 0))
    found = TEST.result(lost, TEST.end)
    assert found.verdict == "void"
    assert found.sample_ratio_p <= 0.001
    assert "no accident" in found.reasons[0]
    assert np.isnan(found.effect)
    one = TEST.result(units[1:], TEST.end)
    assert one.reasons == ("1 units were not seen",)
    flipped = units.with_columns(arm=pl.when(pl.col("block") == 0).then(pl.lit("live")).otherwise("arm"))
    changed = int((flipped["arm"] != units["arm"]).sum())
    assert TEST.result(flipped, TEST.end).reasons == (
        f"in {changed} units another set decided than was drawn",
    )
    assert TEST.result(units.clear(), TEST.end).verdict == "void"


def test_broken_units_are_refused():
    units = outcomes(TEST, np.random.default_rng(0))
    with pytest.raises(DataError, match="there twice"):
        TEST.result(pl.concat([units, units[:1]]), TEST.end)
    with pytest.raises(DataError, match="none of the test's"):
        TEST.result(units.with_columns(block=pl.col("block") + 1), TEST.end)
    with pytest.raises(DataError, match="row 1, column 'value': value nan"):
        TEST.result(units.with_columns(value=pl.lit(np.nan)), TEST.end)


def test_level_and_coverage_hold_for_dependent_heavy_tailed_results():
    rng, repetitions, promoted, covered, effect = np.random.default_rng(7), 200, 0, 0, 0.001
    for seed in range(repetitions):
        test = replace(TEST, seed=seed)
        promoted += test.result(outcomes(test, rng), test.end).verdict == "promote"
        found = test.result(outcomes(test, rng, effect), test.end)
        covered += found.low <= effect
    room = 2 * np.sqrt(0.05 * 0.95 / repetitions)
    assert promoted / repetitions <= 0.05 + room
    assert covered / repetitions >= 0.95 - room


def test_single_trades_tested_as_if_independent_would_not_hold_the_level():
    """The wrong way: symbols of a block as independent repetitions of whole-block assignment."""
    rng, false = np.random.default_rng(8), 0
    for _ in range(200):
        block = np.repeat(0.01 * rng.standard_normal(20), 30)
        arm = np.repeat(rng.random(20) < 0.5, 30)
        value = block + 0.002 * rng.standard_normal(600)
        error = np.sqrt(value[arm].var() / arm.sum() + value[~arm].var() / (~arm).sum()) if arm.any() else 1
        false += abs(value[arm].mean() - value[~arm].mean()) > 1.96 * error
    assert false / 200 > 0.3


def test_an_effect_is_found():
    rng, found = np.random.default_rng(9), 0
    for seed in range(50):
        test = replace(TEST, seed=seed, horizon=120 * DAY)
        found += test.result(outcomes(test, rng, effect=0.0025), test.end).verdict == "promote"
    assert found >= 40


def test_interval_and_p_value_agree():
    for seed in range(40):
        test = replace(TEST, seed=seed)
        found = test.result(outcomes(test, np.random.default_rng(seed), effect=0.001), test.end)
        assert (found.low > 0.0) == (found.p_value <= test.alpha)
        assert found.low < found.effect < found.high
        # The interval is that of the test repeated with an effect taken off.
        for shift, inside in ((found.low - 1e-9, False), (found.low + 1e-9, True)):
            units = outcomes(test, np.random.default_rng(seed), effect=0.001 - shift)
            assert (test.result(units, test.end).p_value > test.alpha) == inside


def test_the_p_value_is_that_of_the_design_drawn_again():
    units = outcomes(TEST, np.random.default_rng(5), effect=0.0005)
    value, treated = units["value"].to_numpy(), (units["arm"] == "candidate").to_numpy()
    found = replace(TEST, draws=3999).result(units, TEST.end)
    assert found.effect == pytest.approx(value[treated].mean() - value[~treated].mean())
    rng, reached = np.random.default_rng(6), 0
    for _ in range(4000):
        again = rng.permutation(np.repeat([True, False], value.size // 2))
        reached += value[again].mean() - value[~again].mean() >= found.effect
    assert 0.02 < reached / 4000 < 0.98
    assert found.p_value == pytest.approx(reached / 4000, abs=0.04)


def test_the_least_improvement_is_asked_for():
    units = outcomes(TEST, np.random.default_rng(2), effect=0.004)
    assert TEST.result(units, TEST.end).verdict == "promote"
    strict = replace(TEST, min_improvement=0.02).result(units, TEST.end)
    assert strict.verdict == "keep"
    assert "worth a change is 0.02" in strict.reasons[-1]


def test_plain_values():
    assert ABTest.from_dict(json.loads(json.dumps(TEST.to_dict()))) == TEST
    found = TEST.result(outcomes(TEST, np.random.default_rng(3)), TEST.end)
    assert found == TEST.result(outcomes(TEST, np.random.default_rng(3)), TEST.end)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("A", "A")}, "symbols"),
        ({"horizon": 60 * DAY + HOUR}, "whole blocks"),
        ({"horizon": 10 * DAY}, "20 units"),
        ({"alpha": 0.6}, "alpha"),
        ({"alpha": 0.001}, "draw more often"),
        ({"min_improvement": -1.0}, "min_improvement"),
        ({"candidate": DEFAULTS}, "nothing to test"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TEST, **change)
