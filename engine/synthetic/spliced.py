"""Synthetic windows grafted onto the market that led to real ones, so that every feature can be computed.

A window alone is too short for features that look back a week. So each takes the place of a real PANIC
window of the training data: what came before, what the other symbols did and what was published meanwhile
stay as they were, and only the candles of the window are new.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError, NotEnoughDataError

__all__ = ["Grafts", "donors", "graft"]

_WEEK = np.timedelta64(7 * 24 * 3600 * 1_000_000, "us")
# 1970-01-05 was a Monday: grafts begin there, so that hours and weekdays of the donor are kept.
_TICK = np.timedelta64(1, "us")
_FIRST_MONDAY = np.datetime64("1970-01-05T00:00:00", "us")


@dataclass(frozen=True)
class Grafts:
    """Bars to compute features of, and which of them are new.

    ``bars`` holds, for each window, the bars of all symbols around its donor, moved in time by whole weeks
    so that no two windows share a moment; ``grafted`` says which rows are the window's own:
    ``window, symbol, ts, donor_ts``.
    """

    bars: pl.DataFrame
    grafted: pl.DataFrame


def donors(bars: pl.DataFrame, length: int, context: int, least_share: float = 0.5) -> NDArray[np.int64]:
    """Rows at which a window of `length` bars may be replaced.

    Parameters
    ----------
    bars : DataFrame
        ``symbol, ts, segment, regime`` sorted by symbol and ts; regime is the filtered one.
    length, context : int
        Bars of a window, and bars before it that must lie in the same segment.
    least_share : float
        Of a window's bars that must be in PANIC.

    Returns
    -------
    ndarray of int
        Row of the first bar of each possible donor: the bar before it was in PANIC.
    """
    panic = (bars["regime"] == "PANIC").fill_null(value=False).to_numpy()
    run = bars.select(pl.struct("symbol", "segment").rle_id()).to_series().to_numpy()
    first = np.arange(context, bars.height - length + 1)
    held = np.concatenate([[0], np.cumsum(panic)])
    share = (held[first + length] - held[first]) / length
    whole = run[first - context] == run[first + length - 1]
    return first[whole & panic[first - 1] & (share >= least_share - 1e-9)]


def graft(windows: pl.DataFrame, bars: pl.DataFrame, *, context: int, memory: int = 168, seed: int) -> Grafts:
    """Put each synthetic window in the place of a real one.

    Parameters
    ----------
    windows : DataFrame
        ``window, step, open, high, low, close, volume`` in units of the close and the usual volume before
        the window, as `engine.synthetic.windows.window_frame` gives them; equally many steps each.
    bars : DataFrame
        ``symbol, ts, segment, open, high, low, close, volume, log_return, regime`` of the training window
        and whatever else features are computed from, sorted by symbol and ts.
    context : int
        Bars before a window that features look back on.
    memory : int
        Half-life in bars of the usual volume.
    seed : int
        Of the choice of donors.

    Raises
    ------
    DataError
        If windows differ in length.
    NotEnoughDataError
        If no real window can be replaced.
    """
    sizes = windows.group_by("window").len()["len"].unique()
    if len(sizes) != 1:
        raise DataError(f"windows have {sorted(sizes)} bars; all must have the same number", column="step")
    length = int(sizes[0])
    places = donors(bars, length, context)
    if not places.size:
        raise NotEnoughDataError(
            f"no stretch of {context} + {length} bars without a gap opens in PANIC; a longer history has one"
        )
    numbers = windows["window"].unique().sort()
    chosen = np.random.default_rng(seed).choice(places, len(numbers))
    usual = bars.select(_usual_volume(memory)).to_series()
    shape = {
        number[0]: part.sort("step") for number, part in windows.partition_by("window", as_dict=True).items()
    }
    ts = bars["ts"].to_numpy()
    spans = _spans(bars)
    # Windows are moved to weeks of their own, so that no two share a moment.
    weeks = (ts[chosen + length - 1] - ts[chosen - context]).max() // _WEEK + 2
    parts, new = [], []
    for k, (number, row) in enumerate(zip(numbers, chosen, strict=True)):
        start, end = ts[row - context], ts[row + length - 1]
        rows = np.concatenate(
            [np.arange(*(np.searchsorted(ts[a:b], [start, end + _TICK]) + a)) for a, b in spans]
        )
        monday = start - (start - _FIRST_MONDAY) % _WEEK
        shift = pl.lit(int((_FIRST_MONDAY + k * weeks * _WEEK - monday).astype(np.int64))).cast(
            pl.Duration("us")
        )
        at = int(np.flatnonzero(rows == row)[0])
        around = _replaced(
            bars[rows], at, shape[number], float(bars["close"][int(row) - 1]), float(usual[int(row)])
        )
        parts.append(around.with_columns(ts=pl.col("ts") + shift, segment=pl.lit(k, pl.Int64)))
        mine = around[at : at + length].select("symbol", donor_ts="ts")
        new.append(mine.with_columns(window=pl.lit(number, pl.Int64), ts=pl.col("donor_ts") + shift))
    return Grafts(
        pl.concat(parts).sort("symbol", "ts"), pl.concat(new).select("window", "symbol", "ts", "donor_ts")
    )


def _spans(bars: pl.DataFrame) -> list[tuple[int, int]]:
    """First row and the row after the last of each symbol."""
    counts = bars["symbol"].rle().struct.field("len").to_numpy()
    ends = np.cumsum(counts)
    return list(zip((ends - counts).tolist(), ends.tolist(), strict=True))


def _usual_volume(memory: int) -> pl.Expr:
    """Volume that was usual before each bar, in base units."""
    traded = pl.when(pl.col("volume") > 0).then(pl.col("volume").log())
    average = traded.ewm_mean(half_life=memory, ignore_nulls=True).forward_fill().shift(1)
    return average.over("symbol").exp()


def _replaced(
    around: pl.DataFrame, at: int, window: pl.DataFrame, close: float, volume: float
) -> pl.DataFrame:
    """Bars with the candles of a window from row `at` on, in the units of what came before."""
    prices = window.select(pl.col("open", "high", "low", "close") * close, pl.col("volume") * volume)
    changed = prices.with_columns(
        log_return=(pl.col("close") / pl.col("close").shift(1, fill_value=close)).log()
    )
    rows = pl.Series(np.arange(at, at + window.height))
    return around.with_columns(
        around[name].cast(pl.Float64).scatter(rows, changed[name]) for name in changed.columns
    )
