"""The live algorithm on the bars that have come, with the parameters in force at each.

Each account is carried on from where it stood, by the steps of `engine.tuning.account_step`, and has a clock
of its own. Bars missing at its end are not walked, since they may only be late, until they are more than
`MAX_GAP` and the symbol counts as delisted. With constant parameters this is `engine.tuning.reference_walk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np

from engine.evaluation.costs import Costs
from engine.tuning.account_step import AccountStep, Ask, LedgerLine, LiveDecision
from engine.tuning.live_account import LiveAccount
from engine.tuning.market_state import StateTape
from engine.tuning.rules import MAX_GAP

__all__ = ["EquityPoint", "LiveWalk", "live_walk"]


class EquityPoint(NamedTuple):
    """An account at the close of a bar, over what it began with; `exposure` is the position's signed size."""

    symbol: str
    ts: datetime
    equity: float
    exposure: float


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
            step = AccountStep(tape, replace(account), ask, costs or Costs())
            found.equity += _walked(step)
            found.decisions += step.decisions
            found.ledger += step.ledger
            found.accounts[symbol] = step.account
    return found


def _opened(tape: StateTape, symbol: str, start: datetime) -> LiveAccount | None:
    """Open an account before the symbol's first bar from `start` on; None if there is no bar."""
    rows = tape.rows_of(symbol)
    rows = rows[tape.ts[rows] >= np.datetime64(start, "us")]
    return LiveAccount(symbol, tape.ts[rows[0]].item() - tape.bar, np.nan) if rows.size else None


def _walked(step: AccountStep) -> list[EquityPoint]:
    """Walk the clock of an account, missing bars included; one that has lost all ends with the day."""
    account, bar, points = step.account, step.tape.bar, []
    clock: datetime = step.tape.panel.times[-1].item()
    last = max(step.rows, default=account.ts - account.missing * bar)
    gone = last + (MAX_GAP + 1) * bar
    due = ((gone if clock >= gone else last) - account.ts) // bar
    if due:
        step.charge_late_funding()
    for _ in range(due):
        before = account.value
        was_there = step.next()
        if (account.ts + bar).date() > account.ts.date():
            step.end_if_ruined(account.ts)
        if was_there or account.value != before:
            held = account.held
            exposure = 0.0 if held is None else held.position.side * held.position.size
            points.append(EquityPoint(account.symbol, account.ts, account.value, exposure))
    return points
