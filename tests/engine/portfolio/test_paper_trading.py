"""Days of paper trading: carried, caught up with, and computed once more to the last bit."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import EngineError
from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel
from engine.evaluation.paper_broker import Account
from engine.portfolio import optimizer as optimizer_module
from engine.portfolio.alternatives import alternatives
from engine.portfolio.daily_closes import daily_closes
from engine.portfolio.decide import DecisionConfig
from engine.portfolio.paper_trading import Book, Market, TradingDay, decide_again, trade_days

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1)
SYMBOLS = ("A/USDT", "B/USDT", "C/USDT")
DAYS = 120


def candles(seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    bars = DAYS * 24
    parts = []
    for symbol in SYMBOLS:
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.004, bars)))
        parts.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "ts": [START + t * HOUR for t in range(bars)],
                    "open": np.r_[100.0, close[:-1]],
                    "close": close,
                    "volume": 1e6,
                }
            )
        )
    return pl.concat(parts)


def market(frame: pl.DataFrame) -> Market:
    from engine.evaluation.panel import panel_from_candles

    panel: Panel = panel_from_candles(frame, HOUR)
    rates = np.zeros(panel.open.shape)
    rates[::8] = 1e-5
    return Market(panel, rates, Costs(5.0, 1.0, 10.0))


def signals(first: int = 70, last: int = DAYS, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    rows = [
        {
            "decided_at": START + day * DAY,
            "symbol": symbol,
            "direction": int(random.choice([-1, 1])),
            "confidence": float(random.uniform(0.5, 0.7)),
            "p_trend": 0.6,
            "p_range": 0.35,
            "p_panic": 0.05,
            "p_changepoint": 0.1,
            "volatility": 0.4,
            "cost_bps": 6.0,
            "data_age_hours": 0.0,
            "fear_greed": 50.0,
            "fear_greed_age_hours": 5.0,
        }
        for day in range(first, last)
        for symbol in SYMBOLS
    ]
    return pl.DataFrame(rows)


CONFIG = DecisionConfig()


def traded(book: Book, rows: pl.DataFrame, frame: pl.DataFrame) -> list[TradingDay]:
    closes = daily_closes(frame.select("symbol", "ts", "close"), HOUR)
    return list(trade_days(book, SYMBOLS, rows, closes, market(frame), CONFIG))


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return candles()


@pytest.fixture(scope="module")
def days(frame: pl.DataFrame) -> list[TradingDay]:
    return traded(Book(Account(100_000.0)), signals(), frame)


def test_it_trades_and_pays(days: list[TradingDay]) -> None:
    events = [event for day in days for event in day.events]
    assert {event.kind for event in events} == {"fill", "funding"}
    assert all(event.ts >= event.decided_at for event in events if event.decided_at)
    assert sum(len(day.orders) for day in days) > 30
    assert all(sum(map(abs, day.decision.weights.values())) <= 1.0 + 1e-9 for day in days)


def test_a_day_at_a_time_from_the_stored_book_is_the_same(
    days: list[TradingDay], frame: pl.DataFrame
) -> None:
    book = Book(Account(100_000.0))
    for day in days[:25]:
        # every sitting sees only the bars that had closed, and the book as text
        known = frame.filter(pl.col("ts") < day.decided_at)
        rows = signals().filter(pl.col("decided_at") == day.decided_at)
        [again] = traded(Book.from_json(book.to_json()), rows, known)
        assert again.decision.weights == day.decision.weights
        assert again.events == day.events
        book = again.after


def test_a_stored_decision_is_computed_again_bit_for_bit(days: list[TradingDay]) -> None:
    for day in days[::7]:
        stored = json.dumps(
            [day.inputs.to_dict(), CONFIG.to_dict(), day.before.state.to_dict(), day.decision.weights]
        )
        inputs, config, state, weights = json.loads(stored)
        again = decide_again(inputs, day.returns, config, state)
        assert again.weights == weights
        assert again.reasons().equals(day.decision.reasons())


def test_another_input_gives_another_decision(days: list[TradingDay]) -> None:
    day = next(day for day in days if any(day.decision.weights.values()))
    inputs = day.inputs.to_dict()
    for view in inputs["views"]:
        view["confidence"] = 0.4
    again = decide_again(inputs, day.returns, CONFIG.to_dict(), day.before.state.to_dict())
    assert again.weights != day.decision.weights


def test_a_missed_day_is_carried_through(days: list[TradingDay], frame: pl.DataFrame) -> None:
    missed = START + 90 * DAY
    rows = signals().filter(pl.col("decided_at") != missed)
    with_hole = traded(Book(Account(100_000.0)), rows, frame)
    assert len(with_hole) == len(days) - 1
    before = [day for day in with_hole if day.decided_at < missed][-1]
    after = next(day for day in with_hole if day.decided_at > missed)
    assert after.before.account.clock == after.decided_at - HOUR
    # what was held, and nothing else, earned and paid over both days
    funding = [event for event in after.events if event.kind == "funding"]
    assert {event.ts.date() for event in funding} == {before.decided_at.date(), missed.date()}
    assert not [event for event in after.events if event.kind == "fill" and event.ts >= missed]


def test_a_symbol_without_data_is_neither_bought_nor_sold(frame: pl.DataFrame) -> None:
    silent = START + 80 * DAY
    known = frame.filter((pl.col("symbol") != "B/USDT") | (pl.col("ts") < silent - 12 * HOUR))
    rows = signals().filter((pl.col("symbol") != "B/USDT") | (pl.col("decided_at") < silent))
    days = traded(Book(Account(100_000.0)), rows, known)
    later = [day for day in days if day.decided_at >= silent]
    assert later
    assert all("B/USDT" not in day.orders for day in later)
    assert any(day.orders for day in later)
    told = later[0].decision.reasons().filter(pl.col("symbol") == "B/USDT")
    assert "unknown" in " ".join(told["reason"])


def test_a_solver_that_fails_leaves_a_recorded_fallback(
    frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise EngineError("the solver gave up")

    monkeypatch.setattr(optimizer_module, "risk_budget_weights", broken)
    days = traded(Book(Account(100_000.0)), signals(), frame)
    methods = {day.decision.allocation.method for day in days if day.orders}
    assert methods <= {"inverse_volatility", "previous", "flat"}
    assert "inverse_volatility" in methods
    said = " ".join(days[-1].decision.reasons()["reason"])
    assert "the solver gave up" in said


def test_alternatives_are_every_profile_with_and_without_the_limit() -> None:
    found = alternatives(CONFIG)
    assert set(found) == {
        "conservative",
        "conservative, no correlation limit",
        "balanced, no correlation limit",
        "aggressive",
        "aggressive, no correlation limit",
    }
    assert CONFIG not in found.values()
