from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.backtest import backtest
from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel

HOUR = timedelta(hours=1)
FREE = Costs(0.0, 0.0, 0.0)
NAN = np.nan


def panel(opens, volume=None, listing=None) -> Panel:
    opens = np.asarray(opens, dtype=float)
    if opens.ndim == 1:
        opens = opens[:, None]
    times = np.datetime64("2024-01-01", "us") + np.arange(len(opens)) * np.timedelta64(HOUR)
    volume = np.where(np.isfinite(opens), 1e9, NAN) if volume is None else np.asarray(volume, float)
    names = tuple("ABCDEFGH"[: opens.shape[1]])
    numbers = None if listing is None else np.asarray(listing).reshape(opens.shape)
    return Panel(times, names, HOUR, opens, opens, volume.reshape(opens.shape), listing=numbers)


def column(values) -> np.ndarray:
    return np.asarray(values, dtype=float)[:, None]


def plain_backtest(market, targets, costs, funding, tradable, capital, max_gap, lots, floors):
    """The rules of the module, with a cash account, dictionaries and one order at a time.

    Returns equity per bar and the trades as dictionaries.
    """
    bars, symbols = market.open.shape
    cash, position, mark, missing = capital, [0.0] * symbols, [0.0] * symbols, [0] * symbols
    book: list[dict | None] = [None] * symbols
    names: list[int | None] = [None] * symbols
    trades, equity, ruined = [], [], False

    def worth():
        return cash + sum(q * m for q, m in zip(position, mark, strict=True))

    def order(i, t, change, price, room):
        nonlocal cash
        for part in split(position[i], change):
            value = abs(part) * price
            fee = value * costs.fee_bps / 1e4
            rate = costs.half_spread_bps / 1e4 + costs.impact_bps / 1e4 * (abs(change) / room) ** 0.5
            if book[i] is None:
                book[i] = dict.fromkeys(("quantity", "flow", "fees", "slippage", "funding"), 0.0)
                book[i] |= {"symbol": i, "entry": t, "exit": None, "side": 1 if part > 0 else -1}
            trade = book[i]
            if (part > 0) == (trade["side"] > 0):
                trade["quantity"] += abs(part)
            trade["flow"] -= part * price
            trade["fees"] += fee
            trade["slippage"] += value * rate
            cash -= part * price + fee + value * rate
            position[i] += part
            if abs(position[i]) < 1e-12 * (abs(part) + 1e-300):
                position[i] = 0.0
                trade["exit"] = t
                trades.append(trade)
                book[i] = None

    def split(held, change):
        if held * change < 0 and abs(change) > abs(held):
            return [-held, change + held]
        return [change]

    for t in range(bars):
        reborn = [False] * symbols
        for i in range(symbols):
            if np.isfinite(market.open[t, i]):
                if market.listing is not None:
                    reborn[i] = names[i] not in (None, market.listing[t, i])
                    names[i] = market.listing[t, i]
                missing[i] = 0
                if reborn[i] and position[i]:
                    continue
                mark[i] = market.open[t, i]
            else:
                missing[i] += 1
            if book[i] is not None:
                due = position[i] * mark[i] * funding[t, i]
                book[i]["funding"] += due
                cash -= due
        before = worth()
        ruined = ruined or before <= 0
        orders = []
        for i in range(symbols):
            if position[i] != 0 and (ruined or missing[i] > max_gap or reborn[i]):
                orders.append((i, t, -position[i], mark[i], np.inf))
            elif (
                ruined
                or t == 0
                or reborn[i]
                or np.isnan(targets[t - 1, i] + market.open[t, i] + market.open[t - 1, i])
            ):
                continue
            elif tradable[t, i] and market.volume[t, i] > 0:
                wanted = targets[t - 1, i] * before / mark[i]
                change = wanted - position[i]
                if lots[i] and wanted:
                    steps = np.floor(abs(change) / lots[i] + 1e-9)
                    after = np.round(position[i] / lots[i] + np.sign(change) * steps) * lots[i]
                    change = after - position[i]
                closes = position[i] and position[i] + change == 0
                if change != 0 and (closes or wanted == 0 or abs(change) * mark[i] >= floors[i]):
                    orders.append((i, t, change, mark[i], market.volume[t, i]))
        for one in orders:
            order(*one)
        equity.append(worth())
    for i in range(symbols):
        if book[i] is not None:
            book[i]["flow"] += position[i] * mark[i]
            trades.append(book[i])
    return np.array(equity), trades


@st.composite
def scenarios(draw):
    rng = np.random.default_rng(draw(st.integers(0, 1_000_000)))
    bars, symbols = draw(st.integers(2, 60)), draw(st.integers(1, 4))
    step = draw(st.sampled_from([0.001, 0.02, 0.3]))
    opens = 100 * np.exp(np.cumsum(step * rng.standard_normal((bars, symbols)), axis=0))
    opens[rng.random(opens.shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))] = NAN
    for i in range(symbols):
        if rng.random() < 0.3:
            opens[rng.integers(1, bars) :, i] = NAN
        if rng.random() < 0.3:
            opens[: rng.integers(1, bars), i] = NAN
    volume = np.where(np.isfinite(opens), rng.exponential(1e4, opens.shape), NAN)
    volume[rng.random(opens.shape) < 0.05] = 0.0
    targets = rng.normal(0, 0.8, opens.shape)
    targets[rng.random(opens.shape) < 0.2] = 0.0
    targets[rng.random(opens.shape) < draw(st.sampled_from([0.0, 0.5, 0.9]))] = NAN
    funding = np.where(rng.random(opens.shape) < 0.3, rng.normal(0, 0.003, opens.shape), 0.0)
    tradable = rng.random(opens.shape) < 0.9
    costs = draw(st.sampled_from([FREE, Costs(), Costs(30.0, 20.0, 500.0)]))
    listing = np.cumsum(rng.random(opens.shape) < 0.05, axis=0) if draw(st.booleans()) else None
    options = {
        "costs": costs,
        "funding": funding,
        "tradable": tradable,
        "max_gap": draw(st.integers(1, 8)),
        "lot_size": rng.choice([0.0, 0.5, 20.0], symbols) * draw(st.sampled_from([0, 1])),
        "min_notional": rng.choice([0.0, 5e3], symbols) * draw(st.sampled_from([0, 1])),
    }
    return panel(opens, volume, listing), targets, options


@given(scenarios())
@settings(max_examples=120, deadline=None)
def test_agrees_with_the_plain_accounts(scenario):
    market, targets, options = scenario
    found = backtest(market, targets, capital=1e5, **options)
    equity, trades = plain_backtest(
        market, targets, options["costs"], options["funding"], options["tradable"], 1e5, options["max_gap"],
        options["lot_size"], options["min_notional"],
    )  # fmt: skip
    scale = np.abs(equity).max()
    np.testing.assert_allclose(found.equity["equity"], equity, rtol=1e-9, atol=1e-9 * scale)
    trades.sort(key=lambda trade: (trade["entry"], trade["symbol"]))
    assert found.trades["symbol"].to_list() == [market.symbols[t["symbol"]] for t in trades]
    assert found.trades["side"].to_list() == [t["side"] for t in trades]
    entries = [market.times[t["entry"]].astype(object) for t in trades]
    exits = [None if t["exit"] is None else market.times[t["exit"]].astype(object) for t in trades]
    assert found.trades["entry_ts"].to_list() == entries
    assert found.trades["exit_ts"].to_list() == exits
    for ours, theirs in (
        ("quantity", "quantity"), ("gross_pnl", "flow"), ("fees", "fees"), ("slippage", "slippage"),
        ("funding", "funding"),
    ):  # fmt: skip
        np.testing.assert_allclose(
            found.trades[ours], [t[theirs] for t in trades], rtol=1e-9, atol=1e-9 * scale, err_msg=ours
        )


@given(scenarios())
@settings(max_examples=120, deadline=None)
def test_books_close(scenario):
    """What the trades earned is what equity gained, bar accounts add up, and prices explain the profit."""
    market, targets, options = scenario
    found = backtest(market, targets, capital=1e5, **options)
    gained = found.equity["equity"][-1] - 1e5
    cent = 1e-9 * max(found.equity["equity"].abs().max(), 1e5)
    assert found.trades["net_pnl"].sum() == pytest.approx(gained, abs=cent)
    for cost in ("fees", "slippage", "funding"):
        assert found.trades[cost].sum() == pytest.approx(found.equity[cost].sum(), abs=cent)
    closed = found.trades.drop_nulls("exit_ts")
    by_price = closed["side"] * closed["quantity"] * (closed["exit_price"] - closed["entry_price"])
    np.testing.assert_allclose(by_price, closed["gross_pnl"], atol=cent)
    if found.equity["equity"].min() > 0:
        growth = (1 + found.equity["net_return"]).product()
        assert growth * 1e5 == pytest.approx(found.equity["equity"][-1], rel=1e-9)


@given(scenarios(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_future_changes_nothing_before_it(scenario, data):
    market, targets, options = scenario
    cut = data.draw(st.integers(1, len(market.times)))
    whole = backtest(market, targets, **options)
    listing = None if market.listing is None else market.listing[:cut]
    shorter = panel(market.open[:cut], market.volume[:cut], listing)
    early = {name: options[name][:cut] for name in ("funding", "tradable")}
    part = backtest(shorter, targets[:cut], **options | early)
    assert part.equity.equals(whole.equity.head(cut))
    np.testing.assert_array_equal(part.quantities, whole.quantities[:cut])


def test_decision_at_the_close_is_filled_at_the_next_open():
    """Whoever knew bar 1 when deciding at bar 0 would have earned the jump to 200."""
    found = backtest(panel([100.0, 200.0, 200.0, 300.0]), column([1.0, NAN, NAN, NAN]), costs=FREE)
    assert found.equity["equity"].to_list() == [1e5, 1e5, 1e5, 1.5e5]
    trade = found.trades.row(0, named=True)
    assert (trade["entry_price"], trade["quantity"], trade["exit_ts"], trade["exit_price"]) == (
        200,
        500,
        None,
        None,
    )
    assert trade["net_pnl"] == 5e4


def test_last_decision_is_never_filled():
    assert backtest(panel([100.0, 110.0]), column([NAN, 1.0])).trades.height == 0


def test_cost_of_rebalancing_from_drifted_weights():
    """Weights .4/.4 and cash .2, returns +5 % and -10 %, back to .4/.4 at 10 bp."""
    opens = np.array([[100.0, 100.0], [100.0, 100.0], [105.0, 90.0]])
    targets = np.full((3, 2), 0.4)
    found = backtest(panel(opens), targets, costs=FREE)
    turnover = found.equity["turnover"][2]
    assert turnover * 10e-4 == pytest.approx(6.122449e-5, abs=1e-11)


def test_no_trade_across_a_gap_and_the_order_lapses():
    opens = [100.0, 100.0, NAN, NAN, 130.0, 140.0]
    held = backtest(panel(opens), column([1.0, 0.0, 0.0, 0.0, NAN, NAN]), costs=FREE)
    # the exit decided at bar 1 has no bar 2; bars 2 and 3 do not exist; bar 3's decision may not use bar 4
    assert held.quantities[:, 0].tolist() == [0, 1000, 1000, 1000, 1000, 1000]
    assert held.equity["equity"].to_list() == [1e5, 1e5, 1e5, 1e5, 1.3e5, 1.4e5]
    after = backtest(panel(opens), column([1.0, NAN, NAN, NAN, 0.0, NAN]), costs=FREE)
    assert after.quantities[-1, 0] == 0


def test_first_bar_of_a_listing_is_not_traded():
    found = backtest(panel([NAN, 5.0, 100.0, 100.0]), column([1.0, 1.0, NAN, NAN]), costs=FREE)
    assert found.trades["entry_price"].to_list() == [100.0]


def test_delisting_closes_at_the_last_price_with_costs():
    opens = np.array([[100.0, 1.0]] * 3 + [[90.0, 1.0]] + [[NAN, 1.0]] * 6)
    targets = np.full((10, 2), NAN)
    targets[0, 0] = 1.0
    found = backtest(panel(opens), targets, costs=Costs(10.0, 0.0, 0.0), max_gap=2)
    trade = found.trades.row(0, named=True)
    assert trade["exit_ts"] == panel(opens).times[6].astype(object)
    assert trade["exit_price"] == 90.0
    assert trade["fees"] == pytest.approx(100.0 + 90.0)
    assert found.quantities[5:8, 0].tolist() == [1000.0, 0.0, 0.0]


def test_a_relisted_ticker_is_another_asset():
    opens = [100.0, 100.0, 100.0, NAN, NAN, NAN, 7.0, 7.0]
    found = backtest(panel(opens), column([1.0] + [NAN] * 7), costs=FREE, max_gap=2)
    assert found.trades["exit_price"].to_list() == [100.0]
    assert found.equity["equity"][-1] == 1e5


@pytest.mark.parametrize("hole", [0, 1])
def test_a_relisting_is_seen_by_its_number_however_short_the_gap(hole):
    """Without the number a token redenominated 1:1000 would have cost the long all it had."""
    opens = np.r_[[100.0] * 3, [NAN] * hole, [0.1] * 3]
    listing = np.r_[[4] * (3 + hole), [5] * 3]
    rates, targets = np.full((len(opens), 1), 0.01), column(np.r_[1.0, [NAN] * (len(opens) - 1)])
    targets[2 + hole] = 0.5  # decided on the old asset: may not be filled in the new one
    found = backtest(panel(opens, listing=listing), targets, costs=FREE, funding=rates)
    trade = found.trades.row(0, named=True)
    assert found.trades.height == 1
    assert (trade["exit_price"], trade["exit_ts"].hour) == (100.0, 3 + hole)
    assert trade["funding"] == pytest.approx(1000 * (1 + hole))
    carried = backtest(panel(opens), targets, costs=FREE, funding=rates)
    assert carried.equity["equity"].min() < 1e3


def test_orders_are_rounded_down_to_whole_lots():
    market = panel([100.0, 100.0, 110.0, 100.0, 100.0])
    targets = column([0.99997, 0.5, -0.5, 0.0, NAN])
    found = backtest(market, targets, costs=FREE, lot_size=7.0)
    # 999.97 units are 142 lots; half of 109 940 is 499.7 units at 110: the 494.3 to be sold are 70 lots
    assert found.quantities[:3, 0].tolist() == [0.0, 994.0, 504.0]
    assert np.allclose(found.quantities / 7, np.round(found.quantities / 7))
    assert found.quantities[-1, 0] == 0.0
    exact = backtest(market, column([0.3, NAN, NAN, NAN, NAN]), costs=FREE, lot_size=0.1)
    assert exact.quantities[1, 0] == pytest.approx(300.0)


def test_orders_below_the_smallest_value_are_refused_unless_they_close():
    market = panel([100.0] * 6)
    targets = column([0.05, 0.10, 0.14, 0.06, 0.0, NAN])
    found = backtest(market, targets, costs=FREE, min_notional=6_000.0)
    assert found.quantities[:, 0].tolist() == [0, 0, 100, 100, 100, 0]
    smaller = backtest(market, column([0.061, 0.0, NAN, NAN, NAN, NAN]), costs=FREE, min_notional=[6_050.0])
    assert smaller.quantities[:3, 0].tolist() == [0, 61, 0]
    falling = backtest(
        panel([100.0, 100.0, 10.0, 10.0]), column([0.1, 0.0, NAN, NAN]), costs=FREE, min_notional=5_000.0
    )
    assert falling.quantities[-1, 0] == 0.0
    # 20 units held, -5 wanted: two lots of ten close the position, at a value far below the smallest
    rounded = backtest(
        panel([100.0, 100.0, 10.0]),
        column([0.02, -50 / 98_200, NAN]),
        costs=FREE,
        min_notional=2e3,
        lot_size=10,
    )
    assert rounded.quantities[:, 0].tolist() == [0.0, 20.0, 0.0]


def test_funding_is_paid_on_the_position_carried_into_the_stamp():
    opens = [100.0, 100.0, 110.0, 110.0, 110.0]
    rates = column([0.01, 0.01, 0.01, 0.0, 0.01])
    targets = column([1.0, NAN, NAN, 0.0, NAN])
    paid = backtest(panel(opens), targets, costs=FREE, funding=rates)
    # bar 1: nothing carried in yet; bar 2: 1000 units at 110; bar 4: carried in, then sold
    assert paid.equity["funding"].to_list() == pytest.approx([0.0, 0.0, 1100.0, 0.0, 1100.0])
    short = backtest(panel(opens), -targets, costs=FREE, funding=rates)
    assert short.equity["funding"].sum() == pytest.approx(-2200.0)
    assert paid.trades["funding"].to_list() == pytest.approx([2200.0])


def test_slippage_grows_with_the_root_of_the_share_in_volume():
    market = panel([100.0] * 3, volume=np.array([[1e4], [1e4], [1e4]]))
    targets = column([1.0, NAN, NAN])
    found = backtest(market, targets, costs=Costs(0.0, 2.0, 100.0), capital=1e4)
    assert found.equity["slippage"][1] == pytest.approx(1e4 * (2e-4 + 100e-4 * np.sqrt(100 / 1e4)))


def test_a_bar_without_volume_or_not_tradable_fills_nothing():
    targets = column([1.0, 1.0, NAN, NAN])
    quiet = backtest(panel([100.0] * 4, volume=np.array([[1.0], [0.0], [1e6], [1e6]])), targets, costs=FREE)
    assert quiet.quantities[:, 0].tolist() == [0, 0, 1000, 1000]
    closed = np.array([[True], [False], [True], [True]])
    shut = backtest(panel([100.0] * 4), targets, costs=FREE, tradable=closed)
    assert shut.quantities[:, 0].tolist() == [0, 0, 1000, 1000]


def test_turning_from_long_to_short_is_two_trades_that_share_the_cost():
    found = backtest(
        panel([100.0, 100.0, 100.0, 80.0]), column([1.0, -0.5, NAN, NAN]), costs=Costs(10.0, 0, 0)
    )
    first, second = found.trades.to_dicts()
    assert (first["side"], second["side"]) == (1, -1)
    assert first["quantity"] == 1000.0
    assert first["fees"] == pytest.approx(200.0)
    equity = 1e5 - 100
    assert second["quantity"] == pytest.approx(0.5 * equity / 100)
    assert second["fees"] == pytest.approx(0.5 * equity * 1e-3)
    assert second["net_pnl"] == pytest.approx(0.5 * equity * 0.2 - second["fees"])


def test_adding_and_reducing_is_one_trade_at_average_prices():
    found = backtest(
        panel([100.0, 100.0, 50.0, 100.0, 100.0, 100.0]), column([0.5, 1.0, 0.25, 0.0, NAN, NAN]), costs=FREE
    )
    trade = found.trades.row(0, named=True)
    assert found.trades.height == 1
    # 500 at 100, then equity 75 000 all in at 50: 1500 units; sold down at 100 and closed
    assert trade["quantity"] == pytest.approx(1500.0)
    assert trade["entry_price"] == pytest.approx((500 * 100 + 1000 * 50) / 1500)
    assert trade["exit_price"] == pytest.approx(100.0)


def test_ruin_closes_everything_and_ends_trading():
    found = backtest(panel([100.0, 100.0, 40.0, 100.0, 100.0]), column([2.0, NAN, 2.0, 2.0, 2.0]), costs=FREE)
    assert found.equity["equity"].to_list() == [1e5, 1e5, -2e4, -2e4, -2e4]
    assert found.equity["net_return"].to_list() == pytest.approx([0.0, 0.0, -1.2, 0.0, 0.0])
    assert found.trades.height == 1
    assert found.quantities[2:].sum() == 0


def test_gross_and_net_returns_differ_by_the_costs():
    found = backtest(panel([100.0, 100.0, 110.0]), column([1.0, NAN, NAN]), costs=Costs(10.0, 0.0, 0.0))
    assert found.equity["net_return"].to_list() == pytest.approx([0.0, -1e-3, 1e4 / 99_900])
    assert found.equity["gross_return"].to_list() == pytest.approx([0.0, 0.0, 1e4 / 99_900])
    assert found.equity["exposure"].to_list() == pytest.approx([0.0, 1e5 / 99_900, 1.1e5 / 109_900])


def test_daily_returns_close_at_midnight():
    opens = 100.0 + np.arange(72)
    found = backtest(panel(opens), column([1.0] + [NAN] * 71), costs=Costs(10.0, 0.0, 0.0))
    daily = found.daily()
    assert daily["day"].dt.strftime("%d").to_list() == ["31", "01", "02", "03"]
    units = 1e5 / 101
    ends = [
        1e5,
        1e5 - 100 + units * (124 - 101),
        1e5 - 100 + units * (148 - 101),
        1e5 - 100 + units * (171 - 101),
    ]
    assert daily["equity"].to_list() == pytest.approx(ends)
    assert (1 + daily["net_return"]).product() == pytest.approx(found.equity["equity"][-1] / 1e5)
    assert daily["turnover"].sum() == pytest.approx(1.0)


def test_no_trades_give_empty_tables_of_the_same_columns():
    market = panel([100.0, 101.0])
    none = backtest(market, column([NAN, NAN]))
    some = backtest(panel([100.0, 101.0, 99.0]), column([1.0, NAN, NAN]))
    assert none.trades.schema == some.trades.schema
    assert none.trades.schema["exit_ts"] == pl.Datetime("us")
    assert none.equity["net_return"].to_list() == [0.0, 0.0]


def test_bad_input_is_refused():
    market = panel([100.0, 101.0])
    with pytest.raises(ValueError, match="target_weights has shape"):
        backtest(market, np.zeros((3, 1)))
    with pytest.raises(ValueError, match="funding has shape"):
        backtest(market, np.zeros((2, 1)), funding=np.zeros((1, 1)))
    with pytest.raises(ValueError, match="finite"):
        backtest(market, column([np.inf, 0.0]))
    with pytest.raises(ValueError, match="funding finite"):
        backtest(market, np.zeros((2, 1)), funding=column([NAN, 0.0]))
    with pytest.raises(ValueError, match="capital"):
        backtest(market, np.zeros((2, 1)), capital=0.0)
    with pytest.raises(ValueError, match="lot_size"):
        backtest(market, np.zeros((2, 1)), lot_size=-0.1)
    with pytest.raises(ValueError, match="fee_bps"):
        Costs(fee_bps=-1.0)
