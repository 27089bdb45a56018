from __future__ import annotations

from datetime import timedelta

import numba as nb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.evaluation.costs import Costs
from engine.evaluation.entry_signals import BREAKOUT, REVERSION, ChannelEntries, SignalRows
from engine.evaluation.panel import Panel
from engine.evaluation.sweep import Brackets, sweep, trades_of
from engine.evaluation.trade_log import fingerprint

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FREE = Costs(0.0, 0.0, 0.0)
NAN = np.nan


def market(bars, volume=None, listing=None) -> Panel:
    """Panel of one symbol from rows (open, high, low, close); a row of None is a missing bar."""
    table = np.array([[NAN] * 4 if row is None else row for row in bars], dtype=float)
    times = np.datetime64("2024-01-01", "us") + np.arange(len(table)) * np.timedelta64(HOUR)
    volume = np.where(np.isfinite(table[:, 0]), 1e9, NAN) if volume is None else np.asarray(volume, float)
    o, h, low, c = (np.ascontiguousarray(table[:, k])[:, None] for k in range(4))
    numbers = None if listing is None else np.asarray(listing)[:, None]
    return Panel(times, ("A",), HOUR, o, c, volume[:, None], h, low, numbers)


def signal(values) -> SignalRows:
    return SignalRows(np.asarray(values, np.int8)[None, :, None], np.array([0]))


def only(panel, signals, stop, target, **options) -> dict:
    """The one trade of a market; a size of one unit and no costs unless told."""
    settings_ = {"costs": FREE, **options}
    found = trades_of(panel, signal(signals), Brackets([stop], [target], quantity=1.0), 0, **settings_)
    assert found.height == 1
    return found.row(0, named=True)


FLAT = (100.0, 101.0, 99.0, 100.0)


# of the trades on `exact_market`: a change made for speed leaves it as it is
FINGERPRINT = "fa4fba3ada2629b458eb92061b05c338b1f62979d018c2348b54a402a6433f29"


# ------------------------------------------------------------------------------------- known answers


def test_a_signal_is_filled_at_the_next_open_and_left_at_the_target():
    bars = [FLAT, (102.0, 103.0, 101.0, 102.0), (102.0, 115.0, 101.0, 110.0), FLAT]
    trade = only(market(bars), [1, 0, 0, 0], 0.05, 0.1, costs=Costs(10.0, 0.0, 0.0))
    assert trade["entry_ts"].hour == 1
    assert (trade["entry_price"], trade["reason"], trade["exit_ts"].hour) == (102.0, "target", 2)
    assert trade["exit_price"] == pytest.approx(112.2)
    assert trade["fees"] == pytest.approx((102 + 112.2) * 1e-3)
    assert trade["net_pnl"] == pytest.approx(10.2 - 0.2142)


def test_an_open_beyond_the_stop_fills_at_the_open():
    bars = [FLAT, FLAT, (90.0, 91.0, 89.0, 90.0), FLAT]
    assert only(market(bars), [1, 0, 0, 0], 0.05, 0.1)["exit_price"] == 90.0
    up = [FLAT, FLAT, (110.0, 111.0, 109.0, 110.0), FLAT]
    assert only(market(up), [-1, 0, 0, 0], 0.05, 0.1)["exit_price"] == 110.0
    assert only(market(up), [1, 0, 0, 0], 0.05, 0.08)["exit_price"] == 110.0


def test_stop_comes_before_target_inside_a_bar_and_is_counted():
    bars = [FLAT, FLAT, (100.0, 120.0, 80.0, 100.0), FLAT]
    for side in (1, -1):
        trade = only(market(bars), [side, 0, 0, 0], 0.05, 0.05)
        assert trade["reason"] == "stop"
        assert trade["net_pnl"] == pytest.approx(-5.0)
    one = Brackets([0.05], [0.05], quantity=1.0)
    assert sweep(market(bars), signal([1, 0, 0, 0]), one, costs=FREE).ambiguous == 1


def test_the_bar_of_the_entry_can_stop_it():
    bars = [FLAT, (100.0, 101.0, 90.0, 100.0), FLAT]
    trade = only(market(bars), [1, 0, 0], 0.05, 0.1)
    assert (trade["entry_ts"], trade["exit_price"]) == (trade["exit_ts"], 95.0)


def test_funding_is_due_on_the_position_carried_in_and_in_a_gap_on_the_last_close():
    bars = [
        FLAT,
        FLAT,
        (100.0, 105.0, 99.0, 104.0),
        None,
        (100.0, 101.0, 99.0, 100.0),
        (90.0, 91.0, 89.0, 90.0),
    ]
    rates = np.array([0.5, 0.5, 0.01, 0.02, 0.04, 0.08])[:, None]
    trade = only(market(bars), [1, 0, 0, 0, 0, 0], 0.05, 0.1, funding=rates)
    assert trade["funding"] == pytest.approx(100 * 0.01 + 104 * 0.02 + 100 * 0.04 + 90 * 0.08)
    short = only(market(bars[:5]), [-1, 0, 0, 0, 0], 0.5, 0.1, funding=rates[:5])
    assert short["funding"] == pytest.approx(-(100 * 0.01 + 104 * 0.02 + 100 * 0.04))


def test_an_order_below_the_smallest_value_is_refused_and_lots_are_rounded_down():
    panel, entries = market([FLAT] * 4), signal([1, 0, 0, 0])
    small = sweep(panel, entries, Brackets([0.1], [0.1], notional=99.0), min_notional=100.0, costs=FREE)
    assert (small.refused[0, 0], small.net_pnl[0, 0], small.bars_held[0, 0]) == (1, 0.0, 0)
    for notional, lot, units in ((257.0, 0.1, 2.5), (30.0, 0.1, 0.3), (130.0, 1.0, 1.0)):
        found = trades_of(panel, entries, Brackets([0.1], [0.1], notional=notional), 0, lot_size=lot)
        assert found["quantity"][0] == pytest.approx(units, rel=1e-12)
    none = sweep(panel, entries, Brackets([0.1], [0.1], notional=99.0), lot_size=1.0)
    assert none.refused[0, 0] == 1


def test_slippage_grows_with_the_root_of_the_share_in_volume():
    panel = market([FLAT, FLAT, (90.0, 91.0, 89.0, 90.0)], volume=[1.0, 1e4, 400.0])
    trade = only(panel, [1, 0, 0], 0.05, 0.1, costs=Costs(0.0, 2.0, 100.0))
    expected = 100 * (2e-4 + 1e-2 * np.sqrt(1 / 1e4)) + 90 * (2e-4 + 1e-2 * np.sqrt(1 / 400))
    assert trade["slippage"] == pytest.approx(expected)


def test_a_bar_without_volume_fills_neither_entry_nor_stop():
    bars = [FLAT, FLAT, FLAT, (80.0, 81.0, 79.0, 80.0), (70.0, 71.0, 69.0, 70.0)]
    lapsed = trades_of(
        market(bars, [1, 0, 1, 1, 1]), signal([1, 0, 0, 0, 0]), Brackets([0.1], [0.1], quantity=1), 0
    )
    assert lapsed.height == 0
    assert only(market(bars, [1, 1, 1, 0, 1]), [1, 0, 0, 0, 0], 0.05, 0.1)["exit_price"] == 70.0


def test_an_entry_does_not_cross_a_gap_but_a_position_does():
    gap = [FLAT, None, FLAT, FLAT]
    one = Brackets([0.05], [0.1], quantity=1.0)
    assert trades_of(market(gap), signal([1, 1, 0, 0]), one, 0).height == 0
    held = [FLAT, FLAT, None, (90.0, 91.0, 89.0, 90.0)]
    trade = only(market(held), [1, 0, 0, 0], 0.05, 0.1)
    assert (trade["exit_price"], trade["exit_ts"].hour, trade["reason"]) == (90.0, 3, "stop")


def test_delisting_closes_at_the_last_close_with_fee_and_half_the_spread():
    bars = [FLAT, FLAT, (100.0, 101.0, 96.0, 97.0)] + [None] * 5
    trade = only(market(bars), [1] + [0] * 7, 0.05, 0.1, max_gap=2, costs=Costs(10.0, 5.0, 100.0))
    assert (trade["reason"], trade["exit_price"], trade["exit_ts"].hour) == ("delisted", 97.0, 5)
    assert trade["fees"] == pytest.approx(0.1 + 0.097)
    assert trade["slippage"] == pytest.approx(100 * (5e-4 + 1e-2 * np.sqrt(1e-9)) + 97 * 5e-4)
    waiting = only(market(bars[:5]), [1] + [0] * 4, 0.05, 0.1, max_gap=2)
    assert (waiting["reason"], waiting["exit_ts"]) == ("open", None)


@pytest.mark.parametrize("by", ["gap", "listing"])
def test_a_relisted_ticker_is_another_asset(by):
    """Whoever carried the long over would have lost 90; nothing may be entered across the border either."""
    bars = [FLAT, FLAT, FLAT, None, None, None, (10.0, 11.0, 9.0, 10.0), (10.0, 11.0, 9.0, 10.0)]
    if by == "listing":
        bars = [bar for bar in bars if bar is not None]
    panel = market(bars, listing=[0, 0, 0, 1, 1] if by == "listing" else None)
    signals = [1, 0, 1] + [0] * (len(bars) - 3)
    trade = only(panel, signals, 0.05, 0.1, max_gap=2)
    assert (trade["reason"], trade["exit_price"]) == ("delisted", 100.0)


def test_worst_trade_drawdown_and_holding_by_hand():
    bars = [FLAT, (100, 100, 100, 100), (100, 112, 99, 110), (110, 110, 110, 110), (110, 111, 103, 104),
            (104, 130, 104, 120), (120, 120, 120, 120), (120, 120, 100, 101)]  # fmt: skip
    # +10 at bar 2; 110 in at bar 3, down to 103 and out at 121 in bar 5; 120 in at bar 6, out at 108
    found = sweep(
        market(bars), signal([1, 0, 1, 0, 0, 1, 0, 0]), Brackets([0.1], [0.1], quantity=1.0), costs=FREE
    )
    assert found.net_pnl[0, 0] == pytest.approx(10 + 11 - 12)
    assert (found.trades[0, 0], found.won[0, 0], found.bars_held[0, 0]) == (3, 2, 1 + 2 + 1)
    assert found.worst_trade[0, 0] == pytest.approx(-12)
    assert found.max_drawdown[0, 0] == pytest.approx(12)
    shorter = sweep(
        market(bars[:6]), signal([1, 0, 1, 0, 0, 0]), Brackets([0.1], [0.1], quantity=1.0), costs=FREE
    )
    assert shorter.max_drawdown[0, 0] == pytest.approx(7)


def test_each_kind_of_entry_has_its_own_bracket():
    bars = [FLAT, FLAT, (100.0, 100.0, 93.0, 94.0), (94.0, 94.0, 94.0, 94.0)]
    brackets = Brackets([[0.05, 0.2]], [[0.1, 0.1]], quantity=[[1.0, 3.0]])
    first = trades_of(market(bars), signal([BREAKOUT, 0, 0, 0]), brackets, 0, costs=FREE)
    second = trades_of(market(bars), signal([REVERSION, 0, 0, 0]), brackets, 0, costs=FREE)
    assert first.select("kind", "quantity", "reason").row(0) == (1, 1.0, "stop")
    assert second.select("kind", "quantity", "reason").row(0) == (2, 3.0, "open")


def test_a_stop_inside_the_usual_bar_shows():
    found = sweep(market([FLAT] * 9), signal([0] * 9), Brackets([[0.01, 0.5]], [[0.1, 0.1]], quantity=1.0))
    assert found.stop_over_range[0, 0] == pytest.approx(0.5)


# ------------------------------------------------------------------------------------- plain reference


def plain_signals(panel, i, n, deviations, efficiency):
    """The channel rule, window by window."""
    out = np.zeros(len(panel.times), int)
    for t in range(n + 1, len(out)):
        w = slice(t - n - 1, t + 1)
        if not np.isfinite(panel.open[w, i]).all():
            continue
        if panel.listing is not None and len(set(panel.listing[w, i])) > 1:
            continue
        close, c = panel.close[t - n : t, i], panel.close[t, i]
        path = np.abs(np.diff(panel.close[t - n - 1 : t, i])).sum()
        if (abs(c - close[0]) / path if path > 0 else 0.0) > efficiency:
            out[t] = int(c > panel.high[t - n : t, i].max()) - int(c < panel.low[t - n : t, i].min())
        elif close.std() > 1e-7 * c:
            z = (c - close.mean()) / close.std()
            out[t] = -2 if z > deviations else 2 if z < -deviations else 0
    return out


def plain_trades(panel, i, signals, stops, targets, sizes, by_value, costs, rates, lot, least, max_gap, fill):
    """The rules of the module, bar after bar of the clock, missing ones included."""
    bars = len(panel.times)
    trades, position, last, missing, name, refused = [], None, None, 0, None, 0

    def close(price, room, reason, t):
        nonlocal position
        p = position
        value = p["quantity"] * price
        share = 0.0 if room is None else p["quantity"] / room
        p["fees"] += value * costs.fee_bps / 1e4
        p["slippage"] += value * (costs.half_spread_bps + costs.impact_bps * share**0.5) / 1e4
        p |= {"exit": t, "out": price, "reason": reason}
        trades.append(p)
        position = None

    def enter(t, price):
        nonlocal position, refused
        code = signals[t] if fill == "close" else signals[t - 1]
        kind, side = abs(code) - 1, 1 if code > 0 else -1
        quantity = sizes[kind] / price if by_value else sizes[kind]
        if lot > 0:
            quantity = np.floor(quantity / lot + 1e-9) * lot
        if quantity <= 0 or quantity * price < least:
            refused += 1
            return
        value, share = quantity * price, quantity / panel.volume[t, i]
        position = {
            "entry": t, "side": side, "kind": kind + 1, "quantity": quantity, "in": price,
            "stop": price * (1 - side * stops[kind]), "target": price * (1 + side * targets[kind]),
            "fees": value * costs.fee_bps / 1e4, "funding": 0.0,
            "slippage": value * (costs.half_spread_bps + costs.impact_bps * share**0.5) / 1e4,
            "marks": {}, "at_close": fill == "close",
        }  # fmt: skip
        position["cost_in"] = position["fees"] + position["slippage"]

    for t in range(bars):
        here = np.isfinite(panel.open[t, i])
        if here and panel.listing is not None:
            if name is not None and panel.listing[t, i] != name:
                if position is not None:
                    close(last, None, "delisted", t)
                missing = max_gap + 1  # whatever came before is over
            name = panel.listing[t, i]
        if not here:
            missing += 1
            if position is not None:
                position["funding"] += position["side"] * position["quantity"] * last * rates[t]
                if missing > max_gap:
                    close(last, None, "delisted", t)
            continue
        o, h, low, c = (panel.__dict__[k][t, i] for k in ("open", "high", "low", "close"))
        alive = panel.volume[t, i] > 0
        if position is not None:
            position["funding"] += position["side"] * position["quantity"] * o * rates[t]
        follows = t > 0 and missing == 0 and np.isfinite(panel.open[t - 1, i])
        if position is None and fill == "next_open" and follows and signals[t - 1] and alive:
            enter(t, o)
        left = False
        if position is not None and alive:
            long = position["side"] > 0
            if (low <= position["stop"]) if long else (h >= position["stop"]):
                close(
                    min(o, position["stop"]) if long else max(o, position["stop"]),
                    panel.volume[t, i],
                    "stop",
                    t,
                )
                left = True
            elif (h >= position["target"]) if long else (low <= position["target"]):
                price = max(o, position["target"]) if long else min(o, position["target"])
                close(price, panel.volume[t, i], "target", t)
                left = True
        if position is None and fill == "close" and not left and signals[t] and alive:
            enter(t, c)
        if position is not None:
            position["marks"][t] = (c, position["funding"])
        last, missing = c, 0
    if position is not None:
        trades.append(position | {"exit": None, "out": last, "reason": "open"})
    for p in trades:
        p["gross"] = p["side"] * p["quantity"] * (p["out"] - p["in"])
        p["net"] = p["gross"] - p["fees"] - p["slippage"] - p["funding"]
    return trades, refused


def random_market(rng, bars, symbols, holes, quiet, relist) -> Panel:
    shape = (bars, symbols)
    close = 50 * np.exp(np.cumsum(0.01 * rng.standard_t(4, shape), axis=0))
    open_ = np.vstack([close[:1], close[:-1]]) * np.exp(0.002 * rng.standard_normal(shape))
    spread = np.abs(rng.normal(0, 0.006, (2, *shape))) * close
    high, low = np.maximum(open_, close) + spread[0], np.minimum(open_, close) - spread[1]
    gone = rng.random(shape) < holes
    for i in range(symbols):
        if holes and rng.random() < 0.7:
            start = rng.integers(0, bars)
            gone[start : start + rng.integers(1, bars // 2 + 2), i] = True
    for wide in (open_, high, low, close):
        wide[gone] = NAN
    volume = np.where(gone, NAN, rng.exponential(2e3, shape))
    volume[rng.random(shape) < quiet] = 0.0
    listing = np.cumsum(rng.random(shape) < 0.02, axis=0) if relist else None
    times = np.datetime64("2024-01-01T05", "us") + np.arange(bars) * np.timedelta64(HOUR)
    return Panel(times, tuple("ABC"[:symbols]), HOUR, open_, close, volume, high, low, listing)


@st.composite
def scenarios(draw):
    rng = np.random.default_rng(draw(st.integers(0, 1_000_000)))
    panel = random_market(
        rng, draw(st.integers(5, 300)), draw(st.integers(1, 3)), draw(st.sampled_from([0.0, 0.02, 0.2])),
        draw(st.sampled_from([0.0, 0.1])), draw(st.booleans()),
    )  # fmt: skip
    sets, shape = 6, panel.open.shape
    entries = ChannelEntries(
        rng.choice([2, 3, 7, 20], sets),
        rng.choice([0.5, 1.0, 2.0], sets),
        rng.choice([-1.0, 0.25, np.inf], sets),
    )
    if draw(st.booleans()):
        rows = rng.choice(np.array([-3, -2, -1, 0, 0, 0, 0, 1, 2, 3], np.int8), (2, *shape))
        entries = SignalRows(rows, rng.integers(0, 2, sets))
    kinds = 3 if isinstance(entries, SignalRows) else 2
    stop = rng.choice([0.005, 0.02, 0.1, np.inf], (sets, kinds))
    target = rng.choice([0.005, 0.03, 0.2, np.inf], (sets, kinds))
    size = {draw(st.sampled_from(["notional", "quantity"])): rng.choice([1.0, 40.0, 900.0], (sets, kinds))}
    options = {
        "costs": draw(st.sampled_from([FREE, Costs(), Costs(30.0, 20.0, 500.0)])),
        "funding": np.where(rng.random(shape) < 0.3, rng.normal(0, 0.003, shape), 0.0),
        "lot_size": rng.choice([0.0, 0.1, 3.0], shape[1]),
        "min_notional": rng.choice([0.0, 50.0], shape[1]),
        "max_gap": draw(st.integers(1, 8)),
        "fill": draw(st.sampled_from(["next_open", "close"])),
    }
    return panel, entries, Brackets(stop, target, **size), options


@given(scenarios())
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_plain_walk_to_the_last_trade(scenario):
    panel, entries, brackets, options = scenario
    result = sweep(panel, entries, brackets, every=DAY, **options)
    for s in range(len(entries)):
        table = trades_of(panel, entries, brackets, s, **options)
        for i, symbol in enumerate(panel.symbols):
            if isinstance(entries, SignalRows):
                signals = entries.rows[entries.row[s], :, i].astype(int)
            else:
                n, z, e = entries.lookback[s], entries.deviations[s], entries.efficiency[s]
                signals = plain_signals(panel, i, n, z, e)
            expected, refused = plain_trades(
                panel, i, signals, brackets.stop[s], brackets.target[s], brackets.size[s], brackets.by_value,
                options["costs"], options["funding"][:, i], options["lot_size"][i],
                options["min_notional"][i], options["max_gap"], options["fill"],
            )  # fmt: skip
            found = table.filter(pl.col("symbol") == symbol)
            stamps = [None if p["exit"] is None else panel.times[p["exit"]].astype(object) for p in expected]
            assert found["entry_ts"].to_list() == [panel.times[p["entry"]].astype(object) for p in expected]
            assert found["exit_ts"].to_list() == stamps
            for ours, theirs in (("side", "side"), ("kind", "kind"), ("reason", "reason")):
                assert found[ours].to_list() == [p[theirs] for p in expected]
            cent = 1e-9 * max([1.0, *(p["quantity"] * p["in"] for p in expected)])
            for ours, theirs in (
                ("quantity", "quantity"), ("entry_price", "in"), ("gross_pnl", "gross"), ("fees", "fees"),
                ("slippage", "slippage"), ("funding", "funding"), ("net_pnl", "net"),
            ):  # fmt: skip
                np.testing.assert_allclose(found[ours], [p[theirs] for p in expected], rtol=1e-9, atol=cent)
            closed = [p["net"] for p in expected if p["exit"] is not None]
            assert result.trades[s, i] == len(closed)
            assert result.refused[s, i] == refused
            assert result.won[s, i] == sum(net > 0 for net in closed)
            net = sum(p["net"] for p in expected)
            assert result.net_pnl[s, i] == pytest.approx(net, abs=100 * cent)
            assert result.open_pnl[s, i] == pytest.approx(net - sum(closed), abs=100 * cent)
            assert result.worst_trade[s, i] == pytest.approx(min(closed, default=NAN), abs=cent, nan_ok=True)
            assert result.max_drawdown[s, i] == pytest.approx(
                plain_drawdown(panel, i, expected), abs=100 * cent
            )
            np.testing.assert_allclose(
                result.increments[s, i], plain_increments(panel, expected, result.periods), atol=100 * cent
            )


def plain_drawdown(panel, i, trades):
    """Peaks at exits, lows at the worst price of every bar survived."""
    equity = peak = fall = 0.0
    for p in trades:
        extreme = panel.low[:, i] if p["side"] > 0 else panel.high[:, i]
        survived = [t for t in p["marks"] if panel.volume[t, i] > 0 and (t > p["entry"] or not p["at_close"])]
        worst = min([0.0, *(p["side"] * (extreme[t] - p["in"]) for t in survived)])
        fall = max(fall, peak - (equity - p["cost_in"] + p["quantity"] * worst))
        equity += p["net"]
        peak, fall = max(peak, equity), max(fall, peak - equity)
    return fall


def plain_increments(panel, trades, periods):
    """Net result per day, each trade marked to the last close of every day it was held through."""
    out = np.zeros(len(periods))
    days = np.searchsorted(periods, panel.times, side="right") - 1
    for p in trades:
        final = days[len(days) - 1 if p["exit"] is None else p["exit"]]
        before = 0.0
        for day in range(days[p["entry"]], final):
            close, funding = p["marks"][max(t for t in p["marks"] if days[t] <= day)]
            value = p["side"] * p["quantity"] * (close - p["in"]) - p["cost_in"] - funding
            out[day] += value - before
            before = value
        out[final] += p["net"] - before
    return out


# ------------------------------------------------------------------------------------- other engines' rule


@nb.njit
def bare_loop(o, h, l, c, sig, sl, tp, fee):  # noqa: E741
    pos, entry, trades, pnl = 0, 0.0, 0, 0.0
    for t in range(c.size):
        if pos == 0:
            if sig[t] != 0:
                pos, entry = int(sig[t]), c[t]
        else:
            stop, target = entry * (1 - pos * sl), entry * (1 + pos * tp)
            px = 0.0
            if pos > 0:
                if l[t] <= stop:
                    px = min(o[t], stop)
                elif h[t] >= target:
                    px = max(o[t], target)
            else:
                if h[t] >= stop:
                    px = max(o[t], stop)
                elif l[t] <= target:
                    px = min(o[t], target)
            if px > 0:
                pnl += pos * (px - entry) - fee * (px + entry)
                trades += 1
                pos = 0
    return trades, pnl


def test_filling_at_the_close_gives_the_trades_of_the_bare_loop():
    rng = np.random.default_rng(5)
    panel = random_market(rng, 8000, 1, 0.0, 0.0, False)
    rows = rng.choice(np.array([-1, 0, 0, 0, 0, 0, 1], np.int8), (4, 8000, 1))
    stop, target = np.array([0.01, 0.02, 0.05, 0.1]), np.array([0.02, 0.02, 0.1, 0.3])
    brackets = Brackets(stop, target, quantity=1.0)
    found = sweep(panel, SignalRows(rows, np.arange(4)), brackets, costs=Costs(5.0, 0.0, 0.0), fill="close")
    prices = [wide[:, 0] for wide in (panel.open, panel.high, panel.low, panel.close)]
    for s in range(4):
        trades, pnl = bare_loop(*prices, rows[s, :, 0], stop[s], target[s], 5e-4)
        assert found.trades[s, 0] == trades > 50
        assert found.net_pnl[s, 0] - found.open_pnl[s, 0] == pytest.approx(pnl, abs=1e-8)


def test_filling_at_the_signal_s_own_close_pays_for_what_is_already_known():
    """The wrong rule: a bar that closes high is bought at that close, before the next one opens higher."""
    rng = np.random.default_rng(6)
    jumps = rng.choice([0.0, 0.05], 2000, p=[0.8, 0.2])
    close = 100 + rng.normal(0, 0.1, 2000)
    open_ = np.append(100.0, close[:-1] * (1 + jumps[:-1]))
    rows = (jumps > 0).astype(np.int8)[None, :, None]
    high, low = np.maximum(open_, close) + 0.2, np.minimum(open_, close) - 0.2
    panel = market(np.column_stack([open_, high, low, close]))
    brackets = Brackets([0.2], [0.02], quantity=1.0)
    peek = sweep(panel, SignalRows(rows, np.array([0])), brackets, costs=FREE, fill="close")
    honest = sweep(panel, SignalRows(rows, np.array([0])), brackets, costs=FREE)
    assert peek.net_pnl[0, 0] > 500
    assert honest.net_pnl[0, 0] < 0


# ------------------------------------------------------------------------------------- same every time


def exact_market(bars=3000) -> Panel:
    """A walk on whole sixty-fourths: the same bits on every machine."""
    rng = np.random.default_rng(1)
    close = 6400 + np.cumsum(rng.integers(-40, 41, bars))
    open_ = np.append(6400, close[:-1]) + rng.integers(-4, 5, bars)
    high = np.maximum(open_, close) + rng.integers(0, 30, bars)
    low = np.minimum(open_, close) - rng.integers(0, 30, bars)
    return market(np.column_stack([open_, high, low, close]) / 64.0, rng.integers(0, 1 << 20, bars) / 16.0)


def grid(sets):
    rng = np.random.default_rng(2)
    entries = ChannelEntries(rng.choice([5, 20, 50], sets), rng.choice([1.0, 2.0], sets))
    return entries, Brackets(rng.choice([0.01, 0.03], sets), rng.choice([0.02, 0.05], sets), notional=1000.0)


def test_the_fingerprint_of_the_trades_has_not_moved():
    entries, brackets = grid(4)
    tables = [trades_of(exact_market(), entries, brackets, s) for s in range(4)]
    assert fingerprint(pl.concat(tables)) == FINGERPRINT


def test_a_fingerprint_sees_one_bit():
    entries, brackets = grid(1)
    table = trades_of(exact_market(), entries, brackets, 0)
    assert fingerprint(table) == fingerprint(table.clone())
    nudged = table["net_pnl"].to_numpy().copy()
    nudged[3] = np.nextafter(nudged[3], 1.0)
    assert fingerprint(table) != fingerprint(table.with_columns(net_pnl=nudged))
    assert fingerprint(table) != fingerprint(table.head(table.height - 1))


def test_threads_order_and_parts_do_not_matter():
    rng = np.random.default_rng(3)
    panel = random_market(rng, 2000, 3, 0.01, 0.02, True)
    entries, brackets = grid(40)
    whole = sweep(panel, entries, brackets, every=DAY)
    for other in (sweep(panel, entries, brackets, every=DAY, threads=3),):
        for name, values in vars(whole).items():
            np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)
    order = rng.permutation(40)
    part = sweep(panel, entries.take(order[:15]), brackets.take(order[:15]), every=DAY)
    np.testing.assert_array_equal(part.increments, whole.increments[order[:15]])
    np.testing.assert_array_equal(part.max_drawdown, whole.max_drawdown[order[:15]])


def test_the_future_changes_no_trade_before_it():
    rng = np.random.default_rng(4)
    panel, (entries, brackets) = random_market(rng, 1500, 1, 0.01, 0.0, False), grid(1)
    cut = 900
    shorter = Panel(panel.times[:cut], *(panel.symbols, panel.bar), *(
        getattr(panel, name)[:cut] for name in ("open", "close", "volume", "high", "low")
    ))  # fmt: skip
    whole = trades_of(panel, entries, brackets, 0)
    part = trades_of(shorter, entries, brackets, 0)
    closed = part.filter(pl.col("reason") != "open")
    assert closed.height > 10
    assert closed.equals(whole.head(closed.height))


def test_increments_sum_to_the_net_result():
    panel = random_market(np.random.default_rng(8), 3000, 2, 0.02, 0.0, False)
    found = sweep(panel, *grid(20), every=DAY)
    np.testing.assert_allclose(found.increments.sum(axis=2), found.net_pnl, atol=1e-8)
    assert found.periods[0] == np.datetime64("2024-01-01")
    assert sweep(panel, *grid(20)).increments is None


def test_a_symbol_without_bars_trades_nothing():
    one = random_market(np.random.default_rng(9), 500, 1, 0.0, 0.0, False)
    wide = {
        name: np.hstack([getattr(one, name), np.full((500, 1), NAN)])
        for name in ("open", "close", "volume", "high", "low")
    }
    entries, brackets = grid(5)
    found = sweep(Panel(one.times, ("A", "B"), HOUR, **wide), entries, brackets, every=DAY)
    alone = sweep(one, entries, brackets, every=DAY)
    np.testing.assert_array_equal(found.net_pnl[:, :1], alone.net_pnl)
    assert not found.increments[:, 1].any()
    assert not found.trades[:, 1].any()
    assert np.isnan(found.stop_over_range[:, 1]).all()


def test_a_long_hold_is_found_over_blocks_of_bars():
    """Targets hundreds of bars away, at every offset from the blocks that are passed over at once."""
    for wait in range(250, 330):
        bars = np.tile(FLAT, (600, 1))
        bars[wait] = (100.0, 130.0, 99.0, 100.0)
        trade = only(market(bars), [1] + [0] * 599, 0.5, 0.2)
        assert trade["exit_ts"] == market(bars).times[wait].astype(object)


# ------------------------------------------------------------------------------------- refusals


def test_bad_input_is_refused():
    panel, entries, brackets = exact_market(50), *grid(2)
    with pytest.raises(ValueError, match="no high and low"):
        sweep(Panel(panel.times, ("A",), HOUR, panel.open, panel.close, panel.volume), entries, brackets)
    broken = panel.high.copy()
    broken[7] = panel.low[7] * 0.5
    with pytest.raises(DataError, match="row 8"):
        sweep(Panel(panel.times, ("A",), HOUR, panel.open, panel.close, panel.volume, broken, panel.low),
              entries, brackets)  # fmt: skip
    for name in ("close", "high", "low"):
        prices = {key: getattr(panel, key).copy() for key in ("open", "close", "volume", "high", "low")}
        prices[name][3] = NAN
        with pytest.raises(DataError, match="row 4"):
            sweep(Panel(panel.times, ("A",), HOUR, **prices), entries, brackets)
    with pytest.raises(ValueError, match="2 sets of entries and 1"):
        sweep(panel, entries, brackets.take([0]))
    with pytest.raises(ValueError, match="one of the two"):
        Brackets([0.1], [0.1])
    with pytest.raises(ValueError, match="stop must be positive"):
        Brackets([0.0], [0.1], quantity=1.0)
    with pytest.raises(ValueError, match="lookback"):
        ChannelEntries([1], [2.0])
    with pytest.raises(ValueError, match="lookback"):
        ChannelEntries([2.5], [2.0])
    with pytest.raises(ValueError, match="deviations"):
        ChannelEntries([5], [0.0])
    with pytest.raises(ValueError, match="int8"):
        SignalRows(np.zeros((1, 5, 1)), np.array([0]))
    with pytest.raises(ValueError, match="one index below 1"):
        SignalRows(np.zeros((1, 5, 1), np.int8), np.array([1]))
    rows = SignalRows(np.full((1, 50, 1), 3, np.int8), np.array([0]))
    with pytest.raises(ValueError, match="kinds of brackets"):
        sweep(panel, rows, Brackets([[0.1, 0.1]], [[0.1, 0.1]], quantity=1.0))
    for options, told in (
        ({"lot_size": -1.0}, "lot_size"), ({"min_notional": NAN}, "min_notional"),
        ({"max_gap": 0}, "max_gap"), ({"fill": "open"}, "fill"), ({"every": timedelta(minutes=1)}, "every"),
        ({"threads": 0}, "max_workers"),
        ({"funding": np.zeros((1, 1))}, "funding has shape"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            sweep(panel, entries, brackets, **options)
