"""The live algorithm over thousands of parameter sets at once: accounts, day by day.

The rules are those of `engine.evaluation.sweep` (fills at the next open, stop before target, gaps, delisting,
funding) with the entries of `TradingAlgorithm`, and:

1. each symbol has an account of its own, which starts flat and is compounded: a trade's size is a fraction
   of the equity at its entry;
2. impact is charged for orders of an account of `StateTape.capital`, whatever was gained or lost since: what
   a trade earns does not depend on those before it;
3. half the spread is the configured one, or the one measured on the bars before the fill where it is wider;
4. an account whose value is gone, at an exit or at the close of a period, is over;
5. the account over all symbols gives each the same share again at the start of every period.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.brackets import Track
from engine.evaluation.costs import Costs
from engine.tuning.account_walk import (
    COST,
    DELISTED,
    FUNDING,
    HELD,
    OPEN,
    PAID_COST,
    PAID_FUNDING,
    PRICE_IN,
    PRICE_OUT,
    REASONS,
    RESULT,
    SIZE,
    TRADES,
    TURNOVER,
    WON,
    Terms,
    run_accounts,
    walk_account,
)
from engine.tuning.candidates import bar_figures, entry_codes, ground_of
from engine.tuning.market_state import StateTape
from engine.tuning.orders import checked, orders_of
from engine.tuning.parameters import ParameterSet
from engine.tuning.rules import KINDS

__all__ = ["Evaluation", "entries", "evaluate", "trades_of"]

Floats = NDArray[np.float64]

_CHUNK = 64
_NO_LOG = np.zeros((0, RESULT + 1))


@dataclass(frozen=True)
class Evaluation:
    """Accounts of parameter sets, each over all symbols of a tape.

    Parameters
    ----------
    periods : ndarray of datetime64[us], shape (periods,)
        Their starts.
    returns : ndarray, shape (sets, periods)
        Net returns of the account that gives every symbol the same share, marked to the last closes.
    trades, won : ndarray of int, shape (sets,)
        Trades, one still open at the end included, and those with a gain.
    turnover : ndarray, shape (sets,)
        Value traded over equity, in all, mean of the symbols.
    cost_paid, funding_paid : ndarray, shape (sets,)
        Fractions of equity, in all, mean of the symbols; funding received is negative.
    exposure : ndarray, shape (sets,)
        Share of the bars that a position was held over, mean of the symbols.
    """

    periods: NDArray[np.datetime64]
    returns: Floats
    trades: NDArray[np.int64]
    won: NDArray[np.int64]
    turnover: Floats
    cost_paid: Floats
    funding_paid: Floats
    exposure: Floats

    def __len__(self) -> int:
        return len(self.returns)


def evaluate(
    tape: StateTape,
    sets: NDArray,
    costs: Costs | None = None,
    *,
    every: timedelta = timedelta(days=1),
    threads: int = 1,
) -> Evaluation:
    """Run the live algorithm with every parameter set through the bars of a tape.

    Memory is that of the result: 8 bytes per set and period.

    Parameters
    ----------
    tape : StateTape
    sets : ndarray, shape (sets, 11)
        In the order of the parameter table.
    costs : Costs, optional
        What fills are charged; what they are expected to cost is a column of the tape.
    every : timedelta
        Length of the periods.
    threads : int
        The result does not depend on it.

    Raises
    ------
    ValueError
        If a value is out of bounds or not finite, or `every` is shorter than a bar.
    DataError
        If a bar's prices cannot be.
    """
    values = checked(sets)
    orders, ground = orders_of(values), ground_of(tape, every)
    terms = _terms(costs or Costs(), tape.capital)
    periods = ground.market.periods
    returns, figures = np.zeros((len(values), periods.size)), np.zeros((len(values), HELD + 1))
    share = 1.0 / len(tape.symbols)

    def run(chunk: slice) -> None:
        for track, candidates, spread in zip(
            ground.market.tracks, ground.candidates, ground.half_spread, strict=True
        ):
            run_accounts(
                track,
                candidates,
                spread,
                orders,
                terms,
                chunk.start,
                returns[chunk],
                figures[chunk],
                share,
                _NO_LOG,
            )

    chunks = [slice(i, min(i + _CHUNK, len(values))) for i in range(0, len(values), _CHUNK)]
    if threads == 1:
        for chunk in chunks:
            run(chunk)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, chunks))
    return Evaluation(
        periods,
        returns,
        figures[:, TRADES].astype(np.int64),
        figures[:, WON].astype(np.int64),
        figures[:, TURNOVER] * share,
        figures[:, COST] * share,
        figures[:, FUNDING] * share,
        figures[:, HELD] / len(tape),
    )


def _terms(costs: Costs, capital: float) -> Terms:
    return costs.fee_bps * 1e-4, costs.half_spread_bps * 1e-4, costs.impact_bps * 1e-4, capital


def entries(tape: StateTape, sets: NDArray) -> NDArray[np.int8]:
    """Return what each set enters at each row's close while it is flat, whether or not it can be filled.

    Returns
    -------
    ndarray of int8, shape (sets, rows)
        Kind of entry, 1 to 3 in the order of `KINDS`, with the sign of its side; 0 for none.
    """
    figures, sides = bar_figures(tape)
    return entry_codes(figures, sides, orders_of(checked(sets)))


def trades_of(tape: StateTape, parameters: ParameterSet, costs: Costs | None = None) -> pl.DataFrame:
    """Every trade of one parameter set, by the same walk as `evaluate`.

    Returns
    -------
    polars.DataFrame
        One row per trade, by entry and symbol: ``symbol, decided_ts`` (open of the bar decided on),
        ``entry_ts, exit_ts`` (opens of the bars), ``kind``, ``side`` (1 or -1), ``size`` (fraction of
        equity), ``entry_price, exit_price`` (before costs), ``cost, funding, net_return`` (fractions of the
        equity at the entry), and ``reason``: ``stop``, ``target``, ``delisted``, ``open`` or ``ruined``. An
        open trade has no exit and is valued at the last close.
    """
    orders, ground = orders_of(parameters.vector()[None]), ground_of(tape, timedelta(days=1))
    terms, frames = _terms(costs or Costs(), tape.capital), []
    for i, (track, candidates) in enumerate(zip(ground.market.tracks, ground.candidates, strict=True)):
        log = np.zeros((candidates.bar.size + 1, RESULT + 1))
        scratch, figures = np.zeros(ground.market.periods.size), np.zeros(HELD + 1)
        walk_account(track, candidates, ground.half_spread[i], orders, 0, terms, scratch, figures, log)
        frames.append(_frame(tape, i, track, log[: int(figures[TRADES])]))
    return pl.concat(frames).sort("entry_ts", "symbol", maintain_order=True)


def _frame(tape: StateTape, i: int, track: Track, log: Floats) -> pl.DataFrame:
    ground = ground_of(tape, timedelta(days=1))
    times, rows = tape.panel.times, ground.market.rows[i]
    asset, entry, out, reason, code = log[:, :5].astype(np.int64).T
    left = np.append(rows, 0)[out]
    left = np.where(reason == DELISTED, np.append(ground.market.closed[i], 0)[asset], left)
    is_open = reason == OPEN
    return pl.DataFrame(
        {
            "symbol": pl.repeat(tape.symbols[i], len(log), dtype=pl.String, eager=True),
            "decided_ts": times[rows[entry - 1]],
            "entry_ts": times[rows[entry]],
            "exit_ts": np.where(is_open, np.datetime64("NaT"), times[np.where(is_open, 0, left)]),
            "kind": pl.Series(KINDS, dtype=pl.String).gather(np.abs(code) - 1),
            "side": np.sign(code),
            "size": log[:, SIZE],
            "entry_price": log[:, PRICE_IN],
            "exit_price": pl.Series(np.where(is_open, np.nan, log[:, PRICE_OUT])).fill_nan(None),
            "cost": log[:, PAID_COST],
            "funding": log[:, PAID_FUNDING],
            "net_return": log[:, RESULT],
            "reason": pl.Series(REASONS, dtype=pl.String).gather(reason),
        },
        schema_overrides={"exit_ts": pl.Datetime("us")},
    )
