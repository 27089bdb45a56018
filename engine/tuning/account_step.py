"""One account of the live algorithm on its way from bar to bar: what the live loop and the reference walk.

Everything is done in the order in which it happens: at a bar's open funding falls due and the order is
filled, within the bar the stop or the target is reached, at its close the algorithm decides. Each decision
asks once which parameters are in force: new ones decide from the next bar on, an open position keeps the stop
and the target of its entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

import numpy as np

from engine.evaluation.costs import Costs
from engine.tuning.algorithm import TradeDecision, TradingAlgorithm
from engine.tuning.late_funding import LATE, awaited, carry, close, overdue
from engine.tuning.live_account import HeldPosition, InUse, LiveAccount, Order
from engine.tuning.market_state import MarketState, StateTape
from engine.tuning.positions import Position
from engine.tuning.rules import MAX_GAP

__all__ = ["AccountStep", "Ask", "LedgerLine", "LiveDecision"]

Ask = Callable[[MarketState], InUse]
"""Says which parameters decide at the close of a bar."""


class LiveDecision(NamedTuple):
    """What was decided at the close of the bar that opened at `ts`; `waits` names changes held up."""

    symbol: str
    ts: datetime
    made: TradeDecision
    under: InUse
    waits: tuple[str, ...]


class LedgerLine(NamedTuple):
    """Something that happened to an account in the bar that opened at `ts`.

    Parameters
    ----------
    event : str
        ``entry``, ``funding``, ``late funding`` (of a bar walked before it was known), ``lapsed`` (an order
        that no bar filled), or how a position ended: ``stop``, ``target``, ``delisted``, ``ruined``.
    order : TradeDecision or Position
        With kind, side and size.
    price : float or None
        Before costs; None for an order that lapsed.
    fee, slippage, funding : float
        Of this line, fractions of the equity at the entry; funding received is negative.
    net_return : float or None
        Of a position that ended, all its costs and funding taken off.
    equity : float
        Of the account after it, as of the last exit.
    decided_ts : datetime
        Open of the bar that the entry was decided on.
    under : InUse
        Parameters of the entry.
    """

    symbol: str
    ts: datetime
    event: str
    order: TradeDecision | Position
    price: float | None
    fee: float
    slippage: float
    funding: float
    net_return: float | None
    equity: float
    decided_ts: datetime
    under: InUse


class AccountStep:
    """One symbol's account, walked on in place.

    Parameters
    ----------
    tape : StateTape
        Bars up to the account's moment are passed over.
    account : LiveAccount
    ask : callable
        Called once for each decision.
    costs : Costs

    Attributes
    ----------
    rows : dict of datetime to int
        Rows of the tape that the account has not seen, by the open of the bar.
    decisions : list of LiveDecision
    ledger : list of LedgerLine
    """

    def __init__(self, tape: StateTape, account: LiveAccount, ask: Ask, costs: Costs) -> None:
        self.tape, self.account, self.ask, self.costs = tape, account, ask, costs
        self.decisions: list[LiveDecision] = []
        self.ledger: list[LedgerLine] = []
        self.rows: dict[datetime, int] = {}
        self.rates = np.zeros(len(tape.funding))
        self._clock: datetime = tape.panel.times[0].item()
        if account.symbol in tape.symbols:
            rows = tape.rows_of(account.symbol)
            rows = rows[tape.ts[rows] > np.datetime64(account.ts, "us")]
            self.rows = dict(zip(tape.ts[rows].tolist(), rows.tolist(), strict=True))
            self.rates = tape.funding[:, tape.symbols.index(account.symbol)]

    def next(self) -> bool:
        """Walk one bar; return whether it was there."""
        self.account.ts += self.tape.bar
        row, rate = self.rows.get(self.account.ts), self._rate(self.account.ts)
        if row is None:
            self._missing(rate)
        else:
            self._bar(row, rate)
        return row is not None

    def end_if_ruined(self, ts: datetime) -> None:
        """End an account that has lost all, as an event of the bar that opened at `ts`."""
        account = self.account
        if account.held is not None and account.value <= 0.0:
            self._settle(account.held, account.close, "ruined", 0.0, ts)

    def charge_late_funding(self) -> None:
        """Charge what has become known of bars that were walked before, as lines of those bars."""
        account = self.account
        found, account.carried = overdue(account.carried, self._rate, account.ts - LATE)
        account.awaits = awaited(self.rates, self._clock, self.tape.bar)
        for due in found:
            if due.share is not None:
                account.equity *= 1.0 - due.share
            elif account.held is not None:
                account.held = replace(account.held, funding=account.held.funding + due.due)
            self._write("late funding", due.held.position, due.price, due.held, due.ts, funding=due.due)
        if found:
            held = account.held
            account.value = account.equity * (1.0 if held is None else 1.0 + held.made(account.close))

    def _rate(self, ts: datetime) -> float:
        t = (ts - self._clock) // self.tape.bar
        return float(self.rates[t]) if 0 <= t < len(self.rates) else 0.0

    def _missing(self, rate: float) -> None:
        """Let an order lapse, take the funding due on the last close, and give up after `MAX_GAP` bars."""
        account = self.account
        account.missing += 1
        self._lapse()
        if account.held is not None:
            held = self._pay(account.held, rate, account.close)
            if account.missing > MAX_GAP:
                self._settle(held, account.close, "delisted", self._cost(0.0), account.ts)

    def _bar(self, row: int, rate: float) -> None:
        tape, account = self.tape, self.account
        open_, close, traded = float(tape.open[row]), float(tape.close[row]), tape.volume[row] > 0.0
        if account.held is not None:
            self._pay(account.held, rate, open_)
        elif account.order is not None and traded:
            self._fill(account.order, open_, row)
        if account.held is not None and traded:
            position = account.held.position
            left = position.leave(open_, float(tape.high[row]), float(tape.low[row]))
            if left is not None:
                cost = self._cost(self._share(position, row))
                self._settle(account.held, left.price, left.reason, cost, account.ts)
        self._lapse()
        if account.held is not None:
            account.value = account.equity * (1.0 + account.held.made(close))
        account.close, account.half_spread, account.missing = close, float(tape.half_spread[row]), 0
        if account.equity > 0.0:
            self._decide(tape.state(row))

    def _decide(self, state: MarketState) -> None:
        account, under = self.account, self.ask(state)
        held = account.held
        made = TradingAlgorithm(under.parameters).decide(state, None if held is None else held.position)
        waits = {} if held is None else held.waiting(under.parameters)
        if waits:
            told = (
                f"{name} {old:g} -> {new:g} waits until this position is closed"
                for name, (old, new) in waits.items()
            )
            made = replace(made, reasons=(*made.reasons, *told))
        self.decisions.append(LiveDecision(account.symbol, state.ts, made, under, tuple(waits)))
        account.order = Order(made, state.ts, under) if made.action == "enter" else None

    def _pay(self, held: HeldPosition, rate: float, price: float) -> HeldPosition:
        position = held.position
        due = position.funding(rate, price)
        if due == 0.0:
            self.account.carried = carry(self.account.carried, held, self.account.ts, price)
            return held
        paid = replace(held, funding=held.funding + due)
        self.account.held = paid
        self._write("funding", position, price, paid, self.account.ts, funding=due)
        return paid

    def _cost(self, share: float) -> float:
        """Cost of a fill over its value: fee, half the spread as known at the bar before, impact."""
        half_spread = max(self.costs.half_spread_bps * 1e-4, self.account.half_spread)
        return float(self.costs.fee_bps * 1e-4 + half_spread + self.costs.impact_bps * 1e-4 * share**0.5)

    def _share(self, position: Position, row: int) -> float:
        """Share in a bar's volume of the order of an account of the tape's capital."""
        return position.size * self.tape.capital / position.price / self.tape.volume[row]

    def _fill(self, order: Order, price: float, row: int) -> None:
        position = Position.filled(order.decision, price, self.account.ts)
        cost = position.size * self._cost(self._share(position, row))
        held = HeldPosition(position, order.ts, order.under, cost)
        self.account.held, self.account.order = held, None
        self._write("entry", position, price, held, self.account.ts, cost=cost, value=position.size)

    def _lapse(self) -> None:
        """Give up an order that this bar did not fill."""
        account, order = self.account, self.account.order
        if order is not None:
            nothing = (None, 0.0, 0.0, 0.0, None, account.equity)
            told = "lapsed", order.decision, *nothing, order.ts, order.under
            self.ledger.append(LedgerLine(account.symbol, account.ts, *told))
        account.order = None

    def _settle(self, held: HeldPosition, price: float, event: str, cost: float, ts: datetime) -> None:
        """End a position at a price, for the cost of a fill over its value."""
        account, position = self.account, held.position
        value = position.size * price / position.price
        held = replace(held, cost=held.cost + value * cost)
        made = held.made(price)
        account.equity = account.value = account.equity * (1.0 + made) if made > -1.0 else 0.0
        account.held, account.carried = None, close(account.carried, made)
        self._write(
            event if account.equity > 0.0 else "ruined",
            position,
            price,
            held,
            ts,
            cost=value * cost,
            value=value if cost else 0.0,
            net_return=made,
        )

    def _write(
        self,
        event: str,
        position: Position,
        price: float,
        held: HeldPosition,
        ts: datetime,
        *,
        cost: float = 0.0,
        value: float = 0.0,
        funding: float = 0.0,
        net_return: float | None = None,
    ) -> None:
        """Write a line; `value` is that of the fill, over the equity at the entry."""
        fee = value * self.costs.fee_bps * 1e-4
        told = event, position, price, fee, cost - fee, funding, net_return, self.account.equity
        self.ledger.append(LedgerLine(self.account.symbol, ts, *told, held.decided_ts, held.under))
