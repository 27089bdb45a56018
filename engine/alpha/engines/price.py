"""Engines that read prices and volumes: breakout, momentum, mean reversion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.alpha.signals import AlphaEngine, Columns, Condition, Opinion, graded

__all__ = ["Breakout", "MeanReversion", "Momentum"]


@dataclass(frozen=True)
class Breakout(AlphaEngine):
    """Follow a close at the edge of the day's range when volatility and turnover have risen.

    Parameters
    ----------
    edge : float
        Least distance of the close from the far end of the range, share of the range.
    expansion : float
        Least log ratio of the day's volatility over the week's.
    full_expansion : float
        Log ratio at which the strength is 1.
    turnover : float
        Least log turnover of the bar, standard deviations over the week's mean.
    horizon : int
        Bars.

    References
    ----------
    Channel breakouts after Donchian; Brock, Lakonishok and LeBaron 1992.
    """

    edge: float = 0.95
    expansion: float = 0.0
    full_expansion: float = 1.0
    turnover: float = 0.5
    horizon: int = 24
    name: ClassVar[str] = "breakout"
    inputs: ClassVar[tuple[str, ...]] = ("range_position_24", "volatility_ratio_24_168", "volume_zscore_168")

    def __post_init__(self) -> None:
        self._require_positive()
        if not 0.5 < self.edge <= 1.0 or not self.expansion < self.full_expansion:
            raise ValueError(
                f"edge={self.edge} must lie in (0.5, 1] and expansion={self.expansion} below "
                f"full_expansion={self.full_expansion}"
            )

    def opinion(self, x: Columns) -> Opinion:
        """Side of the range that the close is at."""
        position, expansion = x["range_position_24"], x["volatility_ratio_24_168"]
        side = np.sign(position - 0.5)
        return Opinion(
            side * graded(expansion, self.expansion, self.full_expansion),
            (
                Condition("share of the day's range", np.maximum(position, 1.0 - position), self.edge),
                Condition("log volatility ratio, day over week", expansion, self.expansion),
                Condition("turnover in deviations", x["volume_zscore_168"], self.turnover),
            ),
        )


@dataclass(frozen=True)
class Momentum(AlphaEngine):
    """Follow a move of three days that is large for its volatility and agrees with the week's.

    Parameters
    ----------
    least, full : float
        Three-day return in standard deviations of such a return: where a signal begins, and where its
        strength is 1.
    horizon : int
        Bars.

    References
    ----------
    Moskowitz, Ooi and Pedersen 2012, time series momentum.
    """

    least: float = 1.0
    full: float = 3.0
    horizon: int = 24
    name: ClassVar[str] = "momentum"
    inputs: ClassVar[tuple[str, ...]] = ("return_72", "return_168", "volatility_168")

    def __post_init__(self) -> None:
        self._require_positive("least", "full")
        if not self.least < self.full:
            raise ValueError(f"least={self.least} of momentum must be below full={self.full}")

    def opinion(self, x: Columns) -> Opinion:
        """Side of the three-day move."""
        move = x["return_72"] / (x["volatility_168"] * math.sqrt(72.0))
        side = np.sign(move)
        return Opinion(
            side * graded(np.abs(move), self.least, self.full),
            (
                Condition("three-day move in deviations", np.abs(move), self.least),
                Condition("week's log return on its side", side * x["return_168"], 0.0),
            ),
        )


@dataclass(frozen=True)
class MeanReversion(AlphaEngine):
    """Oppose a price far from its mean of the week that got there without a trend.

    Parameters
    ----------
    least, full : float
        Log price against its weekly mean in standard deviations: where a signal begins, and where its
        strength is 1.
    efficiency : float
        Largest way made over way gone within the day, 0 to 1.
    horizon : int
        Bars.

    References
    ----------
    Lehmann 1990; the efficiency ratio is of Kaufman 1995.
    """

    least: float = 1.5
    full: float = 3.0
    efficiency: float = 0.30
    horizon: int = 24
    name: ClassVar[str] = "mean_reversion"
    inputs: ClassVar[tuple[str, ...]] = ("zscore_168", "efficiency_24")

    def __post_init__(self) -> None:
        self._require_positive("least", "full", "efficiency")
        if not self.least < self.full:
            raise ValueError(f"least={self.least} of mean_reversion must be below full={self.full}")

    def opinion(self, x: Columns) -> Opinion:
        """Side of the mean."""
        distance = x["zscore_168"]
        return Opinion(
            -np.sign(distance) * graded(np.abs(distance), self.least, self.full),
            (
                Condition("deviations from the week's mean", np.abs(distance), self.least),
                Condition("way made over way gone", x["efficiency_24"], self.efficiency, at_most=True),
            ),
        )
