"""What a strategy must beat: nothing, buy-and-hold, and a hold with constant risk.

Each makes target weights for `backtest` from the past only; the row of bar t uses bars up to t.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.panel import Panel

__all__ = ["buy_and_hold", "flat", "volatility_targeted_hold"]

Floats = NDArray[np.float64]


def flat(panel: Panel) -> Floats:
    """Stay in cash."""
    return np.zeros(panel.open.shape)


def buy_and_hold(panel: Panel) -> Floats:
    """Equal weights of all symbols listed, set anew whenever one is listed, and left to drift between.

    A decision that could not be filled, because the next bar was missing or had no volume, is made again for
    that symbol at its next bar.
    """
    here = np.isfinite(panel.open) & (panel.volume > 0)
    bars = len(panel.times)
    first = np.where(here.any(axis=0), here.argmax(axis=0), bars)
    targets = np.full(here.shape, np.nan)
    for event in np.unique(first[first < bars]):
        listed = np.flatnonzero(first <= event)
        for i in listed:
            targets[_first_fillable(here[:, i], int(event)), i] = 1.0 / listed.size
    return targets


def _first_fillable(here: NDArray[np.bool_], event: int) -> NDArray[np.int64]:
    """Rows at which a decision of `event` is made for a symbol, until one is followed by a bar."""
    rows = []
    for t in range(event, len(here)):
        if here[t]:
            rows.append(t)
            if t + 1 < len(here) and here[t + 1]:
                break
    return np.array(rows, dtype=np.int64)


def volatility_targeted_hold(
    panel: Panel,
    *,
    target_volatility: float = 0.30,
    lookback: timedelta = timedelta(days=30),
    rebalance: timedelta = timedelta(days=1),
    max_exposure: float = 1.0,
) -> Floats:
    """Equal weights of all symbols trading, scaled to a constant expected volatility.

    The expectation is the standard deviation of the equally weighted basket's bar returns over `lookback`;
    until that much history is there, nothing is held.

    Parameters
    ----------
    target_volatility : float
        Annualised.
    lookback, rebalance : timedelta
        Whole bars; decisions fall on multiples of `rebalance` since the epoch, at the close that ends there.
    max_exposure : float
        Largest sum of weights.
    """
    step, window = rebalance // panel.bar, lookback // panel.bar
    if step < 1 or window < 2:
        raise ValueError(f"rebalance={rebalance} must hold 1 bar of {panel.bar}, lookback={lookback} two")
    change = np.full(panel.close.shape, np.nan)
    change[1:] = panel.close[1:] / panel.close[:-1] - 1.0
    moved = np.isfinite(change)
    basket = np.where(moved, change, 0.0).sum(axis=1) / np.maximum(moved.sum(axis=1), 1)
    volatility = _rolling_deviation(basket, window) * np.sqrt(timedelta(days=365) / panel.bar)
    exposure = np.minimum(target_volatility / np.where(volatility > 0, volatility, np.inf), max_exposure)
    trading = np.isfinite(panel.close)
    count = trading.sum(axis=1)
    weight = np.where(count > 0, exposure / np.maximum(count, 1), np.nan)
    ends = panel.times + np.timedelta64(panel.bar)
    due = (
        ends.astype("datetime64[us]").astype(np.int64) // (panel.bar // timedelta(microseconds=1))
    ) % step == 0
    due &= ~np.isnan(volatility)
    return np.where(due[:, None] & trading, weight[:, None], np.nan)


def _rolling_deviation(values: Floats, window: int) -> Floats:
    """Return the deviation of the last `window` values; NaN until there are so many beyond the first."""
    out = np.full(values.size, np.nan)
    if values.size > window:
        views = np.lib.stride_tricks.sliding_window_view(values[1:], window)
        out[window:] = views.std(axis=1, ddof=1)
    return out
