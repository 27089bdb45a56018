"""Entry signals of many parameter sets: breakouts of a channel and reversions to its mean.

A signal is one signed byte per bar, known at the bar's close: the sign is the side, the magnitude the kind of
entry, 0 none. Everything about a lookback is computed once for all its parameter sets, in time independent of
the lookback's length, and starts afresh after each hole in the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BREAKOUT", "REVERSION", "ChannelEntries", "SignalRows", "channel", "channel_signals"]

Floats = NDArray[np.float64]

BREAKOUT, REVERSION = 1, 2
_STILL = 1e-7  # a deviation smaller than this share of the price is rounding, not movement


@dataclass(frozen=True)
class ChannelEntries:
    """Breakouts in trends and reversions elsewhere, judged against the `lookback` bars before the decision.

    With the channel of bars t-n to t-1: the close of t breaks out when it lies above the highest high or
    below the lowest low; it has strayed when it lies more than `deviations` standard deviations from the mean
    close. The market trends when ``|close_t - close_{t-n}|`` exceeds `efficiency` times the path that the
    closes walked over the channel's n bars (the efficiency ratio of Kaufman 1995, with the deciding bar left
    out of the path). In a trend breakouts are entered in their direction, kind `BREAKOUT`; otherwise strays
    are entered against theirs, kind `REVERSION`.

    Parameters
    ----------
    lookback : array of int, shape (sets,)
        n, at least 2.
    deviations : array, shape (sets,)
        Positive.
    efficiency : array, shape (sets,)
        -1 leaves breakouts alone to be entered, infinity reversions alone.
    """

    lookback: NDArray[np.int64]
    deviations: Floats
    efficiency: Floats

    def __init__(self, lookback: ArrayLike, deviations: ArrayLike, efficiency: ArrayLike = 0.25) -> None:
        raw = np.asarray(lookback)
        n, d, e = np.broadcast_arrays(
            np.atleast_1d(raw), np.asarray(deviations, float), np.asarray(efficiency, float)
        )
        if n.ndim != 1 or raw.dtype.kind not in "iu" or (n < 2).any():
            raise ValueError(f"lookback={lookback!r} must be whole numbers of at least 2 bars, one per set")
        if not (d > 0).all() or np.isnan(e).any():
            raise ValueError(
                f"deviations={deviations!r} must be positive and efficiency={efficiency!r} a number"
            )
        object.__setattr__(self, "lookback", n.astype(np.int64))
        object.__setattr__(self, "deviations", d.astype(np.float64))
        object.__setattr__(self, "efficiency", e.astype(np.float64))

    def __len__(self) -> int:
        return self.lookback.size

    def take(self, sets: Any) -> ChannelEntries:
        """Return some of the sets, by index, slice or mask."""
        return ChannelEntries(self.lookback[sets], self.deviations[sets], self.efficiency[sets])


@dataclass(frozen=True)
class SignalRows:
    """Signals made elsewhere, such as by a live algorithm's own rules.

    Parameters
    ----------
    rows : ndarray of int8, shape (rows, bars, symbols)
        Signals at each bar's close; those of missing bars are not read.
    row : ndarray of int, shape (sets,)
        The row that each parameter set trades.
    """

    rows: NDArray[np.int8]
    row: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.rows.dtype != np.int8 or self.rows.ndim != 3:
            raise ValueError(
                f"rows are {self.rows.dtype} of shape {self.rows.shape}, int8 (rows, bars, symbols) needed"
            )
        if self.row.ndim != 1 or ((self.row < 0) | (self.row >= len(self.rows))).any():
            raise ValueError(f"row must hold one index below {len(self.rows)} per set")

    def __len__(self) -> int:
        return self.row.size

    def take(self, sets: Any) -> SignalRows:
        """Return some of the sets, by index, slice or mask."""
        return SignalRows(self.rows, self.row[sets])


@nb.njit(nogil=True, cache=True)
def _breaks(
    high: Floats, low: Floats, close: Floats, begin: int, end: int, n: int, side: NDArray[np.int8]
) -> None:
    """Side on which each close leaves the extremes of the n bars before it.

    The extremes of a sliding window are those of a suffix of one block of n bars and a prefix of the next
    (van Herk 1992; Gil and Werman 1993).
    """
    highest, lowest = np.empty(end - begin), np.empty(end - begin)
    for start in range(begin, end, n):
        stop = min(start + n, end)
        top, bottom = -np.inf, np.inf
        for t in range(stop - 1, start - 1, -1):
            top, bottom = max(top, high[t]), min(bottom, low[t])
            highest[t - begin], lowest[t - begin] = top, bottom
    for start in range(begin + n, end, n):
        top, bottom = -np.inf, np.inf
        for t in range(start, min(start + n, end)):
            upper, lower = max(highest[t - n - begin], top), min(lowest[t - n - begin], bottom)
            side[t] = np.int8(close[t] > upper) - np.int8(close[t] < lower)
            top, bottom = max(top, high[t]), min(bottom, low[t])


@nb.njit(nogil=True, cache=True, error_model="numpy")
def channel(
    high: Floats, low: Floats, close: Floats, borders: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int8], Floats, Floats]:
    """Return break-out side, standardised distance and efficiency of each close against the n bars before.

    Parameters
    ----------
    high, low, close : ndarray, shape (bars,)
    borders : ndarray of int, shape (segments + 1,)
        Where unbroken stretches begin, and the number of bars.
    n : int

    Returns
    -------
    side : ndarray of int8, shape (bars,)
        1 above the highest high, -1 below the lowest low, else 0.
    distance : ndarray, shape (bars,)
        Standard deviations from the mean close; 0 where prices stood still, which is no ground to act.
    efficiency : ndarray, shape (bars,)
        All three are 0 for the first n + 1 bars of a stretch.
    """
    side = np.zeros(close.size, np.int8)
    distance, efficiency = np.zeros(close.size), np.zeros(close.size)
    for k in range(borders.size - 1):
        begin, end = borders[k], borders[k + 1]
        if end - begin < n + 2:
            continue
        _breaks(high, low, close, begin, end, n, side)
        side[begin + n] = 0
        for start in range(begin + n + 1, end, n):
            # Begun anew every n bars, around a price nearby, so that rounding cannot add up.
            centre, total, square, path = close[start - 1], 0.0, 0.0, 0.0
            for i in range(start - n, start):
                y = close[i] - centre
                total += y
                square += y * y
                path += abs(close[i] - close[i - 1])
            for t in range(start, min(start + n, end)):
                mean = total / n
                deviation = np.sqrt(max(square / n - mean * mean, 0.0))
                new, old = close[t] - centre, close[t - n] - centre
                if deviation > _STILL * close[t]:
                    distance[t] = (new - mean) / deviation
                if path > 0.0:
                    efficiency[t] = abs(new - old) / path
                total += new - old
                square += new * new - old * old
                path += abs(close[t] - close[t - 1]) - abs(close[t - n] - close[t - n - 1])
    return side, distance, efficiency


@nb.njit(nogil=True, cache=True)
def channel_signals(
    side: NDArray[np.int8],
    distance: Floats,
    efficiency: Floats,
    deviations: float,
    trend: float,
    row: NDArray[np.int8],
) -> None:
    """Write the signals of one pair of thresholds on what `channel` found."""
    for t in range(side.size):
        stray = 2 * (np.int8(distance[t] < -deviations) - np.int8(distance[t] > deviations))
        row[t] = side[t] if efficiency[t] > trend else stray
