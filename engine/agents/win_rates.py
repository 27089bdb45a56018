"""Whether a win rate still rises.

A win rate is a share of n trades with a standard error, and the best of many noisy values is an upward
outlier; so the last evaluations, pooled, are compared with those before them, and nothing is concluded from
too few trades.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["WinRateWindow", "pooled_gain"]


def pooled_gain(earlier: np.ndarray, later: np.ndarray) -> tuple[float, float]:
    """How much a win rate rose from one window to the next, and the standard error of that.

    Parameters
    ----------
    earlier, later : array (k, 2)
        Win rate and number of trades of each evaluation.

    Returns
    -------
    gain, error : float
        Difference of the pooled rates; standard error of two binomials of the same rate.
    """
    wins, trades = np.array([(w[:, 0] @ w[:, 1], w[:, 1].sum()) for w in (earlier, later)]).T
    rate = wins.sum() / trades.sum()
    first, second = wins / trades
    return float(second - first), math.sqrt(rate * (1.0 - rate) * (1.0 / trades).sum())


class WinRateWindow:
    """The evaluations that the next comparison may use.

    Parameters
    ----------
    patience : int
        Evaluations in each of the two windows compared, at least.
    least_trades : int
        Trades that each window must have; windows grow until they do.

    Attributes
    ----------
    evaluations : list of (float, int, float)
        Win rate, trades behind it, expectancy.
    """

    def __init__(self, patience: int, least_trades: int) -> None:
        self.patience, self.least_trades = patience, least_trades
        self.evaluations: list[tuple[float, int, float]] = []

    def add(self, rate: float, trades: int, expectancy: float) -> None:
        """Enter the newest evaluation."""
        self.evaluations.append((rate, trades, expectancy))

    def clear(self) -> None:
        """Begin anew: what was seen is no measure for what comes."""
        self.evaluations.clear()

    def gain(self) -> tuple[float, float, float]:
        """Gain, its standard error, and gain of expectancy, from the shortest windows with enough trades.

        NaN where there are not enough. Evaluations before those windows are forgotten.
        """
        found = np.array(self.evaluations).reshape(-1, 3)
        for k in range(self.patience, len(found) // 2 + 1):
            earlier, later = found[-2 * k : -k], found[-k:]
            if min(earlier[:, 1].sum(), later[:, 1].sum()) >= self.least_trades:
                del self.evaluations[: -2 * k]
                profits = [w[:, 1] @ w[:, 2] / w[:, 1].sum() for w in (earlier, later)]
                return *pooled_gain(earlier[:, :2], later[:, :2]), float(profits[1] - profits[0])
        return math.nan, math.nan, math.nan
