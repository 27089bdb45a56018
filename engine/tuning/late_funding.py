"""Funding that became known only after the bar it was due at had been walked.

A venue's rate may reach the store hours after the bars. So an account remembers the bars of the past week
into which a position was carried while no rate was known, and is charged once one is: an open position as
ever, a closed one by what it takes from all that was made since. An account that hears late ends where one
ends that hears in time.

What compares results, an A/B test or a shadow, waits for what is outstanding, so for a week at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.tuning.live_account import Carried, HeldPosition, LiveAccount

__all__ = ["LATE", "Due", "awaited", "carry", "close", "outstanding", "overdue"]

LATE = timedelta(days=7)
"""What becomes known later than this is not charged any more."""


class Due(NamedTuple):
    """Funding of a bar that is over, as a fraction of the equity at the entry of its position.

    `share` is what it takes from the equity of an account that has closed the position since; None where it
    is open.
    """

    ts: datetime
    price: float
    held: HeldPosition
    due: float
    share: float | None


def carry(
    carried: tuple[Carried, ...], held: HeldPosition, ts: datetime, price: float
) -> tuple[Carried, ...]:
    """Add a bar without any funding known, and forget those that are too old."""
    *closed, last = carried or (Carried(held, ()),)
    if last.made is not None:
        closed, last = [*closed, last], Carried(held, ())
    recent = [replace(each, bars=_since(each.bars, ts - LATE)) for each in closed]
    bars = (*_since(last.bars, ts - LATE), (ts, price))
    return (*(each for each in recent if each.bars), Carried(held, bars))


def close(carried: tuple[Carried, ...], made: float) -> tuple[Carried, ...]:
    """Note what the open position made."""
    if not carried or carried[-1].made is not None:
        return carried
    return (*carried[:-1], replace(carried[-1], made=made))


def overdue(
    carried: tuple[Carried, ...], rate: Callable[[datetime], float], since: datetime
) -> tuple[list[Due], tuple[Carried, ...]]:
    """Find funding that has become known, and what is left to wait for.

    Parameters
    ----------
    carried : tuple of Carried
    rate : callable
        Rate that is known of a bar by now, 0 if none is.
    since : datetime
        Bars before it are forgotten.
    """
    found: list[Due] = []
    left = []
    for each in carried:
        position, made, waiting = each.held.position, each.made, _since(each.bars, since)
        for ts, price in waiting:
            due = position.funding(rate(ts), price)
            if due == 0.0:
                continue
            share = None
            if made is not None:
                share, made = due / (1.0 + made) if made > -1.0 else 0.0, made - due
            found.append(Due(ts, price, each.held, due, share))
        known = {due.ts for due in found}
        bars = tuple((ts, price) for ts, price in waiting if ts not in known)
        left.append(replace(each, bars=bars, made=made))
    return found, tuple(each for each in left if each.bars or each.made is None)


def awaited(rates: NDArray[np.float64], first: datetime, bar: timedelta) -> datetime | None:
    """Return the bar of the next rate after the last that is known, at the interval that is usual.

    Parameters
    ----------
    rates : ndarray, shape (bars,)
        0 where none is known.
    first : datetime
        Open of the first bar.
    bar : timedelta

    Returns
    -------
    datetime or None
        None where no rate is known at all.
    """
    known = np.flatnonzero(rates)
    if not known.size:
        return None
    usual = int(np.median(np.diff(known))) if known.size > 1 else 1
    return first + (int(known[-1]) + usual) * bar


def outstanding(account: LiveAccount, experiment: str, until: datetime, now: datetime) -> bool:
    """Tell whether a trade of an experiment may still be charged for a bar up to a moment.

    Parameters
    ----------
    account : LiveAccount
    experiment : str
    until, now : datetime
        `now` is the newest bar of the market: an account that ended is charged no more.
    """
    awaits = account.awaits
    return awaits is not None and any(
        max(awaits, now - LATE) <= ts <= until
        for each in account.carried
        if each.held.under.experiment == experiment
        for ts, _ in each.bars
    )


def _since(bars: tuple[tuple[datetime, float], ...], start: datetime) -> tuple[tuple[datetime, float], ...]:
    return tuple(bar for bar in bars if bar[0] >= start)
