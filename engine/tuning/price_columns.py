"""What the state of a market takes from its candles: each row from bars up to its own."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.evaluation.entry_signals import channel
from engine.evaluation.panel import Panel
from engine.tuning.liquidity import expected_cost_bps, measured_half_spread
from engine.tuning.parameters import DEFAULTS
from engine.tuning.rules import CHANNEL, MAX_GAP, STILL, exposure
from engine.tuning.trailing import moments_before, trailing_deviation, trailing_percentile

__all__ = ["DAY", "MONTH", "of_rows", "price_columns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY, MONTH = timedelta(days=1), timedelta(days=30)
"""Volatility is that of a day, its percentile and the spread are those of a month."""


def of_rows(panel: Panel, name: str, symbol: Ints, at: Ints) -> Floats:
    """Return one price of the panel, or the volume, as a column with a row per bar that is there."""
    return np.ascontiguousarray(getattr(panel, name)[at, symbol])


def price_columns(panel: Panel, symbol: Ints, at: Ints, costs: Costs, capital: float) -> dict[str, NDArray]:
    """Compute the columns of a tape that come from its candles.

    Parameters
    ----------
    panel : Panel
    symbol, at : ndarray of int, shape (rows,)
        Column and row of the panel of each bar that is there, by symbol and then time.
    costs : Costs
        What is expected of a fill.
    capital : float
        Quote units of each symbol's account.
    """
    bar = panel.bar
    high, low, close, volume = (
        of_rows(panel, name, symbol, at) for name in ("high", "low", "close", "volume")
    )
    step = np.where(np.diff(symbol, prepend=-1) == 0, np.diff(at, prepend=-1), MAX_GAP + 2)
    follows = step == 1
    rows = np.arange(at.size)
    run, listed = (
        np.maximum.accumulate(np.where(starts, rows, 0)) for starts in (~follows, step > MAX_GAP + 1)
    )
    borders = np.append(np.flatnonzero(~follows), at.size)

    n = CHANNEL // bar
    side, _, _ = channel(high, low, close, borders, n)
    mean, deviation = moments_before(close, run, n)
    still = deviation <= STILL * close
    zscore = np.where(still, 0.0, (close - mean) / np.where(still, 1.0, deviation))
    log_return = np.full(at.size, np.nan)
    log_return[1:] = np.where(follows[1:], np.log(close[1:] / close[:-1]), np.nan)
    month, day = (_first_within(panel, at, listed, window) for window in (MONTH, DAY))
    volatility = trailing_deviation(log_return, run, DAY // bar)
    half_spread = measured_half_spread(high, low, close, follows, month, MONTH // bar // 2)
    order = capital * exposure(DEFAULTS.base_risk_pct, DEFAULTS.sl_breakout)
    return {
        "volatility_percentile": trailing_percentile(volatility, month, MONTH // bar // 2),
        "breakout_side": side,
        "zscore": zscore,
        "mean": mean,
        "half_spread": half_spread,
        "expected_cost_bps": expected_cost_bps(
            close, volume, half_spread, day, max(DAY // bar // 2, 1), costs, order
        ),
    }


def _first_within(panel: Panel, at: Ints, listed: Ints, window: timedelta) -> Ints:
    """First row of each row's asset that opens less than `window` before it."""
    bars = window // panel.bar
    first = np.empty(at.size, np.int64)
    for begin in np.unique(listed):
        rows = slice(begin, int(np.searchsorted(listed, begin, "right")))
        first[rows] = begin + np.searchsorted(at[rows], at[rows] - bars, "right")
    return first
