"""Stressed markets: each is worse by just what it says; candidates beside what is in force."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.evaluation.costs import Costs
from engine.evaluation.splits import Window
from engine.market.regime_path import market_path
from engine.regimes.names import REGIMES
from engine.tuning.candidates import WAY, bar_figures
from engine.tuning.kernel import entries, evaluate, trades_of
from engine.tuning.market_state import StateTape
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.rules import MAX_GAP
from engine.tuning.scenarios import HIGH
from engine.tuning.search import SearchConfig, search
from engine.tuning.stress import robust_objective, stress_test
from engine.tuning.stressed_markets import Stress, gapped, panic, stressed_markets

Sets = Callable[[int, int], np.ndarray]
HOUR = timedelta(hours=1)
WINDOW = Window(datetime(2024, 2, 10), datetime(2024, 4, 20))


@pytest.fixture(scope="module")
def markets(simulated_tape: StateTape) -> dict[str, Stress]:
    return {market.name: market for market in stressed_markets(simulated_tape, WINDOW, seed=3)}


def test_every_market_spans_its_window_with_states_known_from_the_start(markets: dict[str, Stress]) -> None:
    assert list(markets) == ["calm", "dear", "late", "gaps", "panic 1", "panic 2", "panic 3"]
    for name, market in markets.items():
        tape = market.tape
        assert market.meaning
        first = tape.ts == tape.ts.min()
        if name != "late":
            assert np.isfinite(tape.volatility_percentile[first]).all()
            assert np.isfinite(tape.expected_cost_bps[first]).all()
        if not name.startswith("panic"):
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


def test_a_robust_objective_weighs_calm_and_the_worst_stress() -> None:
    def up(sets: np.ndarray) -> np.ndarray:
        return sets[:, 0]

    def down(sets: np.ndarray) -> np.ndarray:
        return -sets[:, 0]

    sets = np.array([[1.0], [-2.0]])
    assert robust_objective(up, [up, down], 0.25)(sets).tolist() == [0.75 - 0.25, -1.5 - 0.5]
    assert robust_objective(up, [down], 0.0)(sets).tolist() == up(sets).tolist()
    for weight in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="weight"):
            robust_objective(up, [down], weight)
    with pytest.raises(ValueError, match="at least one"):
        robust_objective(up, [], 0.5)


def test_a_robust_search_takes_what_bears_stress() -> None:
    """Calm rewards risk without end; under stress all above 0.5 % is lost."""
    column = list(DEFAULTS.to_dict()).index("baseRiskPct")

    def calm(sets: np.ndarray) -> np.ndarray:
        return sets[:, column]

    def stressed(sets: np.ndarray) -> np.ndarray:
        return -10.0 * np.maximum(sets[:, column] - 0.5, 0.0)

    start = ParameterSet.from_mapping({"baseRiskPct": 0.3})
    config = SearchConfig(("baseRiskPct",), 15, aggressiveness=HIGH, pairs=8)
    assert search(calm, config, start).best.base_risk_pct == pytest.approx(2.0)
    robust = search(robust_objective(calm, [stressed], 0.5), config, start)
    assert robust.best.base_risk_pct == pytest.approx(0.5)


def test_what_is_far_worse_under_stress_is_flagged_in_words(markets: dict[str, Stress]) -> None:
    timid = ParameterSet.from_mapping({"baseRiskPct": 0.1, "newsMaxRiskPct": 0.1})
    bold = ParameterSet.from_mapping({"baseRiskPct": 2.0, "slBreakout": 2.0, "slRevert": 2.0})
    found = stress_test(timid, bold, list(markets.values()), "balanced")
    assert not found.passed
    assert any(reason.startswith("panic") for reason in found.reasons)
    assert all("of what is in force; at most" in reason for reason in found.reasons)
    assert found.table["market"].to_list() == list(markets)
    table = found.table.filter(~found.table["market"].str.starts_with("panic"))
    np.testing.assert_allclose(table["candidate_loss"], table["candidate"][0] - table["candidate"])
    differences = (found.table["candidate"] - found.table["incumbent"])[1:]
    assert found.worst == differences.min()
    assert found.mean == pytest.approx(differences.mean())


def test_what_is_in_force_passes_beside_itself(markets: dict[str, Stress]) -> None:
    found = stress_test(DEFAULTS, DEFAULTS, list(markets.values()), "sharpe")
    assert found.passed
    assert found.worst == found.mean == 0.0
    assert found.table["incumbent_loss"].equals(found.table["candidate_loss"])


def test_what_cannot_be_stressed_is_refused(markets: dict[str, Stress], simulated_tape: StateTape) -> None:
    for given in (list(markets.values())[:1], list(markets.values())[1:]):
        with pytest.raises(ValueError, match="calm market first"):
            stress_test(DEFAULTS, DEFAULTS, given, "sharpe")
    for gap in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="gap"):
            gapped(simulated_tape, gap=gap)
    with pytest.raises(ValueError, match="shorter than a bar"):
        gapped(simulated_tape, every=timedelta(minutes=1))


def test_costs_are_those_given(simulated_tape: StateTape) -> None:
    made = stressed_markets(simulated_tape, WINDOW, Costs(2.0, 1.0, 10.0))
    assert made[0].costs == Costs(2.0, 1.0, 10.0)
    assert made[1].costs == Costs(6.0, 3.0, 30.0)
