"""Paper trading: a book that decides once a day and carries its positions from one day to the next.

A day is: process the bars that came since the last one, look at what is known now, decide, place orders for
the next open. The book after a day holds all that the next day needs, so that a job may stop in between for
an hour or a month; a day that was missed is caught up with, but no order is placed for it afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel
from engine.evaluation.paper_broker import Account, Event, advance, place
from engine.portfolio.decide import Decision, DecisionConfig, DecisionInputs, DecisionState, target_positions
from engine.portfolio.view import SymbolView
from engine.regimes.names import REGIME_COLUMNS

__all__ = ["Book", "Market", "TradingDay", "decide_again", "trade_day", "trade_days"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Book:
    """An account and what its last decision remembers."""

    account: Account
    state: DecisionState = field(default_factory=DecisionState)

    def to_json(self) -> str:
        """Text from which `from_json` restores every bit."""
        return json.dumps({"account": self.account.to_dict(), "state": self.state.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> Book:
        """Restore what `to_json` wrote."""
        stored = json.loads(text)
        return cls(Account.from_dict(stored["account"]), DecisionState.from_dict(stored["state"]))


@dataclass(frozen=True)
class Market:
    """What orders are filled in.

    Parameters
    ----------
    panel : Panel
        Prices and volumes, back to the last bar that the book has seen.
    funding : ndarray, shape (bars, symbols)
        From `engine.evaluation.panel.funding_panel`.
    costs : Costs
    """

    panel: Panel
    funding: Floats
    costs: Costs

    def closes(self, before: datetime) -> dict[str, float]:
        """Close of the bar that ends at a moment, of each symbol that has one."""
        row = int(np.searchsorted(self.panel.times, np.datetime64(before - self.panel.bar, "us")))
        if row >= len(self.panel.times) or self.panel.times[row] != np.datetime64(
            before - self.panel.bar, "us"
        ):
            return {}
        prices = self.panel.close[row]
        return {s: float(p) for s, p in zip(self.panel.symbols, prices, strict=True) if np.isfinite(p)}


@dataclass(frozen=True)
class TradingDay:
    """One day of a book: what was decided from what, and what happened since the day before.

    Parameters
    ----------
    decided_at : datetime
    before, after : Book
        When the decision was made (bars processed, nothing decided), and with its orders placed.
    inputs : DecisionInputs
    returns : ndarray, shape (periods, symbols)
        Daily returns that the decision saw, columns in the order of the views.
    decision : Decision
    orders : dict of str to float
        Weights ordered, of the symbols that are to change.
    events : tuple of Event
        The ledger since the day before.
    """

    decided_at: datetime
    before: Book
    after: Book
    inputs: DecisionInputs
    returns: Floats
    decision: Decision
    orders: dict[str, float]
    events: tuple[Event, ...]


def trade_day(
    book: Book,
    decided_at: datetime,
    views: Sequence[SymbolView],
    returns: Floats,
    market: Market,
    config: DecisionConfig,
    fill_at: datetime | None = None,
) -> TradingDay:
    """Carry a book through one day.

    Parameters
    ----------
    book : Book
    decided_at : datetime
        Close of the decision bar.
    views : sequence of SymbolView
    returns : ndarray, shape (periods, len(views))
        Daily returns up to now, oldest first, NaN where a symbol had no price.
    market : Market
    config : DecisionConfig
    fill_at : datetime, optional
        Open at which orders are filled; the next one by default. A live job that runs late gives the first
        open after it.
    """
    account, events = advance(book.account, market.panel, market.funding, decided_at, market.costs)
    before = Book(account, book.state)
    weights = account.weights(market.closes(decided_at))
    inputs = DecisionInputs(decided_at.date().isoformat(), account.equity, weights, tuple(views))
    decision = target_positions(inputs, returns, config, book.state)
    held = decision.allocation.current
    # A symbol without a bar now cannot be judged, so nothing is ordered for it.
    priced = market.closes(decided_at)
    orders = {s: w for s, w in decision.weights.items() if w != held.get(s, 0.0) and s in priced}
    after = Book(place(account, orders, decided_at, fill_at or decided_at), decision.state)
    return TradingDay(decided_at, before, after, inputs, returns, decision, orders, tuple(events))


def trade_days(
    book: Book,
    symbols: Sequence[str],
    signals: pl.DataFrame,
    closes: pl.DataFrame,
    market: Market,
    config: DecisionConfig,
    fill_at: datetime | None = None,
) -> Iterator[TradingDay]:
    """Carry a book through every day that has signals, oldest first.

    Parameters
    ----------
    book : Book
    symbols : sequence of str
        The universe.
    signals : DataFrame
        ``decided_at, symbol`` and the further fields of `SymbolView`, one row for each symbol that had a bar.
        A symbol without a row on a day is viewed as unknown.
    closes : DataFrame
        From `engine.portfolio.daily_closes.daily_closes`, with the history before the first day.
    market : Market
    config : DecisionConfig
    fill_at : datetime, optional
        As in `trade_day`; only for a single day.
    """
    unlisted = [pl.lit(None, pl.Float64).alias(s) for s in symbols if s not in closes.columns]
    prices = closes.with_columns(unlisted)
    returns = prices.select(pl.col(s) / pl.col(s).shift(1) - 1.0 for s in symbols)
    table = returns.fill_null(float("nan")).to_numpy()
    until = {day: i + 1 for i, day in enumerate(closes["day"])}
    for (decided_at,), day in signals.sort("decided_at").group_by("decided_at", maintain_order=True):
        assert isinstance(decided_at, datetime)  # noqa: S101  the column is a Datetime
        known = {row["symbol"]: row for row in day.drop("decided_at").iter_rows(named=True)}
        views = [_view(known[s]) if s in known else SymbolView(s) for s in symbols]
        end = until.get(decided_at, 0)
        window = table[max(0, end - config.portfolio.window) : end]
        today = trade_day(book, decided_at, views, window, market, config, fill_at)
        book = today.after
        yield today


def _view(row: Mapping[str, Any]) -> SymbolView:
    probabilities = tuple(row[column] for column in REGIME_COLUMNS)
    known = {f.name: row[f.name] for f in fields(SymbolView) if f.name in row}
    return SymbolView(**known, regime_probabilities=None if None in probabilities else probabilities)


def decide_again(
    inputs: Mapping[str, Any],
    returns: Floats,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
) -> Decision:
    """Compute a stored decision once more; the same stored values give the same bits.

    Raises
    ------
    ValueError
        If the values were stored by another version of the code.
    """
    return target_positions(
        DecisionInputs.from_dict(inputs),
        returns,
        DecisionConfig.from_dict(config),
        DecisionState.from_dict(state),
    )
