from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.evaluation.costs import Costs
from engine.evaluation.entry_signals import SignalRows
from engine.evaluation.panel import Panel
from engine.evaluation.sweep import Brackets
from engine.evaluation.sweep import trades_of as sweep_trades
from engine.tuning.kernel import entries, evaluate, trades_of
from engine.tuning.market_state import StateTape, state_tape
from engine.tuning.parameters import DEFAULTS, ParameterSet, highs, lows
from engine.tuning.reference_walk import walk
from engine.tuning.rules import KINDS

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1)
FREE = Costs(0.0, 0.0, 0.0)
NAN = np.nan


def tape_of(bars, *, volume=None, funding=None, **columns) -> StateTape:
    """Tape of one symbol from rows (open, high, low, close), None for a missing bar, and given columns."""
    table = np.array([[NAN] * 4 if row is None else row for row in bars], float)
    n = len(table)
    here = np.flatnonzero(np.isfinite(table[:, 0]))
    times = np.datetime64(START, "us") + np.arange(n) * np.timedelta64(HOUR)
    o, h, low, c = (np.ascontiguousarray(table[:, [k]]) for k in range(4))
    base = np.where(np.isfinite(o), 1e12, NAN) if volume is None else np.asarray(volume, float)[:, None]
    unknown, none = np.full(here.size, NAN), np.zeros(here.size, np.int8)
    given_ = {name: np.asarray(values)[here] for name, values in columns.items()}
    return StateTape(
        **{
            "panel": Panel(times, ("A",), HOUR, o, c, base, h, low),
            "funding": np.zeros((n, 1)) if funding is None else np.asarray(funding, float)[:, None],
            "symbol": np.zeros(here.size, np.int64),
            "at": here,
            "volatility_percentile": unknown,
            "breakout_side": none,
            "zscore": unknown,
            "mean": unknown,
            "social_strength": unknown,
            "social_direction": none,
            "news_strength": unknown,
            "news_direction": none,
            "expected_cost_bps": np.full(here.size, 6.0),
            "half_spread": np.zeros(here.size),
            "capital": 50_000.0,
            **given_,
        }
    )


def agree(
    tape: StateTape,
    sets: Iterable[np.ndarray],
    costs: Costs | None = None,
    every=DAY,
    lived: StateTape | None = None,
) -> int:
    """Assert that walk and kernel agree on every decision, trade and return; return the number of trades.

    The walk is over `lived` where that is given.
    """
    vectors = np.array(list(sets))
    together = evaluate(tape, vectors, costs, every=every)
    codes, trades = entries(tape, vectors), 0
    for s, vector in enumerate(vectors):
        parameters = ParameterSet.from_vector(vector)
        slow = walk(lived or tape, parameters, costs, every=every)
        fast = trades_of(tape, parameters, costs)
        assert np.abs(together.returns[s] - slow.returns).max() <= 1e-12
        assert fast.height == len(slow.trades) == together.trades[s]
        for row, decision in slow.decisions.items():
            if decision.action != "hold":
                code = 0 if decision.kind is None else decision.side * (1 + KINDS.index(decision.kind))
                assert codes[s, row] == code
        same_trades(fast, slow.trades)
        trades += fast.height
    return trades


def same_trades(fast: pl.DataFrame, trades: list[dict]) -> None:
    expected = pl.DataFrame(trades, schema=fast.schema, orient="row")
    for name, dtype in fast.schema.items():
        if dtype == pl.Float64:
            assert fast[name].is_null().equals(expected[name].is_null())
            gap = (fast[name] - expected[name]).abs() / expected[name].abs().clip(1.0)
            assert (gap.max() or 0.0) <= 1e-12, name
        else:
            assert fast[name].equals(expected[name], null_equal=True), name


# ------------------------------------------------------------------------------------- known answers

FLAT = (100.0, 101.0, 99.0, 100.0)
BREAKS = {"volatility_percentile": [90.0] * 9, "breakout_side": np.array([1] + [0] * 8, np.int8)}


def test_a_trade_by_hand_with_fees_spread_impact_and_funding():
    bars = [FLAT, (100, 101, 99, 100), (100, 110, 99.5, 104), *[FLAT] * 6]
    volume = [NAN, 1e6, 4e6, *[1e6] * 6]
    tape = tape_of(bars, volume=volume, funding=[0.5, 0.5, 0.001, *[0.5] * 6], **BREAKS)
    found = evaluate(tape, DEFAULTS.vector(), Costs(10.0, 2.0, 80.0))
    size = 0.5 / 1.5
    units = size * 50_000 / 100
    cost = size * (12e-4 + 80e-4 * (units / 1e6) ** 0.5) + size * 1.03 * (
        12e-4 + 80e-4 * (units / 4e6) ** 0.5
    )
    assert found.returns[0, 0] == pytest.approx(size * 0.03 - cost - size * 0.001, abs=1e-15)
    assert found.cost_paid[0] == pytest.approx(cost)
    assert found.funding_paid[0] == pytest.approx(size * 0.001)
    assert found.turnover[0] == pytest.approx(size * 2.03)
    assert (found.trades[0], found.won[0], found.exposure[0]) == (1, 1, pytest.approx(1 / 9))
    trade = trades_of(tape, DEFAULTS).row(0, named=True)
    assert (trade["decided_ts"].hour, trade["entry_ts"].hour, trade["exit_ts"].hour) == (0, 1, 2)
    assert (trade["kind"], trade["reason"], trade["exit_price"]) == (
        "BREAKOUT",
        "target",
        pytest.approx(103.0),
    )
    agree(tape, [DEFAULTS.vector()], Costs(10.0, 2.0, 80.0))


def test_a_measured_spread_is_charged_where_it_is_wider_than_the_configured_one():
    bars = [FLAT] * 3 + [(100, 101, 90, 95), *[FLAT] * 5]
    spread = [0.003, 0.0, 0.0001, *[0.0] * 6]
    tape = tape_of(bars, half_spread=spread, **BREAKS)
    size = 0.5 / 1.5
    expected = size * (-0.015 - 0.003 - 0.985 * 0.0002)
    assert evaluate(tape, DEFAULTS.vector(), Costs(0.0, 2.0, 0.0)).returns[0, 0] == pytest.approx(expected)
    agree(tape, [DEFAULTS.vector()], Costs(0.0, 2.0, 0.0))


def test_days_are_marked_to_their_last_close_and_gains_are_compounded():
    bars = [FLAT] * 23 + [(100, 101.5, 99.5, 101), (101, 102, 100, 101)] + [FLAT] * 30
    side = np.zeros(55, np.int8)
    side[[21, 30]] = 1
    bars[40] = (100.0, 104.0, 99.0, 100.0)
    tape = tape_of(bars, volatility_percentile=[90.0] * 55, breakout_side=side)
    found = evaluate(tape, DEFAULTS.vector(), FREE).returns[0]
    size = 0.5 / 1.5
    assert found[0] == pytest.approx(size * 0.01)
    assert np.prod(1 + found) == pytest.approx(1 + size * 0.03)
    agree(tape, [DEFAULTS.vector()], FREE)


def test_a_loss_beyond_all_equity_ends_the_account():
    """A short at full size through a tripled open; nothing is traded after."""
    bars = [FLAT, FLAT, (310.0, 320.0, 300.0, 310.0), *[(300.0, 301.0, 299.0, 300.0)] * 50]
    side = np.zeros(53, np.int8)
    side[[0, 10, 30]] = -1
    tape = tape_of(bars, volatility_percentile=[90.0] * 53, breakout_side=side)
    bold = ParameterSet(base_risk_pct=2.0, sl_breakout=2.0)
    found = evaluate(tape, bold.vector())
    assert found.returns[0].tolist() == [-1.0, 0.0, 0.0]
    assert trades_of(tape, bold)["reason"].to_list() == ["ruined"]
    agree(tape, [bold.vector()])
    unfilled = tape_of(
        bars, volume=[1e6, 1e6, *[0.0] * 51], volatility_percentile=[90.0] * 53, breakout_side=side
    )
    assert evaluate(unfilled, bold.vector()).returns[0].tolist() == [-1.0, 0.0, 0.0]
    agree(unfilled, [bold.vector()])


def test_orders_lapse_at_gaps_and_positions_are_held_through_them():
    lapsed = tape_of([FLAT, None, *[FLAT] * 7], **BREAKS)
    assert evaluate(lapsed, DEFAULTS.vector()).trades[0] == 0
    held = tape_of([FLAT, FLAT, None, None, (90.0, 91.0, 89.0, 90.0), *[FLAT] * 4], **BREAKS)
    assert trades_of(held, DEFAULTS)["exit_price"].to_list() == [90.0]
    gone = tape_of([FLAT, FLAT, *[None] * 80, *[FLAT] * 9],
                   volatility_percentile=[90.0] * 91, breakout_side=np.array([1] * 91, np.int8))  # fmt: skip
    assert trades_of(gone, DEFAULTS)["reason"][0] == "delisted"
    for tape in (lapsed, held, gone):
        agree(tape, [DEFAULTS.vector()])


def test_every_symbol_has_the_same_share(simulated_tape, some_sets):
    sets = some_sets(5)
    alone = [evaluate(simulated_tape.of(symbol), sets).returns for symbol in simulated_tape.symbols]
    assert evaluate(simulated_tape, sets).returns == pytest.approx(np.mean(alone, axis=0), abs=1e-15)


# ------------------------------------------------------------------------------------- parity


def test_kernel_and_algorithm_agree_on_a_simulated_market(simulated_tape, some_sets):
    trades = agree(simulated_tape, [DEFAULTS.vector(), *some_sets(3)])
    kinds = trades_of(simulated_tape, ParameterSet(social_go=0.5, cost_cap_bps=20.0))["kind"].unique()
    assert trades > 100
    assert set(kinds) == set(KINDS)


def test_kernel_and_algorithm_agree_with_outages_quiet_bars_and_a_delisting(simulated, some_sets):
    rng = np.random.default_rng(3)
    holes = rng.random(simulated.candles.height) < 0.004
    day = pl.int_range(pl.len()).over("symbol").is_between(2000, 2090)
    cut = simulated.candles.filter(~pl.Series(holes) & ~day)
    dry = pl.Series(rng.random(cut.height) < 0.01)
    cut = cut.with_columns(volume=pl.when(dry).then(0.0).otherwise(pl.col("volume")))
    tape = state_tape(cut, simulated.observations, HOUR)
    easy = ParameterSet(vol_pct_breakout=50, vol_pct_mean_revert=50, social_go=0.4, cost_cap_bps=30).vector()
    assert agree(tape, [easy, *some_sets(2, 4)], every=timedelta(hours=8)) > 150


@st.composite
def little_markets(draw) -> StateTape:
    """States at random, so that everything happens often, on a market with holes, jumps and dry bars."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 160))
    close = 50 * np.exp(np.cumsum(draw(st.sampled_from([0.004, 0.02, 0.3])) * rng.standard_t(3, n)))
    open_ = np.append(50, close[:-1]) * np.exp(0.003 * rng.normal(size=n) * (rng.random(n) < 0.3))
    high = np.maximum(open_, close) * np.exp(0.01 * rng.random(n))
    low = np.minimum(open_, close) * np.exp(-0.01 * rng.random(n))
    bars: list[tuple[float, ...] | None] = list(zip(open_, high, low, close, strict=True))
    for t in np.flatnonzero(rng.random(n) < draw(st.sampled_from([0.0, 0.05]))):
        bars[t] = None
    if n > 100 and draw(st.booleans()):
        bars[20:95] = [None] * 75
    bars[0] = bars[0] or (50.0, 51.0, 49.0, 50.0)

    def maybe(values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(n) < 0.1, NAN, values)

    score = np.round(rng.random((2, n)), 1)
    z = 3 * rng.normal(size=n)
    return tape_of(
        bars,
        volume=np.where(rng.random(n) < 0.1, 0.0, 10 ** rng.uniform(2, 5, n)),
        funding=1e-3 * rng.normal(size=n) * (rng.random(n) < 0.3),
        volatility_percentile=maybe(np.round(100 * rng.random(n))),
        breakout_side=rng.integers(-1, 2, n).astype(np.int8),
        zscore=maybe(z),
        mean=close * (1 - 0.01 * z / 2),
        social_strength=maybe(score[0]),
        social_direction=rng.choice([-1, 1], n).astype(np.int8),
        news_strength=maybe(score[1]),
        news_direction=rng.choice([-1, 1], n).astype(np.int8),
        expected_cost_bps=maybe(rng.uniform(4, 20, n)),
        half_spread=np.where(rng.random(n) < 0.5, 0.0, 1e-3 * rng.random(n)),
    )


@settings(max_examples=80, deadline=None)
@given(little_markets(), st.lists(st.floats(0, 1), min_size=22, max_size=22))
def test_kernel_and_algorithm_agree_on_little_markets(tape, shares):
    sets = lows() + np.array(shares).reshape(2, 11) * (highs() - lows())
    agree(tape, sets, Costs(5.0, 1.0, 100.0), every=timedelta(hours=6))


def test_kernel_and_algorithm_agree_on_every_recorded_symbol(recorded, some_sets):
    """Five months of each, at another time for each."""
    for number, (symbol, candles) in enumerate(recorded()):
        first = (number * 6007) % (candles.height - 3600)
        tape = state_tape(candles[first : first + 3600], None, HOUR)
        easy = ParameterSet(vol_pct_breakout=55, vol_pct_mean_revert=45, cost_cap_bps=30).vector()
        assert agree(tape, [easy, some_sets(1, number)[0]]) > 15, symbol


@pytest.mark.parametrize(
    "wrong",
    [
        lambda tape: {"breakout_side": np.roll(tape.breakout_side, -1), "zscore": np.roll(tape.zscore, -1)},
        lambda tape: {"funding": -tape.funding},
        lambda tape: {"half_spread": tape.half_spread + 2e-4},
        lambda tape: {"capital": 1.1 * tape.capital},
        lambda tape: {"mean": tape.mean * 1.001},
    ],
    ids=["one bar ahead", "funding turned", "wider spread", "larger orders", "another mean"],
)
def test_parity_sees_a_kernel_that_is_wrong(simulated_tape, wrong):
    tape = simulated_tape.of("BTC/USDT")
    agree(tape, [DEFAULTS.vector()])
    with pytest.raises(AssertionError):
        agree(replace(tape, **wrong(tape)), [DEFAULTS.vector()], lived=tape)


def test_the_sweep_trades_the_same_entries_at_the_same_prices(simulated, simulated_tape):
    """The other engine, given the entries as signals: same fills, same result per unit of size."""
    unknown, none = np.full(2900, NAN), np.zeros(2900)
    calm = replace(simulated_tape.of("BTC/USDT"), zscore=unknown, half_spread=none)
    p = ParameterSet(social_go=0.5, cost_cap_bps=30.0)
    ours = trades_of(calm, p)
    stops, targets = [p.sl_news / 100, p.sl_breakout / 100], [p.tp_news / 100, p.tp_breakout / 100]
    sizes = [p.news_max_risk_pct / p.sl_news, p.base_risk_pct / p.sl_breakout]
    theirs = sweep_trades(
        calm.panel,
        SignalRows(entries(calm, p.vector())[:, :, None], np.array([0])),
        Brackets([stops], [targets], notional=[[50_000 * size for size in sizes]]),
        0,
        funding=calm.funding,
    )
    assert ours.height == theirs.height > 30
    for name in ("entry_ts", "exit_ts", "side", "reason", "entry_price", "exit_price"):
        assert ours[name].equals(theirs[name], null_equal=True), name
    for name, expected in (("net_return", "net_pnl"), ("funding", "funding")):
        assert (ours[name] * 50_000).to_numpy() == pytest.approx(theirs[expected].to_numpy(), abs=1e-6)


# ------------------------------------------------------------------------------------- many sets


def test_the_result_of_a_set_depends_on_no_other_set_and_no_thread(simulated_tape, some_sets):
    sets = some_sets(150)
    whole = evaluate(simulated_tape, sets)
    threaded = evaluate(simulated_tape, sets, threads=2)
    for name in ("returns", "trades", "won", "turnover", "cost_paid", "funding_paid", "exposure"):
        values = getattr(whole, name)
        assert np.array_equal(values, getattr(threaded, name))
        for s in (0, 63, 64, 149):
            assert np.array_equal(values[s], getattr(evaluate(simulated_tape, sets[s]), name)[0])
    assert len(whole) == 150
    assert whole.returns.shape == (150, whole.periods.size)


def test_dearer_fills_earn_less_and_change_no_decision(simulated_tape, some_sets):
    sets = some_sets(20)
    cheap, dear = (evaluate(simulated_tape, sets, Costs(fee, 1.0, 100.0)) for fee in (5.0, 25.0))
    assert np.array_equal(cheap.trades, dear.trades)
    traded = cheap.trades > 0
    assert traded.any()
    assert (cheap.returns.sum(axis=1) > dear.returns.sum(axis=1))[traded].all()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [(0, 49.0, "volPctBreakout = 49 must lie between 50 and 95"), (3, NAN, "set 1: costCapBps = nan")],
)
def test_a_value_out_of_bounds_is_named(simulated_tape, column, value, message):
    sets = np.array([DEFAULTS.vector(), DEFAULTS.vector()])
    sets[1, column] = value
    with pytest.raises(ValueError, match=message):
        evaluate(simulated_tape, sets)


def test_other_bad_input_is_refused(simulated_tape):
    with pytest.raises(ValueError, match=r"\(n, 11\) needed"):
        evaluate(simulated_tape, np.zeros((3, 10)))
    with pytest.raises(ValueError, match="at least a bar"):
        evaluate(simulated_tape, DEFAULTS.vector(), every=timedelta(minutes=5))
    wrong = tape_of([FLAT, (100.0, 99.0, 98.0, 100.0), FLAT], **{k: v[:3] for k, v in BREAKS.items()})
    with pytest.raises(DataError, match="does not hold"):
        evaluate(wrong, DEFAULTS.vector())
