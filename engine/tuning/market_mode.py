"""Bull, bear, sideways or volatile: what the market as a whole has been of late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import NotEnoughDataError
from engine.tuning.scenarios import MarketMode

__all__ = ["MarketView", "market_view"]

_MONTH, _YEAR = 30, 365
_VOLATILE_PERCENTILE = 80.0
_TREND_DEVIATIONS = 1.0


@dataclass(frozen=True)
class MarketView:
    """A mode and what it was judged by.

    Parameters
    ----------
    mode : MarketMode
    trend : float
        Return of the past 30 days in standard deviations of what 30 such days without drift would bring.
    volatility_percentile : float
        Of the past 30 days' volatility among those of the past year, 0 to 100.
    """

    mode: MarketMode
    trend: float
    volatility_percentile: float


def market_view(daily_returns: ArrayLike) -> MarketView:
    """Judge the market by the log returns of its days, the mean over symbols, the last of them the newest.

    It is volatile from the 80th percentile of the past year's volatility on, whatever its direction; else
    bull or bear where it has moved by more than one standard deviation in a month.

    Parameters
    ----------
    daily_returns : array, shape (days,)
        At least 60; NaN days, on which nothing was traded, are left out.

    Raises
    ------
    NotEnoughDataError
        If there are fewer than 60.
    """
    days = np.asarray(daily_returns, dtype=np.float64)
    days = days[np.isfinite(days)][-(_YEAR + _MONTH) :]
    if days.size < 2 * _MONTH:
        raise NotEnoughDataError(
            f"{days.size} days cannot tell a market's mode; at least {2 * _MONTH} are needed"
        )
    volatility = np.lib.stride_tricks.sliding_window_view(days, _MONTH).std(axis=1)
    now = float(volatility[-1])
    # Ties count half, so that a market that never moves stands in the middle and not at the top.
    percentile = 100.0 * float(np.mean((volatility < now) + 0.5 * (volatility == now)))
    month = days[-_MONTH:]
    trend = float(month.sum()) / (now * _MONTH**0.5) if now > 0.0 else 0.0
    mode: MarketMode = "sideways"
    if percentile >= _VOLATILE_PERCENTILE:
        mode = "volatile"
    elif abs(trend) > _TREND_DEVIATIONS:
        mode = "bull" if trend > 0.0 else "bear"
    return MarketView(mode, trend, percentile)
