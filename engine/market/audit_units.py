"""Audit of units: a price or a volume that from one bar on is counted in another unit."""

from __future__ import annotations

from math import log10

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.market.audit_rows import CANDLES, DELISTED_AFTER
from engine.market.finding import Finding

__all__ = ["unit_jumps"]

Array = NDArray[np.float64]

SIDE = 48  # bars on each side whose medians are compared
ENOUGH = 12  # bars that a side must have
PRICE_STEP = 0.8  # decades; the smallest step of the price that is looked at
POWER = 0.06  # decades; how close to a power of ten a unit change must be
VOLUME_STEP = log10(30.0)  # decades; markets rarely change their volume by as much for good
LIVELIER = log10(2.0)  # decades; a market that trades so much more also moves more, another unit does not
CHUNK = 20_000  # candidates at a time, to bound the memory


def unit_jumps(rows: pl.DataFrame) -> list[Finding]:
    """Lasting steps of the price level by a power of ten, and of the volume by more than 30 times.

    A step counts when the medians of the `SIDE` bars before and after it differ by it. A volume step
    with which the range of the bars steps too is a market that woke up or fell asleep.
    Where price and volume step against each other the money is the same: a redenomination. Nothing is
    compared across a delisting.

    Parameters
    ----------
    rows : polars.DataFrame
        ``symbol, ts, high, low, close, volume``, sorted, without repeats.
    """
    new = (pl.col("symbol") != pl.col("symbol").shift()) | (pl.col("ts").diff() > DELISTED_AFTER)
    symbol = rows.select(new.fill_null(value=True).cum_sum().cast(pl.UInt32)).to_series().to_numpy()
    price, volume = _decades(rows["close"]), _decades(rows["volume"])
    found: list[tuple[int, str, str]] = []

    index, step = _lasting(price, symbol, PRICE_STEP)
    power = (np.round(step) != 0) & (np.abs(step - np.round(step)) <= POWER)
    index, step = index[power], step[power]
    mirrored = np.abs(_steps(volume, symbol, index) + step) < 0.5
    for at, size, same_money in zip(index, step, mirrored, strict=True):
        text = f"price level times {10.0**size:.4g} from one bar to the next, and it stays"
        found.append((at, text, "redenomination" if same_money else "price unit"))
    redenominated = index[mirrored]

    index, step = _lasting(volume, symbol, VOLUME_STEP)
    activity = _steps(_decades(rows["high"] / rows["low"] - 1), symbol, index)
    genuine = np.nan_to_num(activity * np.sign(step)) > LIVELIER
    genuine |= (np.abs(index[:, None] - redenominated[None, :]) <= 1).any(axis=1)
    for at, size in zip(index[~genuine], step[~genuine], strict=True):
        text = f"volume level times {10.0**size:.4g} from one bar to the next, and it stays"
        found.append((at, text, _volume_cause(size, price[at])))

    names, stamps = rows["symbol"], rows["ts"]
    return [
        Finding(
            CANDLES,
            names[int(at)],
            "unit_jump",
            "warn" if cause == "unknown" else "error",
            stamps[int(at)],
            stamps[int(at)],
            1,
            text,
            cause,
        )
        for at, text, cause in sorted(found)
    ]


def _volume_cause(step: float, price: float) -> str:
    """Which unit the volume changed to, judged by the price (both in decades)."""
    if abs(price) > POWER and abs(step - price) < log10(2.0):
        return "volume in quote currency"
    if abs(price) > POWER and abs(step + price) < log10(2.0):
        return "volume in base currency"
    return "volume unit" if abs(step - round(step)) < POWER else "unknown"


def _decades(values: pl.Series) -> Array:
    """Decimal logarithm; NaN where the value is not positive and finite."""
    x = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(x) & (x > 0), np.log10(x), np.nan)


def _lasting(level: Array, symbol: NDArray[np.uint32], least: float) -> tuple[NDArray[np.int64], Array]:
    """Rows where the level steps by at least ``least`` decades and stays, with the step."""
    sudden = np.abs(np.diff(level))
    index = np.flatnonzero((sudden >= 0.7 * least) & (np.diff(symbol) == 0)) + 1
    step = _steps(level, symbol, index)
    index, step = index[np.abs(step) >= least], step[np.abs(step) >= least]
    # Bars next to a step see it as well; of those close together the most sudden one is it.
    cluster = np.cumsum(np.diff(index, prepend=-ENOUGH) >= ENOUGH)
    strongest = np.lexsort((-sudden[index - 1], cluster))
    first = np.unique(cluster[strongest], return_index=True)[1]
    chosen = np.sort(strongest[first])
    return index[chosen], step[chosen]


def _steps(level: Array, symbol: NDArray[np.uint32], index: NDArray[np.int64]) -> Array:
    """Median of the bars from each ``index`` on, less that of those before; NaN where either are too few."""
    steps = [
        _side(level, symbol, part, range(SIDE)) - _side(level, symbol, part, range(-SIDE, 0))
        for part in np.array_split(index, index.size // CHUNK + 1)
    ]
    return np.concatenate(steps)


def _side(level: Array, symbol: NDArray[np.uint32], index: NDArray[np.int64], side: range) -> Array:
    """Median of the bars at ``index + side`` that are the same symbol's; NaN where they are too few."""
    place = index[:, None] + np.asarray(side)
    inside = np.clip(place, 0, level.size - 1)
    bars = np.where((place == inside) & (symbol[inside] == symbol[index][:, None]), level[inside], np.nan)
    enough = np.isfinite(bars).sum(axis=1) >= ENOUGH
    median = np.full(index.size, np.nan)
    median[enough] = np.nanmedian(bars[enough], axis=1)
    return median
