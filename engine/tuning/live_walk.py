"""The live algorithm on the bars that have come, with the parameters in force at each.

The rules are those of `engine.tuning.reference_walk`; with constant parameters the two agree. Here the
account is carried on from where it stood, and each decision asks once which parameters are in force: new ones
decide from the next bar on, an open position keeps the stop and the target of its entry.

Each account has a clock of its own. Bars missing at its end are not walked, since they may only be late,
until they are more than `MAX_GAP` and the symbol counts as delisted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np

from engine.evaluation.costs import Costs
from engine.tuning.algorithm import TradeDecision, TradingAlgorithm
from engine.tuning.live_account import HeldPosition, InUse, LiveAccount, Order
from engine.tuning.market_state import MarketState, StateTape
from engine.tuning.positions import Position
from engine.tuning.rules import MAX_GAP

__all__ = ["Ask", "EquityPoint", "LedgerLine", "LiveDecision", "LiveWalk", "live_walk"]

Ask = Callable[[MarketState], InUse]
"""Says which parameters decide at the close of a bar."""


class LiveDecision(NamedTuple):
    """What was decided at the close of the bar that opened at `ts`; `waits` names changes held up."""

    symbol: str
    ts: datetime
    made: TradeDecision
    under: InUse
    waits: tuple[str, ...]


class EquityPoint(NamedTuple):
    """An account at the close of a bar, over what it began with; `exposure` is the position's signed size."""

    symbol: str
    ts: datetime
    equity: float
    exposure: float


class LedgerLine(NamedTuple):
    """Something that happened to an account in the bar that opened at `ts`.

    Parameters
    ----------
    event : str
        ``entry``, ``funding``, ``lapsed`` (an order that no bar filled), or how a position ended: ``stop``,
        ``target``, ``delisted``, ``ruined``.
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


@dataclass
class LiveWalk:
    """What came of the new bars, by symbol and then time, and the accounts after them."""

    accounts: dict[str, LiveAccount] = field(default_factory=dict)
    decisions: list[LiveDecision] = field(default_factory=list)
    ledger: list[LedgerLine] = field(default_factory=list)
    equity: list[EquityPoint] = field(default_factory=list)


def live_walk(
    tape: StateTape,
    accounts: Mapping[str, LiveAccount],
    ask: Ask,
    costs: Costs | None = None,
    *,
    start: datetime,
) -> LiveWalk:
    """Walk every account on through the bars that it has not seen; what was handed in stays as it is.

    Parameters
    ----------
    tape : StateTape
        Its first bar at most one after the last that each account has seen.
    accounts : mapping
        By symbol, as an earlier walk left them.
    ask : callable
        Called once for each decision.
    costs : Costs, optional
    start : datetime
        First bar of symbols that have no account yet.
    """
    found = LiveWalk()
    for symbol in sorted({*accounts, *tape.symbols}):
        account = accounts[symbol] if symbol in accounts else _opened(tape, symbol, start)
        if account is not None:
            _Walker(tape, replace(account), ask, costs or Costs(), found).run()
    return found


def _opened(tape: StateTape, symbol: str, start: datetime) -> LiveAccount | None:
    """Open an account before the symbol's first bar from `start` on; None if there is no bar."""
    rows = tape.rows_of(symbol)
    rows = rows[tape.ts[rows] >= np.datetime64(start, "us")]
    return LiveAccount(symbol, tape.ts[rows[0]].item() - tape.bar, np.nan) if rows.size else None


class _Walker:
    """One symbol on its way through the bars."""

    def __init__(
        self, tape: StateTape, account: LiveAccount, ask: Ask, costs: Costs, found: LiveWalk
    ) -> None:
        self.tape, self.account, self.ask, self.costs, self.found = tape, account, ask, costs, found
        self.rows: dict[datetime, int] = {}
        self.rates = np.zeros(len(tape.funding))
        if account.symbol in tape.symbols:
            rows = tape.rows_of(account.symbol)
            rows = rows[tape.ts[rows] > np.datetime64(account.ts, "us")]
            self.rows = dict(zip(tape.ts[rows].tolist(), rows.tolist(), strict=True))
            self.rates = tape.funding[:, tape.symbols.index(account.symbol)]

    def run(self) -> None:
        """Walk the clock, missing bars included."""
        account, bar = self.account, self.tape.bar
        clock: datetime = self.tape.panel.times[-1].item()
        last = max(self.rows, default=account.ts - account.missing * bar)
        gone = last + (MAX_GAP + 1) * bar
        for _ in range(((gone if clock >= gone else last) - account.ts) // bar):
            self._next()
        self.found.accounts[account.symbol] = account

    def _next(self) -> None:
        """Walk one bar, and end an account at the end of a day that has lost all."""
        account, bar = self.account, self.tape.bar
        account.ts += bar
        row, rate, before = self.rows.get(account.ts), self._rate(account.ts), account.value
        if row is None:
            self._missing(rate)
        else:
            self._bar(row, rate)
        if (
            account.held is not None
            and account.value <= 0.0
            and (account.ts + bar).date() > account.ts.date()
        ):
            self._settle(account.held, account.close, "ruined", 0.0)
        if row is not None or account.value != before:
            held = account.held
            exposure = 0.0 if held is None else held.position.side * held.position.size
            self.found.equity.append(EquityPoint(account.symbol, account.ts, account.value, exposure))

    def _rate(self, ts: datetime) -> float:
        t = (ts - self.tape.panel.times[0].item()) // self.tape.bar
        return float(self.rates[t]) if 0 <= t < len(self.rates) else 0.0

    def _missing(self, rate: float) -> None:
        """Let an order lapse, take the funding due on the last close, and give up after `MAX_GAP` bars."""
        account = self.account
        account.missing += 1
        self._lapse()
        if account.held is not None:
            held = self._pay(account.held, rate, account.close)
            if account.missing > MAX_GAP:
                self._settle(held, account.close, "delisted", self._cost(0.0))

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
                self._settle(account.held, left.price, left.reason, self._cost(self._share(position, row)))
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
        told = tuple(
            f"{name} {old:g} -> {new:g} waits until this position is closed"
            for name, (old, new) in waits.items()
        )
        made = replace(made, reasons=(*made.reasons, *told))
        self.found.decisions.append(LiveDecision(account.symbol, state.ts, made, under, tuple(waits)))
        account.order = Order(made, state.ts, under) if made.action == "enter" else None

    def _pay(self, held: HeldPosition, rate: float, price: float) -> HeldPosition:
        position = held.position
        due = position.side * position.size * (rate * price) / position.price
        paid = replace(held, funding=held.funding + due)
        self.account.held = paid
        if due != 0.0:
            self._write("funding", position, price, paid, funding=due)
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
        self._write("entry", position, price, held, cost=cost, value=position.size)

    def _lapse(self) -> None:
        """Give up an order that this bar did not fill."""
        order = self.account.order
        if order is not None:
            nothing = (None, 0.0, 0.0, 0.0, None, self.account.equity)
            self.found.ledger.append(
                LedgerLine(
                    self.account.symbol,
                    self.account.ts,
                    "lapsed",
                    order.decision,
                    *nothing,
                    order.ts,
                    order.under,
                )
            )
        self.account.order = None

    def _settle(self, held: HeldPosition, price: float, event: str, cost: float) -> None:
        """End a position at a price, for the cost of a fill over its value."""
        account, position = self.account, held.position
        value = position.size * price / position.price
        held = replace(held, cost=held.cost + value * cost)
        made = held.made(price)
        account.equity = account.value = account.equity * (1.0 + made) if made > -1.0 else 0.0
        account.held = None
        event = event if account.equity > 0.0 else "ruined"
        self._write(
            event, position, price, held, cost=value * cost, value=value if cost else 0.0, net_return=made
        )

    def _write(
        self,
        event: str,
        position: Position,
        price: float,
        held: HeldPosition,
        *,
        cost: float = 0.0,
        value: float = 0.0,
        funding: float = 0.0,
        net_return: float | None = None,
    ) -> None:
        """Write a line; `value` is that of the fill, over the equity at the entry."""
        fee = value * self.costs.fee_bps * 1e-4
        told = event, position, price, fee, cost - fee, funding, net_return, self.account.equity
        self.found.ledger.append(
            LedgerLine(self.account.symbol, self.account.ts, *told, held.decided_ts, held.under)
        )
