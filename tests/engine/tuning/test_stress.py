"""Stressed markets: each is worse by just what it says; candidates beside what is in force."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from engine.evaluation.costs import Costs
from engine.evaluation.splits import Window
from engine.market.regime_path import market_path
from engine.regimes.names import REGIMES
from engine.tuning.candidates import WAY, bar_figures
from engine.tuning.kernel import Evaluation, entries, evaluate, trades_of
from engine.tuning.market_state import StateTape
from engine.tuning.objectives import score
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.rules import MAX_GAP
from engine.tuning.stress import falls, stress_test
from engine.tuning.stressed_markets import Stress, gapped, panic, stressed_markets

Sets = Callable[[int, int], np.ndarray]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WINDOW = Window(datetime(2024, 2, 10), datetime(2024, 4, 20))


@pytest.fixture(scope="module")
def every(simulated_tape: StateTape) -> tuple[Stress, ...]:
    return stressed_markets(simulated_tape, WINDOW, seed=3)


@pytest.fixture(scope="module")
def markets(every: tuple[Stress, ...]) -> dict[str, Stress]:
    return {market.name: market for market in every}


def test_every_market_spans_its_window_with_states_known_from_the_start(every: tuple[Stress, ...]) -> None:
    assert [market.name for market in every] == ["calm", "dear", "late", "gaps", *["panic"] * 8]
    assert len({market.tape.close.tobytes() for market in every[4:]}) == 8
    for market in every:
        name, tape = market.name, market.tape
        first = tape.ts == tape.ts.min()
        if name != "late":
            assert np.isfinite(tape.volatility_percentile[first]).all()
            assert np.isfinite(tape.expected_cost_bps[first]).all()
        if name != "panic":
            assert tape.ts.min() == np.datetime64(WINDOW.start)
            assert tape.ts.max() == np.datetime64(WINDOW.end - HOUR)


def test_dear_fills_cost_three_times_as_much_and_change_no_decision(
    markets: dict[str, Stress], some_sets: Sets
) -> None:
    calm, dear = (
        evaluate(markets[name].tape, some_sets(20, 1), markets[name].costs) for name in ("calm", "dear")
    )
    assert calm.trades.sum() > 100
    np.testing.assert_array_equal(dear.trades, calm.trades)
    np.testing.assert_allclose(dear.cost_paid, 3.0 * calm.cost_paid)


def test_late_entries_are_those_of_the_bar_before(markets: dict[str, Stress], some_sets: Sets) -> None:
    calm, late = markets["calm"].tape, markets["late"].tape
    sets, row = some_sets(20, 2), np.arange(1, len(calm))
    follows = (np.diff(calm.symbol) == 0) & (np.diff(calm.at) == 1)
    before, after = entries(calm, sets), entries(late, sets)
    assert (before != 0).sum() > 100
    np.testing.assert_array_equal(after[:, row[follows]], before[:, row[follows] - 1])
    assert (after[:, np.append(0, row[~follows])] == 0).all()
    ways = [bar_figures(tape)[0][:, WAY] for tape in (calm, late)]
    np.testing.assert_allclose(ways[1][row[follows]], ways[0][row[follows] - 1], rtol=1e-9, atol=1e-12)


def test_gaps_are_of_their_size_common_to_all_symbols_and_leave_the_past_alone(
    simulated_tape: StateTape,
) -> None:
    made = gapped(simulated_tape, seed=4)
    factors = []
    for symbol in made.symbols:
        rows = made.rows_of(symbol)
        factor = made.open[rows] / simulated_tape.open[rows]
        np.testing.assert_allclose(made.close[rows] / simulated_tape.close[rows], factor)
        factors.append(factor)
    np.testing.assert_allclose(factors[0], factors[1])
    steps = factors[0][1:] / factors[0][:-1]
    gaps = np.flatnonzero(np.abs(steps - 1.0) > 1e-9)
    assert 3 <= gaps.size <= 20
    np.testing.assert_allclose(np.minimum(steps[gaps], 1.0 / steps[gaps]), 0.95)
    assert len(np.unique(np.sign(steps[gaps] - 1.0))) == 2
    before = made.at <= gaps[0]
    for name in ("volatility_percentile", "zscore", "expected_cost_bps", "breakout_side"):
        np.testing.assert_allclose(getattr(made, name)[before], getattr(simulated_tape, name)[before])
    assert (made.volatility_percentile[~before] != simulated_tape.volatility_percentile[~before]).any()
    np.testing.assert_array_equal(made.funding, simulated_tape.funding)
    np.testing.assert_array_equal(made.news_strength, simulated_tape.news_strength)
    assert gapped(simulated_tape, seed=4).close.tobytes() == made.close.tobytes()
    assert gapped(simulated_tape, seed=5).close.tobytes() != made.close.tobytes()


def test_what_a_fill_costs_stays_unknown_where_it_was(simulated_tape: StateTape) -> None:
    """As of a regime, whose parameters enter nothing on the bars of another."""
    closed = np.arange(len(simulated_tape)) % 3 == 0
    costs = np.where(closed, np.nan, simulated_tape.expected_cost_bps)
    made = gapped(replace(simulated_tape, expected_cost_bps=costs), seed=4)
    assert np.isnan(made.expected_cost_bps[closed]).all()
    assert np.isfinite(made.expected_cost_bps).any()


def test_panics_are_all_of_a_year_and_little_else(simulated_tape: StateTape) -> None:
    """The truth of the same path says where PANIC is; half a day about it is shown, and holes are long."""
    tape = panic(seed=7)
    hours = tape.panel.times.size
    regime = market_path(7, hours, "regimes").regime
    panics = np.flatnonzero((regime == REGIMES.index("PANIC")) & (np.arange(hours) >= 32 * 24))
    shown = np.unique(tape.at)
    assert np.isin(panics, shown).all()
    assert panics.size > 0.4 * shown.size
    holes = np.diff(shown) - 1
    assert holes[holes > 0].min() > MAX_GAP
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(tape.panel.close[:, 1])), shown)

    log_return = [np.diff(np.log(tape.close[tape.rows_of(name)])) for name in tape.symbols]
    calm = [np.diff(np.log(simulated_tape.close[simulated_tape.rows_of(name)])) for name in tape.symbols]
    without_holes = np.diff(shown) == 1
    assert np.std([each[without_holes] for each in log_return]) > 1.5 * np.std(calm)


def test_no_position_is_held_from_one_panic_to_the_next() -> None:
    tape = panic(seed=7)
    trades = trades_of(tape, ParameterSet.from_mapping({"tpBreakout": 15.0, "slBreakout": 8.0}))
    assert trades.height > 10
    assert (trades["reason"] == "delisted").any()
    left = trades.filter(pl.col("exit_ts").is_not_null())
    for entry, out in left.select("entry_ts", "exit_ts").iter_rows():
        rows = np.isin(tape.ts, [np.datetime64(entry), np.datetime64(out)])
        first, last = tape.at[rows].min(), tape.at[rows].max()
        assert (
            np.diff(np.unique(tape.at[(tape.at >= first) & (tape.at <= last)]), prepend=first - 1).max() <= 1
        )


def test_what_falls_much_deeper_is_refused_in_words(every: tuple[Stress, ...]) -> None:
    timid = ParameterSet.from_mapping({"baseRiskPct": 0.1, "newsMaxRiskPct": 0.1})
    bold = ParameterSet.from_mapping({"baseRiskPct": 2.0, "slBreakout": 2.0, "slRevert": 2.0})
    found = stress_test(timid, bold, every, "balanced")
    assert not found.passed
    assert all(reason.startswith("refused under stress: ") for reason in found.reasons)
    (panic_row,) = found.table.filter(stress="panic").iter_rows(named=True)
    assert not panic_row["passed"]
    assert panic_row["paths"] == 8
    assert panic_row["low"] > panic_row["allowed"] == pytest.approx(max(0.02, 0.5 * panic_row["incumbent"]))
    assert any("panic (the panics of simulated years)" in reason for reason in found.reasons)
    assert any(f"{panic_row['low']:.2%} beyond doubt" in reason for reason in found.reasons)
    assert found.table["stress"].to_list() == ["calm", "dear", "late", "gaps", "panic"]
    assert found.table["passed"][0], "the window as it was is the gate's to judge"
    # The other way round it takes less risk, and nothing can be said against it.
    assert stress_test(bold, timid, every, "balanced").passed


def test_the_figures_are_those_of_the_months(markets: dict[str, Stress]) -> None:
    """Worked out by hand from the daily returns: months of 30 days, the rest with the last."""
    other = ParameterSet.from_mapping({"baseRiskPct": 1.5})
    found = stress_test(DEFAULTS, other, [markets["calm"], markets["dear"]], "sharpe")
    (row,) = found.table.filter(stress="dear").iter_rows(named=True)
    dear = evaluate(
        markets["dear"].tape, np.array([DEFAULTS.vector(), other.vector()]), markets["dear"].costs
    )
    assert dear.periods.size == 70
    deepest = []
    for account in dear.returns:
        for month in (account[:30], account[30:]):
            wealth = np.concatenate([[1.0], np.cumprod(1.0 + month)])
            deepest.append((1.0 - wealth / np.maximum.accumulate(wealth)).max())
    before, after = np.array(deepest).reshape(2, 2)
    np.testing.assert_allclose(falls(dear, 30 * DAY), [before, after])
    assert (row["paths"], row["incumbent"]) == (2, pytest.approx(before.mean()))
    difference = after - before
    assert row["difference"] == pytest.approx(difference.mean())
    half = student.ppf(0.95, 1) * difference.std(ddof=1) / np.sqrt(2)
    assert row["low"] == pytest.approx(difference.mean() - half)
    assert row["worst"] == pytest.approx(difference.max())
    np.testing.assert_allclose([row["score_incumbent"], row["score_candidate"]], score(dear, "sharpe"))


def test_the_level_is_shared_among_the_kinds(markets: dict[str, Stress]) -> None:
    """Asked about in more kinds, a candidate is beyond doubt in each by less."""
    other = ParameterSet.from_mapping({"baseRiskPct": 1.5})
    calm, dear, late = (markets[name] for name in ("calm", "dear", "late"))
    alone, both = (
        stress_test(DEFAULTS, other, asked, "sharpe").table.row(1, named=True)
        for asked in ([calm, dear], [calm, dear, late])
    )
    assert both["difference"] == alone["difference"]
    scale = student.ppf(0.975, 1) / student.ppf(0.95, 1)
    half = (alone["difference"] - alone["low"]) * scale
    assert both["difference"] - both["low"] == pytest.approx(half)


def some_months(rng: np.random.Generator, months: int, extra: float) -> Evaluation:
    """An account that falls by a share each month, and one that falls `extra` deeper on average."""
    returns = np.zeros((2, 30 * months))
    first = rng.uniform(0.03, 0.05, months)
    returns[:, ::30] = -np.array([first, first + extra + rng.normal(0.0, 0.01, months)])
    count, none = np.full(2, 50), np.zeros(2)
    days = np.datetime64("2024-01-01", "us") + np.arange(30 * months) * np.timedelta64(1, "D")
    return Evaluation(days, returns, count, count, none, none, none, none)


@pytest.mark.parametrize(("extra", "least", "most"), [(0.0, 0.0, 0.0), (0.02, 0.0, 0.08), (0.06, 0.95, 1.0)])
def test_refused_is_what_is_clearly_beyond_what_is_allowed(
    extra: float, least: float, most: float, monkeypatch: pytest.MonkeyPatch, markets: dict[str, Stress]
) -> None:
    """Half of 4 % and 2 points are the same here: what is just that much deeper is refused in 5 %."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr("engine.tuning.stress.evaluate", lambda *_: some_months(rng, 12, extra))
    given = [markets["calm"], markets["dear"]]
    refused = [not stress_test(DEFAULTS, DEFAULTS, given, "return").passed for _ in range(300)]
    assert least <= np.mean(refused) <= most


def a_year(rng: np.random.Generator, daily: float, fall: float) -> Evaluation:
    """Accounts of twelve months: one of noise, and one that leads by `daily` and falls deeper by `fall`."""
    first = rng.normal(0.0, 0.003, 360)
    returns = np.array([first, first + rng.normal(daily, 1e-4, 360)])
    returns[1, 15::30] -= fall
    count, none = np.full(2, 50), np.zeros(2)
    days = np.datetime64("2024-01-01", "us") + np.arange(360) * np.timedelta64(1, "D")
    return Evaluation(days, returns, count, count, none, none, none, none)


@pytest.mark.parametrize(
    ("daily", "fall", "allowed", "passed"),
    [
        # It leads by 6 % a month as things were, and a month under stress may cost as much.
        (0.002, 0.055, 0.06, True),
        (0.002, 0.085, 0.06, False),
        # Without a lead half of the fall, or 2 points.
        (0.0, 0.015, 0.02, True),
        (0.0, 0.055, 0.02, False),
        # However much it earns, 8 points are the most.
        (0.01, 0.11, 0.08, False),
    ],
)
def test_what_it_surely_earned_may_be_lost_up_to_a_limit(
    daily: float,
    fall: float,
    allowed: float,
    passed: bool,
    monkeypatch: pytest.MonkeyPatch,
    markets: dict[str, Stress],
) -> None:
    rng = np.random.default_rng(1)
    years = iter([a_year(rng, daily, 0.0), a_year(rng, 0.0, fall)])
    monkeypatch.setattr("engine.tuning.stress.evaluate", lambda *_: next(years))
    found = stress_test(DEFAULTS, DEFAULTS, [markets["calm"], markets["dear"]], "return")
    row = found.rows()[1]
    assert row["allowed"] == pytest.approx(allowed, rel=0.02)
    assert found.passed == passed


def test_what_is_in_force_passes_beside_itself(every: tuple[Stress, ...]) -> None:
    found = stress_test(DEFAULTS, DEFAULTS, every, "sharpe")
    assert found.passed
    assert found.table["difference"].to_list() == [0.0] * 5
    assert found.reasons[0].startswith("no kind of stress is clearly too much")
    assert json.loads(json.dumps(found.rows(), allow_nan=False)) == found.rows()


def test_without_paths_enough_nothing_is_clear(markets: dict[str, Stress]) -> None:
    start = datetime(2024, 3, 1)
    short = [
        replace(market, tape=market.tape.between(start, start + timedelta(days=40)))
        for market in (markets["calm"], markets["dear"])
    ]
    found = stress_test(DEFAULTS, ParameterSet.from_mapping({"baseRiskPct": 2.0}), short, "sharpe")
    assert found.passed
    row = found.rows()[1]
    assert (row["paths"], row["low"], row["high"]) == (1, None, None)
    assert "nan" not in found.reasons[0]
    json.dumps(found.rows(), allow_nan=False)


def test_what_cannot_be_stressed_is_refused(markets: dict[str, Stress], simulated_tape: StateTape) -> None:
    for kinds in ((), ("dear", "flood")):
        with pytest.raises(ValueError, match="must be some of dear, late, gaps, panic"):
            stressed_markets(simulated_tape, WINDOW, kinds=kinds)
    for given in (list(markets.values())[:1], list(markets.values())[1:]):
        with pytest.raises(ValueError, match="calm market first"):
            stress_test(DEFAULTS, DEFAULTS, given, "sharpe")
    for gap in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="gap"):
            gapped(simulated_tape, gap=gap)
    with pytest.raises(ValueError, match="shorter than a bar"):
        gapped(simulated_tape, every=timedelta(minutes=1))


def test_costs_are_those_given(simulated_tape: StateTape) -> None:
    made = stressed_markets(simulated_tape, WINDOW, Costs(2.0, 1.0, 10.0), kinds=("dear",))
    assert made[0].costs == Costs(2.0, 1.0, 10.0)
    assert made[1].costs == Costs(6.0, 3.0, 30.0)
