"""The live account carried from bar to bar: the same trades as the kernel's, and no bar decided twice."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel
from engine.market.simulator import SimulatedMarket
from engine.tuning.kernel import evaluate, trades_of
from engine.tuning.live_account import InUse, LiveAccount
from engine.tuning.live_figures import account_curve, daily_returns
from engine.tuning.live_walk import EquityPoint, LiveWalk, live_walk
from engine.tuning.market_state import MarketState, StateTape, state_tape
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.positions import Position
from engine.tuning.reference_walk import walk
from engine.tuning.rules import MAX_GAP

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1)
NAN = np.nan
Bar = tuple[float, float, float, float]
BUSY = ParameterSet.from_mapping(
    {"volPctBreakout": 50, "volPctMeanRevert": 50, "costCapBps": 30, "tpBreakout": 1.5, "socialGo": 0.6}
)
OTHER = ParameterSet.from_mapping({"tpBreakout": 6.0, "slBreakout": 3.0, "slNews": 3.0}, BUSY)


def always(parameters: ParameterSet, version: int = 1) -> Callable[[MarketState], InUse]:
    return lambda state: InUse(parameters, version)


def kept(walk_: LiveWalk) -> dict[str, LiveAccount]:
    """The accounts as they come back from a store of text."""
    return {
        symbol: LiveAccount.from_dict(json.loads(json.dumps(account.to_dict())))
        for symbol, account in walk_.accounts.items()
    }


def closed(found: LiveWalk) -> pl.DataFrame:
    """Trades that ended, by entry and symbol."""
    ends = [
        (line, line.order)
        for line in found.ledger
        if line.net_return is not None and isinstance(line.order, Position)
    ]
    rows = [
        {
            "symbol": line.symbol, "decided_ts": line.decided_ts, "entry_ts": held.ts,
            "exit_ts": line.ts, "kind": held.kind, "side": held.side, "size": held.size,
            "entry_price": held.price, "exit_price": line.price, "net_return": line.net_return,
            "reason": line.event,
        }
        for line, held in ends
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"decided_ts": pl.Datetime("us")}).sort("entry_ts", "symbol")


def daily(found: LiveWalk, symbol: str) -> np.ndarray:
    """Returns by day, from the last value of each."""
    points = pl.DataFrame([p for p in found.equity if p.symbol == symbol], orient="row")
    last = points.group_by(pl.col("ts").dt.date(), maintain_order=True).last()["equity"].to_numpy()
    return last / np.append(1.0, last[:-1]) - 1.0


def flat_tape(
    bars: Sequence[Bar | None],
    *,
    volume: list[float] | None = None,
    funding: list[float] | None = None,
    breakout: tuple[int, ...] = (0,),
) -> StateTape:
    """One symbol from rows (open, high, low, close), None for a missing bar; it breaks out at bars named."""
    table = np.array([[NAN] * 4 if row is None else row for row in bars], float)
    n, here = len(table), np.flatnonzero(np.isfinite(table[:, 0]))
    o, h, low, c = (np.ascontiguousarray(table[:, [k]]) for k in range(4))
    base = np.where(np.isfinite(o), 1e12, NAN) if volume is None else np.array(volume, float)[:, None]
    side = np.isin(np.arange(n), breakout).astype(np.int8)
    unknown, none = np.full(here.size, NAN), np.zeros(here.size, np.int8)
    return StateTape(
        panel=Panel(np.datetime64(START, "us") + np.arange(n) * np.timedelta64(HOUR), ("A",), HOUR, o, c,
                    base, h, low),
        funding=np.zeros((n, 1)) if funding is None else np.array(funding, float)[:, None],
        symbol=np.zeros(here.size, np.int64), at=here, volatility_percentile=np.full(here.size, 90.0),
        breakout_side=side[here], zscore=unknown, mean=unknown, social_strength=unknown,
        social_direction=none, news_strength=unknown, news_direction=none,
        expected_cost_bps=np.full(here.size, 6.0), half_spread=np.zeros(here.size), capital=50_000.0,
    )  # fmt: skip


FLAT = (100.0, 100.5, 99.5, 100.0)


@pytest.mark.parametrize("parameters", [DEFAULTS, BUSY, OTHER])
def test_with_constant_parameters_it_is_the_kernel(
    simulated_tape: StateTape, parameters: ParameterSet
) -> None:
    costs = Costs(4.0, 1.5, 80.0)
    found = live_walk(simulated_tape, {}, always(parameters), costs, start=START)
    fast = trades_of(simulated_tape, parameters, costs)
    ended, mine = fast.filter(pl.col("reason") != "open"), closed(found)
    assert mine.height == ended.height > 20
    for name in mine.columns:
        if mine[name].dtype == pl.Float64:
            np.testing.assert_allclose(mine[name], ended[name], rtol=1e-12, atol=1e-12)
        else:
            assert mine[name].to_list() == ended[name].to_list(), name
    charged = sum(line.fee + line.slippage for line in found.ledger if line.net_return is not None)
    charged += sum(line.fee + line.slippage for line in found.ledger if line.event == "entry")
    assert charged == pytest.approx(fast["cost"].sum())
    assert sum(line.funding for line in found.ledger) == pytest.approx(fast["funding"].sum())
    returns = np.mean([daily(found, symbol) for symbol in simulated_tape.symbols], axis=0)
    points = pl.DataFrame(found.equity, schema=EquityPoint._fields, orient="row")
    days = len(returns)
    np.testing.assert_allclose(daily_returns(points, START, START + days * DAY), returns, rtol=0, atol=1e-12)
    curve = account_curve(points)
    assert curve["equity"][-1] == pytest.approx(np.prod(1.0 + returns))
    expected = evaluate(simulated_tape, parameters.vector(), costs).returns[0]
    np.testing.assert_allclose(returns, expected, rtol=0, atol=1e-12)


def test_with_constant_parameters_it_decides_as_the_reference_to_the_last_bit(
    simulated_tape: StateTape,
) -> None:
    found = live_walk(simulated_tape, {}, always(BUSY), start=START)
    slow = walk(simulated_tape, BUSY)
    rows = {
        (simulated_tape.symbols[simulated_tape.symbol[r]], simulated_tape.ts[r].item()): r
        for r in slow.decisions
    }
    assert len(found.decisions) == len(slow.decisions)
    for decision in found.decisions:
        assert decision.made == slow.decisions[rows[decision.symbol, decision.ts]]
    ended = [t["net_return"] for t in slow.trades if t["reason"] != "open"]
    assert closed(found)["net_return"].to_list() == ended


@pytest.mark.parametrize("cut", [1, 333, 1500])
def test_bars_walked_in_two_calls_give_the_same_as_in_one(simulated_tape: StateTape, cut: int) -> None:
    def ask(state: MarketState) -> InUse:
        return InUse(BUSY, 1) if state.ts.day % 3 else InUse(OTHER, 2, "global", {"slNews": 3.0})

    once = live_walk(simulated_tape, {}, ask, start=START)
    border = simulated_tape.panel.times[cut].item()
    first = live_walk(simulated_tape.between(START, border), {}, ask, start=START)
    before = {symbol: account.to_dict() for symbol, account in first.accounts.items()}
    second = live_walk(simulated_tape, kept(first), ask, start=START)
    assert {s: a.to_dict() for s, a in second.accounts.items()} == {
        s: a.to_dict() for s, a in once.accounts.items()
    }
    for name in ("decisions", "ledger", "equity"):
        both = sorted(getattr(first, name) + getattr(second, name), key=lambda line: (line.symbol, line.ts))
        assert both == sorted(getattr(once, name), key=lambda line: (line.symbol, line.ts)), name
    assert {symbol: account.to_dict() for symbol, account in first.accounts.items()} == before
    again = live_walk(simulated_tape, second.accounts, ask, start=START)
    assert [again.decisions, again.ledger, again.equity] == [[], [], []]


def test_new_bars_alone_with_their_warm_up_suffice(simulated: SimulatedMarket) -> None:
    """The tape of a later run begins later: nothing changes."""
    whole = state_tape(simulated.candles, simulated.observations, HOUR)
    once = live_walk(whole, {}, always(BUSY), start=START)
    border = START + 70 * DAY
    first = live_walk(whole.between(START, border), {}, always(BUSY), start=START)
    late = simulated.candles.filter(pl.col("ts") > border - 33 * DAY)
    second = live_walk(state_tape(late, simulated.observations, HOUR), kept(first), always(BUSY), start=START)
    assert first.decisions + second.decisions == sorted(
        once.decisions, key=lambda d: (d.ts >= border, d.symbol, d.ts)
    )
    assert {s: a.to_dict() for s, a in second.accounts.items()} == {
        s: a.to_dict() for s, a in once.accounts.items()
    }


def test_an_open_position_keeps_the_stop_and_target_of_its_entry_and_the_change_waits() -> None:
    """The new stop at 97 % and target at 106 % would both leave it open; the old target closes it."""
    bars = [FLAT, FLAT, FLAT, (100, 102.5, 99.9, 102.4), FLAT, FLAT, FLAT]
    tape = flat_tape(bars, breakout=(0, 4))
    old = ParameterSet.from_mapping({"tpBreakout": 2.0, "slBreakout": 1.0})
    new = ParameterSet.from_mapping(
        {"tpBreakout": 6.0, "slBreakout": 3.0, "slNews": 4.0, "socialGo": 0.5}, old
    )

    def ask(state: MarketState) -> InUse:
        return InUse(old, 1) if state.ts < START + 2 * HOUR else InUse(new, 2)

    found = live_walk(tape, {}, ask, start=START)
    by_hour = {decision.ts.hour: decision for decision in found.decisions}
    assert by_hour[0].made.action == "enter"
    assert by_hour[1].waits == ()
    held = by_hour[2]
    assert (held.made.action, held.under.version) == ("hold", 2)
    assert (held.made.stop, held.made.target) == (0.01, 0.02)
    assert held.waits == ("tpBreakout", "slBreakout")
    assert held.made.reasons[1:] == (
        "tpBreakout 2 -> 6 waits until this position is closed",
        "slBreakout 1 -> 3 waits until this position is closed",
    )
    exit_ = next(line for line in found.ledger if line.event == "target")
    assert (exit_.ts.hour, exit_.price, exit_.under.version) == (3, pytest.approx(102.0), 1)
    entered = by_hour[4].made
    assert (entered.action, entered.stop, entered.target) == ("enter", 0.03, 0.06)
    assert [line.under.version for line in found.ledger if line.event == "entry"] == [1, 2]


def test_an_order_decided_under_old_parameters_is_filled_as_it_was_decided() -> None:
    tape = flat_tape([FLAT] * 4)
    first = live_walk(tape.between(START, START + HOUR), {}, always(DEFAULTS, 1), start=START)
    assert first.accounts["A"].order is not None
    second = live_walk(tape, kept(first), always(OTHER, 2), start=START)
    held = second.accounts["A"].held
    assert held is not None
    assert (held.under.version, held.position.stop, held.position.ts) == (1, 0.015, START + HOUR)


def test_an_order_lapses_where_the_bar_is_missing_or_nothing_trades() -> None:
    for tape in (flat_tape([FLAT, None, FLAT, FLAT]), flat_tape([FLAT] * 4, volume=[1e9, 0.0, 1e9, 1e9])):
        found = live_walk(tape, {}, always(DEFAULTS), start=START)
        assert [(line.event, line.ts.hour) for line in found.ledger] == [("lapsed", 1)]
        assert found.accounts["A"].held is None


def test_bars_missing_at_the_end_may_be_late_until_the_symbol_counts_as_delisted() -> None:
    """A second symbol's clock goes on; a bar that comes late is still walked."""

    def both(missing: int) -> StateTape:
        own = flat_tape([FLAT, FLAT, *[None] * missing, FLAT], funding=[0.0] * 2 + [1e-4] * missing + [0.0])
        panel = own.panel
        wide = {
            name: np.column_stack([getattr(panel, name), np.full(len(panel.times), 100.0)])
            for name in ("open", "high", "low", "close", "volume")
        }
        for values in wide.values():
            values[-1, 0] = NAN
        at = np.arange(len(panel.times))
        rows = np.append([0, 1], at)
        columns: dict[str, Any] = {
            name: np.append(getattr(own, name)[:2], np.repeat(getattr(own, name)[1:2], at.size))
            for name in (
                "volatility_percentile", "breakout_side", "zscore", "mean", "social_strength",
                "social_direction", "news_strength", "news_direction", "expected_cost_bps", "half_spread",
            )
        }  # fmt: skip
        return replace(
            own, panel=Panel(panel.times, ("A", "B"), HOUR, **wide),
            funding=np.column_stack([own.funding[:, 0], np.zeros(at.size)]),
            symbol=np.append([0, 0], np.ones(at.size, np.int64)), at=rows, **columns,
        )  # fmt: skip

    waiting = live_walk(both(MAX_GAP - 1), {}, always(DEFAULTS), start=START)
    assert waiting.accounts["A"].ts == START + HOUR
    assert waiting.accounts["A"].held is not None
    gone = both(MAX_GAP + 5)
    found = live_walk(gone, kept(waiting), always(DEFAULTS), start=START)
    expected = trades_of(gone, DEFAULTS).filter(pl.col("symbol") == "A").row(0, named=True)
    end = next(line for line in found.ledger if line.event == "delisted")
    assert expected["reason"] == "delisted"
    assert (end.ts, end.net_return) == (expected["exit_ts"], pytest.approx(expected["net_return"], abs=1e-15))
    assert found.equity[0] == ("A", end.ts, pytest.approx(1.0 + expected["net_return"]), 0.0)
    assert not live_walk(gone, kept(found), always(DEFAULTS), start=START).ledger


def test_an_account_that_lost_all_decides_nothing_more() -> None:
    bars = [FLAT, FLAT, (99.0, 400.0, 98.0, 390.0), *[(390.0, 391.0, 389.0, 390.0)] * 30]
    tape = flat_tape(bars, breakout=(0, 5))
    tape = replace(tape, breakout_side=-tape.breakout_side, volatility_percentile=np.full(len(bars), 90.0))
    bold = ParameterSet.from_mapping({"baseRiskPct": 2.0, "slBreakout": 2.0})
    jump = replace(
        tape, panel=replace(tape.panel, volume=np.where(np.arange(len(bars))[:, None] == 2, 0.0, 1e12))
    )
    found = live_walk(jump, {}, always(bold), start=START)
    assert found.ledger[-1].event == "ruined"
    assert found.accounts["A"].value == 0.0
    assert found.decisions[-1].ts <= found.ledger[-1].ts
    slow = walk(jump, bold)
    assert slow.trades[-1]["reason"] == "ruined"
    assert slow.trades[-1]["net_return"] == found.ledger[-1].net_return


def test_the_state_is_plain_json_to_the_last_bit(simulated_tape: StateTape) -> None:
    whole = live_walk(simulated_tape, {}, always(BUSY), start=START)
    actions = {
        action: next(d.ts for d in whole.decisions if d.made.action == action) for action in ("enter", "hold")
    }
    for action, ts in actions.items():
        found = live_walk(simulated_tape.between(START, ts + HOUR), {}, always(BUSY), start=START)
        stands = [account.order if action == "enter" else account.held for account in found.accounts.values()]
        assert any(stands), action
        assert kept(found) == found.accounts


def test_parameters_are_asked_for_once_per_decision(simulated_tape: StateTape) -> None:
    asked: list[tuple[str, datetime]] = []

    def ask(state: MarketState) -> InUse:
        asked.append((state.symbol, state.ts))
        return InUse(BUSY)

    found = live_walk(simulated_tape, {}, ask, start=START + 60 * DAY)
    assert asked == [(decision.symbol, decision.ts) for decision in found.decisions]
    assert len(set(asked)) == len(asked)
    assert min(ts for _, ts in asked) == START + 60 * DAY


def test_days_without_bars_returned_nothing_and_who_comes_later_is_cash_before() -> None:
    at = [START + k * 12 * HOUR for k in (0, 1, 2, 3, 6, 7)]
    first = pl.DataFrame({"symbol": "A", "ts": at, "equity": [1.0, 1.1, 1.1, 1.21, 1.21, 1.331]})
    later = pl.DataFrame({"symbol": "B", "ts": at[2:], "equity": [1.0, 0.8, 0.8, 0.0]})
    points = pl.concat([first, later])
    expected = [0.05, (0.1 - 0.2) / 2, 0.0, (0.1 - 1.0) / 2]
    assert daily_returns(points, START, START + 4 * DAY) == pytest.approx(expected)
    assert daily_returns(points, START + DAY, START + 3 * DAY) == pytest.approx(expected[1:3])
    assert account_curve(points)["equity"][-1] == pytest.approx(1.05 * 0.95 * 0.55)
