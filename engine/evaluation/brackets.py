"""Compiled walk through the bracket trades of one row of signals: entry, stop loss and take profit.

`engine.evaluation.sweep` states the rules; this module is their one implementation.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.evaluation.entry_signals import channel, channel_signals

__all__ = ["Bracket", "Terms", "Track", "first_touch", "lay_out", "sweep_lookback", "sweep_row"]

Floats = NDArray[np.float64]

STOP, TARGET, DELISTED, OPEN = range(4)
# columns of the figures, one row per parameter set
NET, OPEN_PNL, TRADES, WON, WORST, DRAWDOWN, FEES, SLIPPAGE, FUNDING, HELD, AMBIGUOUS, REFUSED = range(12)
# columns of the log, one row per trade; bars are indices into the track
(
    ASSET, ENTRY, EXIT, REASON, SIDE, KIND, QUANTITY, PRICE_IN, PRICE_OUT, FEE, SLIP, DUE, RESULT
) = range(13)  # fmt: skip
_NEAR, _BLOCK = 256, 64
# columns of a track's bars, and of its reach
OPENS, CLOSES, VOLUMES, PAID = range(4)
LOWS, HIGHS = range(2)


class Track(NamedTuple):
    """The bars of one symbol, those that are missing left out, and from `begin` on what it has per asset.

    What one trade reads of a bar lies side by side.
    """

    # columns OPENS, CLOSES, VOLUMES and PAID: the funding due up to and including this bar's open on one
    # unit held since before the first
    bars: Floats
    # columns LOWS and HIGHS at which orders can fill, infinitely far away where the bar had no volume; and
    # the same over blocks of `_BLOCK` bars, so that a search for a touched price can pass over one at once
    reach: Floats
    blocks: Floats
    # whether a decision at this bar's close can be filled
    enterable: NDArray[np.bool_]
    # period that the bar lies in, and the number of bars up to the end of each period
    period: NDArray[np.int64]
    period_end: NDArray[np.int64]
    # first bar and one after the last bar of each asset, funding up to its delisting or the end of data,
    # the period of that, and whether it was delisted
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    paid_end: Floats
    period_gone: NDArray[np.int64]
    gone: NDArray[np.bool_]


class Terms(NamedTuple):
    """What a fill costs and which fills there are; fractions, quote units per order, bars of delay."""

    fee: float
    half_spread: float
    impact: float
    lot: float
    min_notional: float
    delay: int
    by_value: bool


class Bracket(NamedTuple):
    """Stop and target as fractions of the entry price, and size, of each kind of entry; (sets, kinds)."""

    stop: Floats
    target: Floats
    size: Floats


@nb.njit(nogil=True, cache=True)
def lay_out(
    open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats, paid: Floats
) -> tuple[Floats, Floats, Floats, int]:
    """Bars, reach and blocks of a track, and the first bar whose prices cannot be, -1 if all can."""
    n = open_.size
    bars, reach, blocks = np.empty((n, 4)), np.empty((n, 2)), np.empty((-(-n // _BLOCK), 2))
    blocks[:, LOWS], blocks[:, HIGHS] = np.inf, -np.inf
    for t in range(n):
        bars[t, OPENS], bars[t, CLOSES], bars[t, VOLUMES], bars[t, PAID] = (
            open_[t],
            close[t],
            volume[t],
            paid[t],
        )
        inside = low[t] <= open_[t] <= high[t] and low[t] <= close[t] <= high[t]
        if not (inside and low[t] > 0.0 and high[t] < np.inf):
            return bars, reach, blocks, t
        traded = volume[t] > 0.0 and volume[t] < np.inf
        reach[t, LOWS], reach[t, HIGHS] = (low[t], high[t]) if traded else (np.inf, -np.inf)
        block = t // _BLOCK
        blocks[block, LOWS] = min(blocks[block, LOWS], reach[t, LOWS])
        blocks[block, HIGHS] = max(blocks[block, HIGHS], reach[t, HIGHS])
    return bars, reach, blocks, -1


@nb.njit(nogil=True, cache=True)
def first_touch(reach: Floats, blocks: Floats, t: int, end: int, below: float, above: float) -> int:
    """First bar in [t, end) that reaches down to `below` or up to `above`; `end` if none does."""
    border = min((t + _NEAR) // _BLOCK * _BLOCK, end)
    for i in range(t, border):
        k = np.uint64(i)  # unsigned, or a negative index would be provided for at every bar
        if reach[k, LOWS] <= below or reach[k, HIGHS] >= above:
            return i
    for block in range(border // _BLOCK, end // _BLOCK):
        if blocks[block, LOWS] <= below or blocks[block, HIGHS] >= above:
            break
        border += _BLOCK
    for i in range(border, end):
        if reach[i, LOWS] <= below or reach[i, HIGHS] >= above:
            return i
    return end


@nb.njit(nogil=True, cache=True)
def _worst_move(reach: Floats, begin: int, end: int, side: int, price: float) -> float:
    """Most that the extremes of the bars in [begin, end) lie against a position; at most 0."""
    worst = 0.0
    for t in range(begin, end):
        at = reach[t, LOWS] if side > 0 else reach[t, HIGHS]
        if np.isfinite(at):
            worst = min(worst, side * (at - price))
    return worst


@nb.njit(nogil=True, cache=True)
def _accrue(
    track: Track, asset: int, entry: int, final: int, held: float, price: float, cost: float, net: float,
    increments: Floats,
) -> None:  # fmt: skip
    """Spread a trade's result over the periods it was held in, marked to the last close of each."""
    before = 0.0
    for period in range(track.period[entry], final):
        last = min(track.period_end[period], track.end[asset]) - 1
        funded = track.bars[last, PAID] - track.bars[entry, PAID]
        value = held * (track.bars[last, CLOSES] - price - funded) - cost
        increments[period] += value - before
        before = value
    increments[final] += net - before


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _walk(
    track: Track,
    row: NDArray[np.int8],
    stops: Floats,
    targets: Floats,
    sizes: Floats,
    terms: Terms,
    figures: Floats,
    increments: Floats,
    log: Floats,
) -> None:
    """Trade one parameter set on one row of signals, all of which can be filled.

    Figures are written; increments and the log of trades only where they have room.
    """
    bars, reach, blocks = track.bars, track.reach, track.blocks
    fee_rate, half_spread, impact, lot, min_notional, delay, by_value = terms
    figures[:] = 0.0
    figures[WORST] = np.inf
    equity = peak = drawdown = 0.0
    logged = 0
    for asset in range(track.begin.size):
        t, end = track.begin[asset], track.end[asset]
        while t < end:
            if row[t] == 0:
                t += 1
                continue
            entry = t + delay
            price = bars[entry, OPENS] if delay else bars[entry, CLOSES]
            side = 1 if row[t] > 0 else -1
            kind = side * row[t] - 1
            quantity = sizes[kind] / price if by_value else sizes[kind]
            if lot > 0.0:
                quantity = np.floor(quantity / lot + 1e-9) * lot
            if quantity <= 0.0 or quantity * price < min_notional:
                figures[REFUSED] += 1
                t += 1
                continue
            stop, target = price * (1.0 - side * stops[kind]), price * (1.0 + side * targets[kind])
            below, above = (stop, target) if side > 0 else (target, stop)
            b = first_touch(reach, blocks, t + 1, end, below, above)

            value_in = quantity * price
            cost = value_in * (fee_rate + half_spread + impact * np.sqrt(quantity / bars[entry, VOLUMES]))
            fee, room = value_in * fee_rate, np.inf
            if b < end:
                room, paid = bars[b, VOLUMES], bars[b, PAID]
                down, up = reach[b, LOWS] <= below, reach[b, HIGHS] >= above
                stopped = down if side > 0 else up
                reason = STOP if stopped else TARGET
                out = min(bars[b, OPENS], below) if stopped == (side > 0) else max(bars[b, OPENS], above)
                figures[AMBIGUOUS] += down and up
            else:
                paid, out = track.paid_end[asset], bars[end - 1, CLOSES]
                reason = DELISTED if track.gone[asset] else OPEN
            value_out = quantity * out
            cost_out = 0.0
            if reason != OPEN:
                cost_out = value_out * (fee_rate + half_spread + impact * np.sqrt(quantity / room))
                fee += value_out * fee_rate
            due = side * quantity * (paid - bars[entry, PAID])
            net = side * (value_out - value_in) - cost - cost_out - due

            # Bars before the exit are looked at only where they could deepen the drawdown: the stop bounds
            # what they can show, and the exit at a stop shows more.
            deepest = reason == STOP and cost_out + due >= 0.0
            if not deepest and peak - (equity - value_in * stops[kind] - cost) > drawdown:
                low = equity - cost + quantity * _worst_move(reach, t + 1, b, side, price)
                drawdown = max(drawdown, peak - low)
            equity += net
            peak = max(peak, equity)
            drawdown = max(drawdown, peak - equity)
            figures[FEES] += fee
            figures[SLIPPAGE] += cost + cost_out - fee
            figures[FUNDING] += due
            figures[HELD] += b - entry
            if reason == OPEN:
                figures[OPEN_PNL] += net
            else:
                figures[TRADES] += 1
                figures[WON] += net > 0.0
                figures[WORST] = min(figures[WORST], net)
            if increments.size:
                final = track.period[b] if b < end else track.period_gone[asset]
                _accrue(track, asset, entry, final, side * quantity, price, cost, net, increments)
            if log.size:
                line = log[logged]
                line[ASSET], line[ENTRY], line[EXIT], line[REASON] = asset, entry, b, reason
                line[SIDE], line[KIND], line[QUANTITY] = side, kind, quantity
                line[PRICE_IN], line[PRICE_OUT], line[FEE] = price, out, fee
                line[SLIP], line[DUE], line[RESULT] = cost + cost_out - fee, due, net
                logged += 1
            t = b + 1 - delay
    figures[NET], figures[DRAWDOWN] = equity, drawdown
    if figures[TRADES] == 0:
        figures[WORST] = np.nan


@nb.njit(nogil=True, cache=True)
def sweep_row(
    track: Track,
    row: NDArray[np.int8],
    sets: NDArray[np.int64],
    bracket: Bracket,
    terms: Terms,
    figures: Floats,
    increments: Floats,
    log: Floats,
) -> None:
    """Trade the parameter sets that share one row of signals."""
    fillable = np.empty(row.size, np.int8)
    for t in range(row.size):
        fillable[t] = row[t] if track.enterable[t] else 0
    for s in sets:
        stops, targets, sizes = bracket.stop[s], bracket.target[s], bracket.size[s]
        _walk(track, fillable, stops, targets, sizes, terms, figures[s], increments[s], log)


@nb.njit(nogil=True, cache=True)
def sweep_lookback(
    track: Track,
    high: Floats,
    low: Floats,
    close: Floats,
    borders: NDArray[np.int64],
    lookback: int,
    deviations: Floats,
    trend: Floats,
    first: NDArray[np.int64],
    sets: NDArray[np.int64],
    bracket: Bracket,
    terms: Terms,
    figures: Floats,
    increments: Floats,
    log: Floats,
) -> None:
    """Trade the parameter sets of one lookback; ``sets[first[j]:first[j + 1]]`` share thresholds j."""
    side, distance, efficiency = channel(high, low, close, borders, lookback)
    row = np.empty(close.size, np.int8)
    for j in range(deviations.size):
        channel_signals(side, distance, efficiency, deviations[j], trend[j], row)
        sweep_row(track, row, sets[first[j] : first[j + 1]], bracket, terms, figures, increments, log)
