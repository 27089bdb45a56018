"""The live algorithm bar after bar, as it is run live: slow and obvious. `kernel` must agree with it.

Everything is done in the order in which it happens: at a bar's open funding falls due and the order is
filled, within the bar the stop or the target is reached, at its close the algorithm decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.tuning.algorithm import TradeDecision, TradingAlgorithm
from engine.tuning.market_state import StateTape
from engine.tuning.parameters import ParameterSet
from engine.tuning.positions import Position
from engine.tuning.rules import MAX_GAP

__all__ = ["Walk", "walk"]


@dataclass
class Walk:
    """What came of one parameter set.

    Parameters
    ----------
    decisions : dict
        By row of the tape, as decided at its close.
    trades : list of dict
        With the columns of `engine.tuning.kernel.trades_of`.
    returns : ndarray, shape (periods,)
        As in `engine.tuning.kernel.Evaluation`.
    """

    decisions: dict[int, TradeDecision] = field(default_factory=dict)
    trades: list[dict[str, Any]] = field(default_factory=list)
    returns: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def walk(
    tape: StateTape,
    parameters: ParameterSet,
    costs: Costs | None = None,
    *,
    every: timedelta = timedelta(days=1),
) -> Walk:
    """Run the algorithm through the bars of a tape; see `engine.tuning.kernel` for the rules."""
    found, algorithm = Walk(), TradingAlgorithm(parameters)
    streams = [
        _Account(tape, symbol, algorithm, costs or Costs(), found).run(every) for symbol in tape.symbols
    ]
    found.returns = np.mean(streams, axis=0)
    found.trades.sort(key=lambda trade: (trade["entry_ts"], trade["symbol"]))
    return found


class _Account:
    """One symbol's account."""

    def __init__(
        self, tape: StateTape, symbol: str, algorithm: TradingAlgorithm, costs: Costs, found: Walk
    ) -> None:
        self.tape, self.symbol, self.algorithm, self.costs, self.found = tape, symbol, algorithm, costs, found
        self.row_at = {int(tape.at[row]): int(row) for row in tape.rows_of(symbol)}
        self.equity = self.value = 1.0
        self.position: Position | None = None
        self.decision: TradeDecision | None = None
        self.trade: dict[str, Any] = {}
        self.last, self.missing = -1, 0

    def run(self, every: timedelta) -> NDArray[np.float64]:
        """Walk the clock, missing bars included, and return the returns per period."""
        times = self.tape.panel.times.astype("datetime64[us]")
        periods = times.astype(np.int64) // (every // timedelta(microseconds=1))
        rates = self.tape.funding[:, self.tape.symbols.index(self.symbol)]
        returns = np.zeros(int(periods[-1] - periods[0]) + 1)
        before = 1.0
        for t in range(len(times)):
            row = self.row_at.get(t)
            if row is None:
                self._missing(t, rates[t])
            else:
                self._bar(t, row, rates[t])
            if t + 1 == len(times) or periods[t + 1] > periods[t]:
                if self.position is not None and self.value <= 0.0:
                    self._settle(
                        self.position, self.tape.close[self.last], "ruined", int(self.tape.at[self.last])
                    )
                if before > 0.0:
                    returns[periods[t] - periods[0]] = self.value / before - 1.0
                before = self.value
        if self.position is not None:
            self._settle(self.position, self.tape.close[self.last], "open", None)
        return returns

    def _missing(self, t: int, rate: float) -> None:
        """Let an order lapse, take the funding due on the last close, and give up after `MAX_GAP` bars."""
        self.missing, self.decision = self.missing + 1, None
        if self.position is not None:
            self._pay(self.position, rate * self.tape.close[self.last])
            if self.missing > MAX_GAP:
                self._settle(self.position, self.tape.close[self.last], "delisted", t)

    def _bar(self, t: int, row: int, rate: float) -> None:
        tape = self.tape
        traded = tape.volume[row] > 0.0
        if self.position is not None:
            self._pay(self.position, rate * tape.open[row])
        elif self.decision is not None and traded:
            self._fill(self.decision, row)
        if self.position is not None and traded:
            left = self.position.leave(tape.open[row], tape.high[row], tape.low[row])
            if left is not None:
                self._settle(self.position, left.price, left.reason, t, row)
        if self.position is not None:
            self.value = self.equity * (1.0 + self._made(self.position, tape.close[row]))
        self.last, self.missing, self.decision = row, 0, None
        if self.equity > 0.0:
            made = self.algorithm.decide(tape.state(row), self.position)
            self.found.decisions[row] = made
            self.decision = made if made.action == "enter" else None

    def _made(self, position: Position, price: float) -> float:
        """Return what a position has made so far, over the equity at its entry."""
        moved = position.side * position.size * (price / position.price - 1.0)
        return moved - self.trade["cost"] - self.trade["funding"]

    def _pay(self, position: Position, due: float) -> None:
        self.trade["funding"] += position.side * position.size * due / position.price

    def _cost(self, share: float) -> float:
        """Cost of a fill over its value: fee, half the spread as known at the bar before, impact."""
        half_spread = max(self.costs.half_spread_bps * 1e-4, self.tape.half_spread[self.last])
        return self.costs.fee_bps * 1e-4 + half_spread + self.costs.impact_bps * 1e-4 * share**0.5

    def _share(self, position: Position, row: int) -> float:
        """Share in a bar's volume of the order of an account of the tape's capital."""
        return position.size * self.tape.capital / position.price / self.tape.volume[row]

    def _fill(self, decision: TradeDecision, row: int) -> None:
        self.position = Position.filled(decision, float(self.tape.open[row]), self.tape.ts[row].item())
        self.trade = {
            "symbol": self.symbol,
            "decided_ts": self.tape.ts[self.last].item(),
            "entry_ts": self.position.ts,
            "kind": decision.kind,
            "side": decision.side,
            "size": decision.size,
            "entry_price": self.position.price,
            "cost": decision.size * self._cost(self._share(self.position, row)),
            "funding": 0.0,
        }

    def _settle(
        self, position: Position, price: float, reason: str, t: int | None, row: int | None = None
    ) -> None:
        """End a position; `row` is that of a fill in the market, without one there is no impact."""
        if reason in ("stop", "target", "delisted"):
            share = 0.0 if row is None else self._share(position, row)
            self.trade["cost"] += position.size * price / position.price * self._cost(share)
        made = self._made(position, price)
        self.equity = self.value = self.equity * (1.0 + made) if made > -1.0 else 0.0
        self.trade["exit_ts"] = None if t is None else self.tape.panel.times[t].item()
        self.trade["exit_price"] = None if t is None else price
        self.trade["net_return"] = made
        self.trade["reason"] = reason if self.equity > 0.0 else "ruined"
        self.found.trades.append(self.trade)
        self.position = None
