"""The paper broker, carried from day to day, against the backtest that knows all bars beforehand."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.backtest import backtest
from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel
from engine.evaluation.paper_broker import Account, advance, place

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)


def market(bars: int, symbols: int, seed: int, hole: float = 0.1) -> tuple[Panel, np.ndarray]:
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.02, (bars, symbols)), axis=0))
    opens = close * np.exp(random.normal(0, 0.003, close.shape))
    volume = random.exponential(500, close.shape) * (random.random(close.shape) > 0.05)
    holes = random.random(close.shape) < hole
    for values in (opens, close, volume):
        values[holes] = np.nan
    times = np.datetime64(START, "us") + np.arange(bars) * np.timedelta64(HOUR)
    names = tuple(f"S{i}/USDT" for i in range(symbols))
    rates = np.where(random.random(close.shape) < 0.1, random.normal(0, 1e-3, close.shape), 0.0)
    return Panel(times, names, HOUR, opens, close, volume), rates


def carried(
    panel: Panel, targets: np.ndarray, rates: np.ndarray, costs: Costs, every: int, max_gap: int
) -> tuple[Account, list]:
    """Trade the targets in sittings of `every` bars, each from the account that the last one saved."""
    account = Account(equity=100_000.0)
    ledger = []
    for t in range(len(panel.times)):
        now = panel.times[t].item() + HOUR
        if t % every == every - 1 or np.isfinite(targets[t]).any():
            account, events = advance(account, panel, rates, now, costs, max_gap)
            ledger += events
            wanted = {
                s: float(targets[t, i])
                for i, s in enumerate(panel.symbols)
                if np.isfinite(targets[t, i]) and np.isfinite(panel.open[t, i])
            }
            account = place(account, wanted, now, now)
            account = Account.from_dict(json.loads(json.dumps(account.to_dict())))
    account, events = advance(account, panel, rates, panel.times[-1].item() + HOUR, costs, max_gap)
    return account, ledger + events


@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([3, 72]))
@settings(max_examples=60, deadline=None)
def test_carried_from_day_to_day_it_is_the_backtest(seed: int, every: int, max_gap: int) -> None:
    panel, rates = market(120, 3, seed)
    random = np.random.default_rng(seed + 1)
    targets = np.where(random.random((120, 3)) < 0.08, random.normal(0, 0.5, (120, 3)), np.nan)
    costs = Costs(7.0, 2.0, 80.0)
    known = backtest(panel, targets, costs=costs, funding=rates, capital=100_000.0, max_gap=max_gap)
    account, ledger = carried(panel, targets, rates, costs, every, max_gap)
    equity = known.equity["equity"].to_numpy()
    assert account.equity == pytest.approx(equity[-1], rel=1e-9)
    held = [account.quantities.get(s, 0.0) for s in panel.symbols]
    assert held == pytest.approx(known.quantities[-1], rel=1e-9, abs=1e-12)
    assert sum(e.fee for e in ledger) == pytest.approx(known.equity["fees"].sum(), rel=1e-9)
    assert sum(e.slippage for e in ledger) == pytest.approx(known.equity["slippage"].sum(), rel=1e-9)
    assert sum(e.funding for e in ledger) == pytest.approx(known.equity["funding"].sum(), rel=1e-9, abs=1e-9)


def steady(bars: int = 6, price: float = 100.0) -> Panel:
    values = np.full((bars, 1), price)
    times = np.datetime64(START, "us") + np.arange(bars) * np.timedelta64(HOUR)
    return Panel(times, ("A/USDT",), HOUR, values, values, np.full((bars, 1), 1e6))


def test_a_fill_by_hand() -> None:
    panel = steady()
    panel.open[2:] = 110.0
    none = np.zeros_like(panel.open)
    costs = Costs(10.0, 5.0, 0.0)
    account = place(Account(1_000.0), {"A/USDT": 0.5}, START + HOUR, START + HOUR)
    account, events = advance(account, panel, none, START + 4 * HOUR, costs)
    # 5 units at 100: 0.5 fee, 0.25 slippage; then the price rises by 10
    [fill] = events
    assert (fill.kind, fill.quantity, fill.price, fill.fee) == ("fill", 5.0, 100.0, pytest.approx(0.5))
    assert account.equity == pytest.approx(1_000 - 0.75 + 50)
    assert account.weights({"A/USDT": 121.0})["A/USDT"] == pytest.approx(605 / (1049.25 + 55))


def test_funding_is_paid_by_what_is_carried_into_its_stamp() -> None:
    panel = steady()
    rates = np.zeros_like(panel.open)
    rates[1] = rates[3] = 0.001
    account = place(Account(1_000.0), {"A/USDT": 1.0}, START + HOUR, START + HOUR)
    account, events = advance(account, panel, rates, START + 6 * HOUR, Costs(0, 0, 0))
    paid = [(e.ts, e.funding) for e in events if e.kind == "funding"]
    assert paid == [(START + 3 * HOUR, pytest.approx(1.0))]
    assert account.equity == pytest.approx(999.0)


def test_an_order_without_a_bar_or_volume_lapses_and_says_why() -> None:
    panel = steady()
    panel.open[1], panel.volume[2] = np.nan, 0.0
    none = np.zeros_like(panel.open)
    account = place(Account(1_000.0), {"A/USDT": 1.0}, START + HOUR, START + HOUR)
    account, first = advance(account, panel, none, START + 2 * HOUR)
    account = place(account, {"A/USDT": 1.0}, START + 2 * HOUR, START + 2 * HOUR)
    account, second = advance(account, panel, none, START + 4 * HOUR)
    assert [e.kind for e in first + second] == ["lapsed", "lapsed"]
    assert "no bar" in first[0].note
    assert "no volume" in second[0].note
    assert account.equity == 1_000.0


def test_a_missed_day_is_caught_up_with_and_its_order_is_not_filled_late() -> None:
    panel = steady(72)
    rates = np.zeros_like(panel.open)
    rates[8::8] = 1e-4
    account = place(Account(1_000.0), {"A/USDT": 1.0}, START + HOUR, START + HOUR)
    daily = account
    for day in (1, 2, 3):
        daily, _ = advance(daily, panel, rates, START + timedelta(days=day))
    at_once, _ = advance(account, panel, rates, START + timedelta(days=3))
    assert daily == at_once
    with pytest.raises(ValueError, match="cannot be filled"):
        place(daily, {"A/USDT": 0.0}, START + timedelta(days=1), START + timedelta(days=1))


def test_nothing_is_traded_after_ruin() -> None:
    panel = steady()
    panel.open[3:] = 1.0
    none = np.zeros_like(panel.open)
    account = place(Account(1_000.0), {"A/USDT": 2.0}, START + HOUR, START + HOUR)
    account, events = advance(account, panel, none, START + 5 * HOUR, Costs(0, 0, 0))
    assert [e.kind for e in events] == ["fill", "ruined", "delisted"]
    assert account.ruined
    assert not account.quantities
    later = place(account, {"A/USDT": 1.0}, START + 5 * HOUR, START + 5 * HOUR)
    later, events = advance(later, panel, none, START + 6 * HOUR)
    assert [e.kind for e in events] == ["lapsed"]
    assert later.equity == account.equity


def test_a_hole_in_what_is_handed_over_is_refused() -> None:
    panel = steady()
    held = replace(Account(1_000.0), quantities={"A/USDT": 1.0}, marks={"A/USDT": 100.0})
    held = replace(held, clock=START - timedelta(days=2))
    with pytest.raises(ValueError, match="hand over the bars between"):
        advance(held, panel, np.zeros_like(panel.open), START + HOUR)
