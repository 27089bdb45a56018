"""A paper broker: carries an account from day to day and fills orders at the opens that really came.

It keeps the rules of `engine.evaluation.backtest`, bar after bar in plain Python, and writes down every
event. The same targets give the same account in both; only a backtest knows all bars beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel

__all__ = ["Account", "Event", "Order", "advance", "place"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """A fraction of equity to hold, to be filled at one open or not at all.

    Parameters
    ----------
    symbol : str
    weight : float
        Signed fraction of equity.
    decided_at : datetime
        Close of the decision bar.
    fill_at : datetime
        Open of the bar that it is filled at; without that bar, or without volume in it, the order lapses.
    """

    symbol: str
    weight: float
    decided_at: datetime
    fill_at: datetime


@dataclass(frozen=True)
class Event:
    """One line of the ledger.

    Parameters
    ----------
    ts : datetime
        When it happened.
    kind : str
        ``fill``, ``funding``, ``lapsed``, ``delisted`` or ``ruined``.
    symbol : str
    quantity : float
        Change of the position, base units.
    price : float or None
        Before costs.
    fee, slippage, funding : float
        Paid, quote units; funding received is negative.
    position : float
        Held afterwards, base units.
    equity : float
        Afterwards, quote units.
    note : str
    decided_at : datetime or None
        Of the order, where there was one.
    """

    ts: datetime
    kind: str
    symbol: str
    quantity: float
    price: float | None
    fee: float
    slippage: float
    funding: float
    position: float
    equity: float
    note: str = ""
    decided_at: datetime | None = None


@dataclass(frozen=True)
class Account:
    """What is carried from one day to the next.

    Parameters
    ----------
    equity : float
        Quote units at the last marks.
    quantities, marks : mapping of str to float
        Base units held, and the last price seen, of each symbol held.
    missing : mapping of str to int
        Bars in a row that a held symbol has not had.
    orders : tuple of Order
        Waiting for their open.
    clock : datetime or None
        Open of the last bar that was processed.
    ruined : bool
        Equity was gone once; nothing is traded again.
    """

    equity: float
    quantities: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    orders: tuple[Order, ...] = ()
    clock: datetime | None = None
    ruined: bool = False

    def weights(self, prices: Mapping[str, float]) -> dict[str, float]:
        """Fractions of equity held at these prices; a symbol without one keeps its last mark."""
        worth = {s: q * prices.get(s, self.marks[s]) for s, q in self.quantities.items()}
        gained = sum(value - self.quantities[s] * self.marks[s] for s, value in worth.items())
        equity = self.equity + gained
        return {s: value / equity for s, value in worth.items()} if equity > 0 else {}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; floats keep every bit."""
        plain = asdict(self)
        plain["clock"] = self.clock.isoformat() if self.clock else None
        plain["orders"] = [
            {**asdict(o), "decided_at": o.decided_at.isoformat(), "fill_at": o.fill_at.isoformat()}
            for o in self.orders
        ]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Account:
        """Restore what `to_dict` returned."""
        orders = tuple(
            Order(
                o["symbol"],
                o["weight"],
                datetime.fromisoformat(o["decided_at"]),
                datetime.fromisoformat(o["fill_at"]),
            )
            for o in plain["orders"]
        )
        clock = plain["clock"] and datetime.fromisoformat(plain["clock"])
        return cls(**{**plain, "orders": orders, "clock": clock})


def place(account: Account, targets: Mapping[str, float], decided_at: datetime, fill_at: datetime) -> Account:
    """Order target weights; orders of the same symbol that still wait are replaced.

    Raises
    ------
    ValueError
        If a weight is not finite, or an order would be filled at a bar that has been processed or before it
        was decided.
    """
    for symbol, weight in targets.items():
        if not np.isfinite(weight):
            raise ValueError(f"target weight of {symbol} is {weight}; it must be finite")
    if fill_at < decided_at or (account.clock is not None and fill_at <= account.clock):
        raise ValueError(
            f"an order decided at {decided_at} cannot be filled at {fill_at}: the account has seen the bars "
            f"up to {account.clock}"
        )
    waiting = tuple(order for order in account.orders if order.symbol not in targets)
    placed = tuple(Order(s, float(weight), decided_at, fill_at) for s, weight in targets.items())
    return replace(account, orders=waiting + placed)


def advance(
    account: Account,
    panel: Panel,
    funding: Floats,
    until: datetime,
    costs: Costs | None = None,
    max_gap: int = 72,
) -> tuple[Account, list[Event]]:
    """Process every bar that opened after the account's clock and before `until`.

    Parameters
    ----------
    account : Account
    panel : Panel
        Prices and volumes; it must reach back to the bar after the clock.
    funding : ndarray, shape (bars, symbols)
        From `engine.evaluation.panel.funding_panel`.
    until : datetime
        Moment of the next decision: bars that open then are not known yet.
    costs : Costs, optional
    max_gap : int
        Missing bars in a row after which a symbol counts as delisted.

    Returns
    -------
    tuple of Account and list of Event

    Raises
    ------
    ValueError
        If the panel begins after the first bar that the account has not seen, while something is held.
    """
    times = panel.times
    start = 0 if account.clock is None else int(np.searchsorted(times, _stamp(account.clock), side="right"))
    stop = int(np.searchsorted(times, _stamp(until), side="left"))
    if account.quantities and account.clock is not None and start == 0 and times[0] > _stamp(account.clock):
        gap = times[0] - _stamp(account.clock)
        if gap > np.timedelta64(panel.bar):
            raise ValueError(
                f"the panel begins at {times[0]}, but the account has seen bars only up to {account.clock}; "
                "hand over the bars between"
            )
    events: list[Event] = []
    day = _Day(account, panel, costs or Costs(), max_gap, events)
    for t in range(start, stop):
        day.bar(t, funding[t])
    return day.account(times[stop - 1].item() if stop > start else account.clock), events


def _stamp(moment: datetime) -> np.datetime64:
    return np.datetime64(moment, "us")


class _Day:
    """The account while bars go by."""

    def __init__(
        self, account: Account, panel: Panel, costs: Costs, max_gap: int, events: list[Event]
    ) -> None:
        self.panel, self.costs, self.max_gap, self.events = panel, costs, max_gap, events
        self.column = {symbol: i for i, symbol in enumerate(panel.symbols)}
        self.equity, self.ruined = account.equity, account.ruined
        self.quantities, self.marks = dict(account.quantities), dict(account.marks)
        self.missing = dict(account.missing)
        self.orders: Sequence[Order] = account.orders

    def account(self, clock: datetime | None) -> Account:
        held = {s: q for s, q in self.quantities.items() if q != 0.0}
        return Account(
            equity=self.equity,
            quantities=held,
            marks={s: self.marks[s] for s in held},
            missing={s: self.missing.get(s, 0) for s in held},
            orders=tuple(self.orders),
            clock=clock,
            ruined=self.ruined,
        )

    def bar(self, t: int, rates: Floats) -> None:
        """Mark, settle funding, close what is delisted, fill what is due."""
        now: datetime = self.panel.times[t].item()
        self._mark(t)
        self._settle(now, rates)
        if self.equity <= 0.0 and not self.ruined:
            self.ruined = True
            self._note(now, "ruined", "", "equity is gone; every position is closed at its mark")
        worth, bill = self.equity, 0.0
        for symbol in list(self.quantities):
            if self.ruined or self.missing[symbol] > self.max_gap:
                bill += self._trade(now, "delisted", symbol, -self.quantities[symbol], np.inf, bill)
        for order in self._due(now):
            bill += self._fill(now, order, t, worth, bill)
        self.equity = worth - bill

    def _mark(self, t: int) -> None:
        for symbol, held in self.quantities.items():
            i = self.column.get(symbol)
            price = np.nan if i is None else self.panel.open[t, i]
            if np.isfinite(price):
                self.equity += held * (price - self.marks[symbol])
                self.marks[symbol] = float(price)
                self.missing[symbol] = 0
            else:
                self.missing[symbol] = self.missing.get(symbol, 0) + 1

    def _settle(self, now: datetime, rates: Floats) -> None:
        for symbol, held in self.quantities.items():
            i = self.column.get(symbol)
            if i is None or rates[i] == 0.0 or held == 0.0:
                continue
            due = held * self.marks[symbol] * rates[i]
            self.equity -= due
            self.events.append(
                Event(
                    now,
                    "funding",
                    symbol,
                    0.0,
                    self.marks[symbol],
                    0.0,
                    0.0,
                    due,
                    held,
                    self.equity,
                    f"rate {rates[i]:.6%}",
                )
            )

    def _due(self, now: datetime) -> Iterator[Order]:
        due = [order for order in self.orders if order.fill_at <= now]
        self.orders = [order for order in self.orders if order.fill_at > now]
        yield from due

    def _fill(self, now: datetime, order: Order, t: int, worth: float, bill: float) -> float:
        """Fill one order and return its costs."""
        i = self.column.get(order.symbol)
        price, volume = (np.nan, np.nan) if i is None else (self.panel.open[t, i], self.panel.volume[t, i])
        if self.ruined or order.fill_at < now or not np.isfinite(price) or not volume > 0:
            why = "equity is gone" if self.ruined else "no bar" if not np.isfinite(price) else "no volume"
            self._note(now, "lapsed", order.symbol, f"{why} at {order.fill_at:%Y-%m-%d %H:%M}", order)
            return 0.0
        held = self.quantities.get(order.symbol, 0.0)
        self.marks[order.symbol] = float(price)
        self.missing.setdefault(order.symbol, 0)
        change = order.weight * worth / float(price) - held
        return self._trade(now, "fill", order.symbol, change, float(volume), bill, order)

    def _trade(
        self,
        now: datetime,
        kind: str,
        symbol: str,
        change: float,
        room: float,
        bill: float,
        order: Order | None = None,
    ) -> float:
        if change == 0.0:
            return 0.0
        price = self.marks[symbol]
        value = abs(change) * price
        fee = value * self.costs.fee_bps * 1e-4
        impact = self.costs.impact_bps * np.sqrt(abs(change) / room)
        slippage = float(value * (self.costs.half_spread_bps + impact) * 1e-4)
        held = self.quantities.get(symbol, 0.0) + change
        if kind == "delisted":
            held = 0.0
        if held == 0.0:
            self.quantities.pop(symbol, None)
        else:
            self.quantities[symbol] = held
        after = self.equity - bill - fee - slippage
        note = f"to {order.weight:.4%} of equity" if order else "closed at its last price"
        decided_at = order.decided_at if order else None
        self.events.append(
            Event(now, kind, symbol, change, price, fee, slippage, 0.0, held, after, note, decided_at)
        )
        return fee + slippage

    def _note(self, now: datetime, kind: str, symbol: str, note: str, order: Order | None = None) -> None:
        held = self.quantities.get(symbol, 0.0)
        decided_at = order.decided_at if order else None
        self.events.append(
            Event(now, kind, symbol, 0.0, None, 0.0, 0.0, 0.0, held, self.equity, note, decided_at)
        )
