"""A candidate run beside the live algorithm on the same live bars, on paper.

A shadow is a function of the bars since it began and of the two parameter sets: both accounts start flat with
its first bar, decide at each close, are filled at the next open and are charged the same costs, by the walk
that the live algorithm itself is run with. It is handed bars and gives back frames. It holds no order, no
position and no account that the live algorithm could see, and what it said of a bar is never changed by later
ones. Only funding that is heard of late is charged when it is, on the day that it was due: `settled` says up
to which day that is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.tuning.algorithm import TradeDecision
from engine.tuning.late_funding import LATE, awaited
from engine.tuning.market_state import DAY, StateTape
from engine.tuning.parameters import ParameterSet
from engine.tuning.reference_walk import Walk, walk
from engine.tuning.rules import MAX_GAP

__all__ = ["ShadowRun", "shadow"]

Floats = NDArray[np.float64]

_DECISIONS = pl.Schema(
    {
        "ts": pl.Datetime("us"),
        "symbol": pl.String(),
        "account": pl.String(),
        "action": pl.String(),
        "kind": pl.String(),
        "side": pl.Int64(),
        "size": pl.Float64(),
        "stop": pl.Float64(),
        "target": pl.Float64(),
        "confidence": pl.Float64(),
        "reasons": pl.List(pl.String()),
    }
)


@dataclass(frozen=True, eq=False)
class ShadowRun:
    """What the two accounts did so far.

    Parameters
    ----------
    decisions : DataFrame
        ``ts`` (open of the bar decided on), ``symbol``, ``account`` (``live`` or ``shadow``), then the fields
        of `TradeDecision`; by time, symbol and account.
    trades : DataFrame
        ``account``, then the columns of `engine.tuning.kernel.trades_of`.
    days : ndarray of datetime64[us], shape (days,)
        Whole days that are over.
    live, shadow : ndarray, shape (days,)
        Net returns of the accounts in them.
    settled : int
        How many of the days will not change any more: no funding is outstanding up to their end, or it would
        be too late to be charged.
    """

    decisions: pl.DataFrame
    trades: pl.DataFrame
    days: NDArray[np.datetime64]
    live: Floats
    shadow: Floats
    settled: int

    @property
    def difference(self) -> Floats:
        """Shadow less live, paired by day."""
        return self.shadow - self.live

    @property
    def parted(self) -> pl.DataFrame:
        """Decisions on bars at which the accounts did not do the same, one row a bar.

        ``ts, symbol``, then action, kind, side and size of ``live`` and of ``shadow``.
        """
        told = ("action", "kind", "side", "size")
        both = [
            self.decisions.filter(account=account).select(
                "ts", "symbol", *(pl.col(name).alias(f"{account}_{name}") for name in told)
            )
            for account in ("live", "shadow")
        ]
        same = [pl.col(f"live_{name}").eq_missing(pl.col(f"shadow_{name}")) for name in told]
        return both[0].join(both[1], on=["ts", "symbol"]).filter(~pl.all_horizontal(same))


def shadow(
    tape: StateTape, live: ParameterSet, candidate: ParameterSet, start: datetime, costs: Costs | None = None
) -> ShadowRun:
    """Run both parameter sets over the bars from `start` on.

    Parameters
    ----------
    tape : StateTape
        The live algorithm's; only read.
    live, candidate : ParameterSet
    start : datetime
        When the shadow began, a midnight: accounts are compared by whole days.
    costs : Costs, optional
        Those of the live account.

    Raises
    ------
    ValueError
        If `start` is not a midnight.
    NotEnoughDataError
        If no bar opened since.
    """
    if start.time() != datetime.min.time():
        raise ValueError(f"start = {start} must be a midnight; accounts are compared by whole days")
    end = tape.ts.max().item() + tape.bar
    # A tape of its own: what is laid out of it is not kept with the live one.
    seen = tape.between(start, end)
    walks = {"live": walk(seen, live, costs), "shadow": walk(seen, candidate, costs)}
    first = seen.panel.times[0].astype("datetime64[D]")
    over = int((np.datetime64(end, "D") - first) / np.timedelta64(1, "D"))
    returns = {account: found.returns[:over] for account, found in walks.items()}
    days = first.astype("datetime64[us]") + np.arange(over) * np.timedelta64(DAY)
    settled = int((days + np.timedelta64(DAY) <= np.datetime64(_known_until(tape), "us")).sum())
    return ShadowRun(
        _decisions(seen, walks), _trades(walks), days, returns["live"], returns["shadow"], settled
    )


def _known_until(tape: StateTape) -> datetime:
    """Return the moment before which no funding of a symbol that is still listed is outstanding."""
    first, end = tape.panel.times[0].item(), tape.ts.max().item() + tape.bar
    listed = [tape.ts[tape.symbol == k].max(initial=None) for k in range(len(tape.symbols))]
    awaits = [
        awaited(rates, first, tape.bar)
        for last, rates in zip(listed, tape.funding.T, strict=True)
        if last >= np.datetime64(end - MAX_GAP * tape.bar, "us")
    ]
    return max(end - LATE, min((bar for bar in awaits if bar is not None), default=end))


def _decisions(tape: StateTape, walks: dict[str, Walk]) -> pl.DataFrame:
    rows = [
        {
            "ts": tape.ts[row].item(),
            "symbol": tape.symbols[tape.symbol[row]],
            "account": account,
            **_plain(decision),
        }
        for account, found in walks.items()
        for row, decision in found.decisions.items()
    ]
    return pl.DataFrame(rows, schema=_DECISIONS).sort("ts", "symbol", "account")


def _plain(decision: TradeDecision) -> dict[str, object]:
    return {**vars(decision), "reasons": list(decision.reasons)}


def _trades(walks: dict[str, Walk]) -> pl.DataFrame:
    rows = [{"account": account, **trade} for account, found in walks.items() for trade in found.trades]
    return pl.DataFrame(rows, schema=_TRADES)


_TRADES = pl.Schema(
    {
        "account": pl.String(),
        "symbol": pl.String(),
        "decided_ts": pl.Datetime("us"),
        "entry_ts": pl.Datetime("us"),
        "exit_ts": pl.Datetime("us"),
        "kind": pl.String(),
        "side": pl.Int64(),
        "size": pl.Float64(),
        "entry_price": pl.Float64(),
        "exit_price": pl.Float64(),
        "cost": pl.Float64(),
        "funding": pl.Float64(),
        "net_return": pl.Float64(),
        "reason": pl.String(),
    }
)
