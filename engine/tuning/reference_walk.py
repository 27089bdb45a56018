"""The live algorithm bar after bar, as it is run live: slow and obvious. `kernel` must agree with it.

The steps are those of the live loop itself, see `engine.tuning.account_step`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.tuning.account_step import AccountStep
from engine.tuning.algorithm import TradeDecision
from engine.tuning.live_account import InUse, LiveAccount
from engine.tuning.market_state import StateTape
from engine.tuning.parameters import ParameterSet
from engine.tuning.positions import Position

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
    found, under, streams = Walk(), InUse(parameters), []
    for symbol in tape.symbols:
        account = LiveAccount(symbol, tape.panel.times[0].item() - tape.bar, np.nan)
        step = AccountStep(tape, account, lambda state: under, costs or Costs())
        streams.append(_returns(step, every))
        found.decisions |= {step.rows[decision.ts]: decision.made for decision in step.decisions}
        found.trades += _trades(step)
    found.returns = np.mean(streams, axis=0)
    found.trades.sort(key=lambda trade: (trade["entry_ts"], trade["symbol"]))
    return found


def _returns(step: AccountStep, every: timedelta) -> NDArray[np.float64]:
    """Walk the clock, missing bars included, and return the returns per period."""
    account, bar = step.account, step.tape.bar
    times = step.tape.panel.times.astype("datetime64[us]")
    periods = times.astype(np.int64) // (every // timedelta(microseconds=1))
    returns, before = np.zeros(int(periods[-1] - periods[0]) + 1), 1.0
    for t in range(len(times)):
        step.next()
        if t + 1 == len(times) or periods[t + 1] > periods[t]:
            step.end_if_ruined(account.ts - account.missing * bar)
            if before > 0.0:
                returns[periods[t] - periods[0]] = account.value / before - 1.0
            before = account.value
    return returns


def _trades(step: AccountStep) -> list[dict[str, Any]]:
    """Trades of an account, the one that is still open marked to the last close."""
    found, cost, funding = [], 0.0, 0.0
    for line in step.ledger:
        if line.event == "entry":
            cost = funding = 0.0
        cost, funding = cost + line.fee + line.slippage, funding + line.funding
        if line.net_return is not None and isinstance(line.order, Position):
            found.append(
                {
                    **_entry(line.symbol, line.order, line.decided_ts),
                    "exit_ts": line.ts,
                    "exit_price": line.price,
                    "cost": cost,
                    "funding": funding,
                    "net_return": line.net_return,
                    "reason": line.event,
                }
            )
    held = step.account.held
    if held is not None:
        made = held.made(step.account.close)
        found.append(
            {
                **_entry(step.account.symbol, held.position, held.decided_ts),
                "exit_ts": None,
                "exit_price": None,
                "cost": held.cost,
                "funding": held.funding,
                "net_return": made,
                "reason": "open" if made > -1.0 else "ruined",
            }
        )
    return found


def _entry(symbol: str, position: Position, decided_ts: datetime) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "decided_ts": decided_ts,
        "entry_ts": position.ts,
        "kind": position.kind,
        "side": position.side,
        "size": position.size,
        "entry_price": position.price,
    }
