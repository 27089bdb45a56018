"""From target weights to trades: drift, the no-trade band, turnover and its cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["drifted_weights", "no_trade_band", "turnover_cost"]

Floats = NDArray[np.float64]


def drifted_weights(weights: ArrayLike, returns: ArrayLike) -> Floats:
    """Weights after the market moved: ``w_i (1 + r_i) / (1 + w' r)``; the rest is cash.

    Parameters
    ----------
    weights : array_like, shape (n,)
        Fractions of equity after the last trade, signed.
    returns : array_like, shape (n,)
        Simple returns since. NaN for an asset that has not traded: it stands where it stood.

    Raises
    ------
    ValueError
        If the portfolio lost everything.
    """
    w = np.asarray(weights, dtype=np.float64)
    r = np.nan_to_num(np.asarray(returns, dtype=np.float64), nan=0.0)
    growth = 1.0 + w @ r
    if growth <= 0.0:
        raise ValueError(f"equity fell by {1 - growth:.0%}; nothing is left to have weights of")
    return w * (1.0 + r) / growth


def no_trade_band(current: ArrayLike, target: ArrayLike, band: float) -> Floats:
    """Trade only what has left the band about its target, and only back to its edge.

    With costs in proportion to the trade, trading to the edge is optimal (Davis and Norman 1990). A target of
    zero and a change of side are carried out in full: what must go, goes.

    Parameters
    ----------
    current, target : array_like, shape (n,)
        Fractions of equity, `current` after drift.
    band : float
        Half width, fraction of equity.

    Returns
    -------
    ndarray, shape (n,)
        Weights after trading.
    """
    now, wanted = np.asarray(current, dtype=np.float64), np.asarray(target, dtype=np.float64)
    same_side = now * wanted > 0
    return np.where(same_side, np.clip(now, wanted - band, wanted + band), wanted)


def turnover_cost(current: ArrayLike, executed: ArrayLike, cost_bps: float) -> tuple[float, float]:
    """Turnover (sum of absolute trades from *drifted* weights, fraction of equity) and its cost."""
    turnover = float(np.abs(np.asarray(executed) - np.asarray(current)).sum())
    return turnover, turnover * cost_bps * 1e-4
