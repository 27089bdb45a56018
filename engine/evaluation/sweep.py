"""Backtest of many parameter sets at once: entries on signals, left at a stop loss or a take profit.

The rules, for each parameter set and symbol by itself and with a fixed size per trade:

1. a signal at the close of bar t is filled at the open of bar t+1. It lapses where that bar is missing, has
   no volume or belongs to another asset, where the order is below the smallest size, and while a position is
   held;
2. stop and target are fractions of the entry's price and rest from the fill on, in the entry's bar as well. A
   bar that reaches both is taken to reach the stop first, and counted as ambiguous. An open beyond either
   fills at the open. A bar without volume fills nothing;
3. funding falls due at its stamps on the position carried in. A gap is held through: funding goes on at the
   last close, and stop and target rest;
4. a gap longer than `max_gap` bars, or another number in `Panel.listing`, ends the asset: the position is
   closed at its last close, with fee and half the spread;
5. every fill pays the fee and slippage by its share in the bar's volume; a trade still open at the end of the
   data is valued at the last close and pays nothing more.

After an exit within bar t the close of t may signal anew. ``fill="close"`` fills a signal at the very close
that made it and skips the exit's bar: the rule of other engines, there for comparison with them and no
evidence of anything tradable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from engine.evaluation import brackets as compiled
from engine.evaluation.costs import Costs
from engine.evaluation.entry_signals import ChannelEntries, SignalRows, channel, channel_signals
from engine.evaluation.panel import Panel
from engine.evaluation.tracks import Market, market_of
from engine.evaluation.trade_log import bracket_trades

__all__ = ["Brackets", "SweepResult", "sweep", "trades_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Brackets:
    """Stop, target and size of each parameter set, one for all kinds of entry or one for each.

    Parameters
    ----------
    stop, target : array, shape (sets,) or (sets, kinds)
        Distances as fractions of the entry's price; infinity for none.
    notional : array, shape (sets,) or (sets, kinds), optional
        Value of each order in quote units. A risk of r per trade is ``r / stop``.
    quantity : array, shape (sets,) or (sets, kinds), optional
        Base units of each order, in place of `notional`.
    """

    stop: Floats
    target: Floats
    size: Floats
    by_value: bool

    def __init__(
        self,
        stop: ArrayLike,
        target: ArrayLike,
        *,
        notional: ArrayLike | None = None,
        quantity: ArrayLike | None = None,
    ) -> None:
        if (notional is None) == (quantity is None):
            raise ValueError("give notional or quantity, one of the two")
        size = quantity if notional is None else notional
        wide = [_per_kind(values) for values in (stop, target, size)]
        sets, kinds = np.broadcast_shapes(*(values.shape for values in wide))
        for name, values in zip(("stop", "target", "size"), wide, strict=True):
            if not (values > 0).all():
                raise ValueError(f"{name} must be positive for every set")
            full = np.ascontiguousarray(np.broadcast_to(values, (sets, kinds)))
            object.__setattr__(self, name, full)
        if not np.isfinite(self.size).all():
            raise ValueError("notional and quantity must be finite")
        object.__setattr__(self, "by_value", notional is not None)

    def __len__(self) -> int:
        return len(self.stop)

    def take(self, sets: Any) -> Brackets:
        """Return some of the sets, by index, slice or mask."""
        size = {"notional" if self.by_value else "quantity": self.size[sets]}
        return Brackets(self.stop[sets], self.target[sets], **size)


def _per_kind(values: Any) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else np.atleast_2d(array)


@dataclass(frozen=True)
class SweepResult:
    """Figures of every parameter set on every symbol; arrays of shape (sets, symbols), money in quote units.

    Parameters
    ----------
    symbols : tuple of str
    net_pnl : ndarray
        All costs taken off, an open trade valued at the last close.
    open_pnl : ndarray
        The part of `net_pnl` that is in an open trade.
    trades, won : ndarray
        Closed trades, and those with a gain.
    worst_trade : ndarray
        Smallest net result of a closed trade; NaN without one.
    max_drawdown : ndarray
        Largest fall of the net result from its highest point. Highest points are taken at the start and at
        exits; low ones also at the worst price of every bar that a trade survived, before its funding.
    fees, slippage, funding : ndarray
        Paid in all; funding received is negative.
    bars_held : ndarray
        Bars from entry to exit, over all trades.
    ambiguous : ndarray
        Trades whose last bar reached stop and target, so that the bar does not tell which came first.
    refused : ndarray
        Orders below the smallest size.
    stop_over_range : ndarray
        Tightest stop over the median of (high - low)/open. Below 1 a stop lies within a usual bar: the result
        is then one of the order of prices inside bars, which the data do not hold.
    increments : ndarray, shape (sets, symbols, periods), optional
        Net result per period, marked to the last close of each; sums to `net_pnl`.
    periods : ndarray of datetime64[us], shape (periods,), optional
        Their starts.
    """

    symbols: tuple[str, ...]
    net_pnl: Floats
    open_pnl: Floats
    trades: NDArray[np.int64]
    won: NDArray[np.int64]
    worst_trade: Floats
    max_drawdown: Floats
    fees: Floats
    slippage: Floats
    funding: Floats
    bars_held: NDArray[np.int64]
    ambiguous: NDArray[np.int64]
    refused: NDArray[np.int64]
    stop_over_range: Floats
    increments: Floats | None
    periods: NDArray[np.datetime64] | None


_COUNTS = {"trades", "won", "bars_held", "ambiguous", "refused"}
_FIGURES = (
    "net_pnl", "open_pnl", "trades", "won", "worst_trade", "max_drawdown", "fees", "slippage", "funding",
    "bars_held", "ambiguous", "refused",
)  # fmt: skip

_NO_LOG = np.zeros((0, compiled.RESULT + 1))

Fill = Literal["next_open", "close"]
Task = Callable[[], None]


def sweep(
    panel: Panel,
    entries: ChannelEntries | SignalRows,
    brackets: Brackets,
    *,
    costs: Costs | None = None,
    funding: Floats | None = None,
    lot_size: ArrayLike = 0.0,
    min_notional: ArrayLike = 0.0,
    max_gap: int = 72,
    every: timedelta | None = None,
    fill: Fill = "next_open",
    threads: int = 1,
) -> SweepResult:
    """Trade every parameter set on every symbol.

    Work is shared: the channel of a lookback is computed once, a row of signals once per pair of thresholds,
    and one row is held at a time, so that memory does not grow with the number of sets. `increments` does,
    by 8 bytes per set, symbol and period: score many sets in parts with ``entries.take`` and
    ``brackets.take``.

    Parameters
    ----------
    panel : Panel
        With high and low.
    entries : ChannelEntries or SignalRows
        Signals of each set.
    brackets : Brackets
        Stops, targets and sizes of each set.
    costs : Costs, optional
    funding : ndarray, shape (bars, symbols), optional
        Rate due at each open on the position carried in; see `funding_panel`.
    lot_size, min_notional : float or array, shape (symbols,)
        Orders are rounded down to whole lots (base units), and refused below this value (quote units).
    max_gap : int
        Missing bars in a row after which a symbol counts as delisted.
    every : timedelta, optional
        Length of the periods of `increments`, such as a day; counted from the epoch.
    fill : {"next_open", "close"}
        ``"close"`` only to compare with engines that fill so.
    threads : int
        The result does not depend on it.

    Raises
    ------
    ValueError
        If shapes disagree or a setting is out of range.
    DataError
        If a bar's prices cannot be.
    """
    brackets = _matched(entries, brackets)
    market = market_of(
        panel, costs or Costs(), funding, lot_size, min_notional, max_gap, every, fill, brackets.by_value
    )
    shape = len(brackets), len(panel.symbols)
    figures = np.zeros((shape[1], shape[0], len(_FIGURES)))
    increments = np.zeros((*shape[::-1], market.periods.size if every else 0))
    tasks = [
        task
        for i in range(shape[1])
        for task in _tasks(market, i, entries, _bracket(brackets), figures[i], increments[i])
    ]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()
    named: dict[str, Any] = {
        name: figures[:, :, k].T.astype(np.int64 if name in _COUNTS else np.float64)
        for k, name in enumerate(_FIGURES)
    }
    return SweepResult(
        symbols=panel.symbols,
        **named,
        stop_over_range=brackets.stop.min(axis=1)[:, None] / market.bar_range,
        increments=increments.swapaxes(0, 1) if every else None,
        periods=market.periods if every else None,
    )


def trades_of(
    panel: Panel,
    entries: ChannelEntries | SignalRows,
    brackets: Brackets,
    chosen: int,
    *,
    costs: Costs | None = None,
    funding: Floats | None = None,
    lot_size: ArrayLike = 0.0,
    min_notional: ArrayLike = 0.0,
    max_gap: int = 72,
    fill: Fill = "next_open",
) -> pl.DataFrame:
    """Every trade of one parameter set, by the same walk as `sweep` and with its arguments.

    Returns
    -------
    polars.DataFrame
        One row per trade, by entry and symbol: ``symbol, entry_ts, exit_ts`` (opens of the bars), ``side``
        (1 or -1), ``kind`` (magnitude of the signal), ``entry_price, exit_price`` (before costs),
        ``quantity, gross_pnl, fees, slippage, funding, net_pnl``, and ``reason``: ``stop``, ``target``,
        ``delisted`` or ``open``. An open trade has no exit and is valued at the last close.
    """
    brackets, entries = _matched(entries, brackets).take([chosen]), entries.take([chosen])
    market = market_of(
        panel, costs or Costs(), funding, lot_size, min_notional, max_gap, None, fill, brackets.by_value
    )
    figures, none, first = np.zeros((1, len(_FIGURES))), np.zeros((1, 0)), np.array([0])
    logs = []
    for i, track in enumerate(market.tracks):
        if isinstance(entries, SignalRows):
            row = entries.rows[entries.row[0], market.rows[i], i]
        else:
            observed = market.high[i], market.low[i], market.close[i], market.borders[i]
            parts = channel(*observed, entries.lookback[0])
            row = np.empty(market.close[i].size, np.int8)
            channel_signals(*parts, entries.deviations[0], entries.efficiency[0], row)
        log = np.zeros((np.count_nonzero(row) + 1, compiled.RESULT + 1))
        compiled.sweep_row(track, row, first, _bracket(brackets), market.terms[i], figures, none, log)
        logs.append(log[log[:, compiled.QUANTITY] > 0])
    return bracket_trades(panel, market, logs)


def _matched(entries: ChannelEntries | SignalRows, brackets: Brackets) -> Brackets:
    """Brackets with one column per kind of entry."""
    if len(entries) != len(brackets):
        raise ValueError(f"{len(entries)} sets of entries and {len(brackets)} of brackets must be as many")
    kinds = 2
    if isinstance(entries, SignalRows):
        kinds = max(int(entries.rows.max(initial=1)), -int(entries.rows.min(initial=-1)))
    if brackets.stop.shape[1] == 1 and kinds > 1:
        wide = [
            np.repeat(values, kinds, axis=1) for values in (brackets.stop, brackets.target, brackets.size)
        ]
        return Brackets(wide[0], wide[1], **{"notional" if brackets.by_value else "quantity": wide[2]})
    if brackets.stop.shape[1] < kinds:
        raise ValueError(f"{brackets.stop.shape[1]} kinds of brackets for {kinds} kinds of entries")
    return brackets


def _bracket(brackets: Brackets) -> compiled.Bracket:
    return compiled.Bracket(brackets.stop, brackets.target, brackets.size)


def _tasks(
    market: Market,
    i: int,
    entries: ChannelEntries | SignalRows,
    bracket: compiled.Bracket,
    figures: Floats,
    increments: Floats,
) -> Iterator[Task]:
    """Pieces of work on one symbol, each with its own sets: one per lookback or row of signals."""
    track = market.tracks[i]
    shared: tuple[Any, ...] = (bracket, market.terms[i], figures, increments, _NO_LOG)
    if isinstance(entries, SignalRows):
        for r in np.unique(entries.row):
            sets = np.flatnonzero(entries.row == r)
            yield partial(_trade_row, track, entries.rows[r, :, i], market.rows[i], sets, shared)
        return
    observed = market.high[i], market.low[i], market.close[i], market.borders[i]
    for lookback in np.unique(entries.lookback):
        members = np.flatnonzero(entries.lookback == lookback)
        pairs = np.column_stack([entries.deviations[members], entries.efficiency[members]])
        distinct, which = np.unique(pairs, axis=0, return_inverse=True)
        order = np.argsort(which.ravel(), kind="stable")
        first = np.searchsorted(which.ravel()[order], np.arange(len(distinct) + 1))
        thresholds = np.ascontiguousarray(distinct[:, 0]), np.ascontiguousarray(distinct[:, 1])
        yield partial(
            compiled.sweep_lookback, track, *observed, lookback, *thresholds, first, members[order], *shared
        )


def _trade_row(
    track: compiled.Track,
    row: NDArray[np.int8],
    present: NDArray[np.int64],
    sets: NDArray[np.int64],
    shared: tuple[Any, ...],
) -> None:
    """Trade one row of signals; only its bars that are there are copied, and only while it is traded."""
    compiled.sweep_row(track, row[present], sets, *shared)
