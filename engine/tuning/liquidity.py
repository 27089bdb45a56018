"""What a fill is expected to cost, from past bars alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.tuning.trailing import trailing_mean

__all__ = ["SURE", "expected_cost_bps", "measured_half_spread"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SURE = 2.0
"""Standard errors by which the squared spread must exceed zero to count; only the excess does.

Hourly bars of liquid pairs move a hundred times their spread, so that the plain estimate is mostly noise: in
simulated markets, whose bars hold no spread, it finds one in two bars out of five.
"""


def measured_half_spread(
    high: Floats, low: Floats, close: Floats, follows: NDArray[np.bool_], first: Ints, least: int
) -> Floats:
    """Half of the spread that closes and mid-ranges of past bars surely show (Abdi and Ranaldo 2017).

    With c the log close and m the log mid-range, E[(c_t - m_t)(c_t - m_{t+1})] is the square of half the
    spread: both mid-ranges bracket the efficient price, and closes bounce between bid and ask.

    Parameters
    ----------
    high, low, close : ndarray, shape (bars,)
    follows : ndarray of bool, shape (bars,)
        Whether the bar comes right after the one before.
    first : ndarray of int, shape (bars,)
        First bar of each bar's window.
    least : int
        Known products that a window needs.

    Returns
    -------
    ndarray, shape (bars,)
        Fraction of the price; 0 where nothing beyond `SURE` standard errors is found or too little is known.
    """
    c, mid = np.log(close), 0.5 * (np.log(high) + np.log(low))
    product = np.full(close.size, np.nan)
    product[1:] = np.where(follows[1:], (c[:-1] - mid[:-1]) * (c[:-1] - mid[1:]), np.nan)
    mean, error = trailing_mean(product, first, least)
    sure = mean - SURE * error
    return np.sqrt(np.where(sure > 0.0, sure, 0.0))


def expected_cost_bps(
    close: Floats, volume: Floats, half_spread: Floats, first: Ints, least: int, costs: Costs, order: float
) -> Floats:
    """Fee, half spread and impact of an order, basis points of its value.

    The impact is the mean of what the order would have had in each bar of the window that traded.

    Parameters
    ----------
    close, volume : ndarray, shape (bars,)
        Volume in base units.
    half_spread : ndarray, shape (bars,)
        As measured; what `costs` says is the least.
    first : ndarray of int, shape (bars,)
        First bar of each bar's window.
    least : int
        Bars with volume that a window needs.
    costs : Costs
    order : float
        Its value, quote units.

    Returns
    -------
    ndarray, shape (bars,)
        NaN where too few bars traded.
    """
    traded = np.isfinite(volume) & (volume > 0.0)
    share = np.full(close.size, np.nan)
    share[traded] = order / (close[traded] * volume[traded])
    impact, _ = trailing_mean(costs.impact_bps * np.sqrt(share), first, least)
    return costs.fee_bps + np.maximum(costs.half_spread_bps, 1e4 * half_spread) + impact
