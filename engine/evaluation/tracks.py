"""A panel laid out for the compiled sweep: per symbol the bars that are there, and where its assets end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import DataError
from engine.evaluation.brackets import Terms, Track, lay_out
from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel, per_symbol

__all__ = ["Market", "market_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Market:
    """Everything about the market that parameter sets share; lists have one entry per symbol.

    Parameters
    ----------
    tracks, terms : list of Track, of Terms
    rows : list of ndarray
        Row of the panel that each bar of a track comes from.
    closed : list of ndarray
        Row of the panel at which each asset's delisting is seen, or one after the last.
    high, low, close : list of ndarray
        As observed, for signals.
    borders : list of ndarray
        Where unbroken stretches of bars begin, and the number of bars.
    bar_range : ndarray, shape (symbols,)
        Median of (high - low)/open.
    periods : ndarray of datetime64[us]
        Starts of the periods.
    """

    tracks: list[Track]
    terms: list[Terms]
    rows: list[Ints]
    closed: list[Ints]
    high: list[Floats]
    low: list[Floats]
    close: list[Floats]
    borders: list[Ints]
    bar_range: Floats
    periods: NDArray[np.datetime64]


def market_of(
    panel: Panel,
    costs: Costs,
    funding: Floats | None,
    lot_size: ArrayLike,
    min_notional: ArrayLike,
    max_gap: int,
    every: timedelta | None,
    fill: str,
    by_value: bool,
) -> Market:
    """Check a panel and what trading on it costs, and lay both out; arguments as in `sweep`."""
    shape = panel.open.shape
    if panel.high is None or panel.low is None:
        raise ValueError("the panel has no high and low; stops and targets cannot be followed without")
    if funding is not None and (funding.shape != shape or not np.isfinite(funding).all()):
        raise ValueError(f"funding has shape {funding.shape}: finite rates of shape {shape} needed")
    if max_gap < 1:
        raise ValueError(f"max_gap={max_gap} must be at least 1")
    if fill not in ("next_open", "close"):
        raise ValueError(f"fill={fill!r} must be 'next_open' or 'close'")
    lots, floors = (
        per_symbol(name, values, shape[1])
        for name, values in (("lot_size", lot_size), ("min_notional", min_notional))
    )
    delay = 1 if fill == "next_open" else 0
    label, periods = _periods(panel, every)
    market = Market([], [], [], [], [], [], [], [], np.full(shape[1], np.nan), periods)
    for i in range(shape[1]):
        rates = None if funding is None else np.asarray(funding[:, i], np.float64)
        _append(market, panel, i, (panel.high, panel.low), rates, max_gap, label, delay)
        fee, half_spread, impact = (
            value * 1e-4 for value in (costs.fee_bps, costs.half_spread_bps, costs.impact_bps)
        )
        market.terms.append(
            Terms(fee, half_spread, impact, float(lots[i]), float(floors[i]), delay, by_value)
        )
    return market


def _periods(panel: Panel, every: timedelta | None) -> tuple[Ints, NDArray[np.datetime64]]:
    """Return the period that each row lies in and the periods' starts; one period without `every`."""
    if every is None:
        return np.zeros(len(panel.times), np.int64), panel.times[:1]
    if every < panel.bar:
        raise ValueError(f"every={every} must be at least a bar of {panel.bar}")
    length = every // timedelta(microseconds=1)
    number = panel.times.astype("datetime64[us]").astype(np.int64) // length
    starts = np.arange(number[0], number[-1] + 1) * length
    return number - number[0], starts.astype("datetime64[us]")


def _append(
    market: Market,
    panel: Panel,
    i: int,
    extreme: tuple[Floats, Floats],
    rates: Floats | None,
    max_gap: int,
    label: Ints,
    delay: int,
) -> None:
    """Add one symbol's track."""
    bars = len(panel.times)
    rows = np.flatnonzero(np.isfinite(panel.open[:, i]))
    whole = slice(None) if rows.size == bars else rows
    open_, close, high, low, volume = (
        np.ascontiguousarray(wide[whole, i], dtype=np.float64)
        for wide in (panel.open, panel.close, *extreme, panel.volume)
    )
    step = np.diff(rows)
    anew = np.zeros(step.size, bool) if panel.listing is None else np.diff(panel.listing[rows, i]) != 0
    ends = anew | (step > max_gap + 1)
    borders = _starts(ends | (step > 1), rows.size)
    assets = _starts(ends, rows.size)
    begin, end = assets[:-1], assets[1:]
    # An asset is seen to be gone after max_gap missing bars, or when its ticker comes back as another.
    after = rows[end - 1] + max_gap + 1
    next_row = np.append(rows[begin[1:]], bars) if begin.size else after
    closed = np.minimum(after, next_row)
    funded_to = np.where(after < next_row, after, next_row - 1)

    due = np.zeros(bars)
    if rates is not None:
        # Funding of a missing bar falls due on the last close.
        last = np.zeros(bars, np.int64)
        last[rows] = np.arange(rows.size)
        mark = np.append(close, 0.0)[np.maximum.accumulate(last)]
        mark[rows] = open_
        due = np.cumsum(mark * rates)
    table, reach, blocks, wrong = lay_out(open_, high, low, close, volume, due[whole])
    if wrong >= 0:
        raise DataError(
            "low <= open, close <= high does not hold, or prices are not positive",
            source=panel.symbols[i],
            row=int(rows[wrong]) + 1,
            column="high, low",
        )

    traded = np.isfinite(volume) & (volume > 0)
    enterable = traded.copy()
    if delay:
        follows = np.zeros(rows.size, bool)
        follows[:-1] = ~(ends | (step > 1))
        enterable = follows & np.append(traded[1:], False)
    market.tracks.append(
        Track(
            table, reach, blocks, enterable,
            label[rows], np.searchsorted(label[rows], np.arange(market.periods.size), "right"),
            begin, end, due[np.minimum(funded_to, bars - 1)], label[np.minimum(closed, bars - 1)],
            closed < bars,
        )
    )  # fmt: skip
    market.rows.append(rows)
    market.closed.append(closed)
    market.high.append(high)
    market.low.append(low)
    market.close.append(close)
    market.borders.append(borders)
    if rows.size:
        span = (high - low) / open_
        market.bar_range[i] = np.median(span, overwrite_input=True)


def _starts(breaks: NDArray[np.bool_], size: int) -> Ints:
    """First bar of each stretch and the number of bars; just that number where there are none."""
    inner = np.flatnonzero(breaks) + 1
    return np.concatenate([[0], inner, [size]]).astype(np.int64) if size else np.zeros(1, np.int64)
