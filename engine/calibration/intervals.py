"""Conformalised quantile regression per regime, adapted over time.

The score of an outcome is how far it fell outside the model's quantiles, negative inside them:
``max(lower - y, y - upper) / scale`` (Romano, Patterson and Candes 2019). A new interval is the quantiles
moved outwards by the conformal threshold of its regime times its scale. A point forecast is the case lower =
upper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.calibration.adaptive import AdaptiveThresholds
from engine.calibration.categories import Regimes, category_codes, regime_series
from engine.calibration.config import ConformalConfig

__all__ = ["IntervalCalibration", "Intervals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Intervals:
    """Prediction intervals of many rows.

    `known` is False where input was missing, where the regime was never calibrated and where the interval
    is unbounded.
    """

    lower: Floats
    upper: Floats
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class IntervalCalibration:
    """Thresholds of each regime in `categories`."""

    categories: tuple[str, ...]
    thresholds: AdaptiveThresholds

    @classmethod
    def fit(
        cls,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        scale: ArrayLike,
        *,
        level: float,
        config: ConformalConfig,
        decided_at: ArrayLike | None = None,
    ) -> IntervalCalibration:
        """Calibrate on rows, oldest first; rows with NaN or without a regime are left out."""
        scores = _scores(lower, upper, outcome, scale)
        regimes = regime_series(regime)
        categories = tuple(sorted(regimes.filter(~np.isnan(scores)).drop_nulls().unique()))
        thresholds = AdaptiveThresholds.start(
            scores,
            category_codes(regimes, categories),
            len(categories),
            level=level,
            steps=config.steps or (0.0,),
            interval=config.interval,
            window=round(config.window * config.overlap) if config.steps else None,
            overlap=config.overlap,
            least=round(config.least * config.overlap),
            decided_at=None if decided_at is None else np.asarray(decided_at, np.int64),
        )
        return cls(categories, thresholds)

    def __call__(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        regime: Regimes,
        scale: ArrayLike,
        doubt: Floats | None = None,
        since: Ints | None = None,
    ) -> Intervals:
        """Intervals of new rows with the thresholds in force now."""
        groups = category_codes(regime, self.categories)
        return _widened(lower, upper, scale, groups, self.thresholds.thresholds(groups, doubt, since))

    def walk(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        scale: ArrayLike,
        decided_at: ArrayLike,
        known_at: ArrayLike,
        doubt: Floats | None = None,
        since: Ints | None = None,
    ) -> Intervals:
        """Intervals of a stretch of time, each from what was known then; learns every outcome."""
        groups = category_codes(regime, self.categories)
        scores = _scores(lower, upper, outcome, scale)
        clock = np.asarray(decided_at, np.int64), np.asarray(known_at, np.int64)
        return _widened(
            lower, upper, scale, groups, self.thresholds.walk(scores, groups, *clock, doubt, since)
        )

    def learn(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        scale: ArrayLike,
        decided_at: Ints,
    ) -> None:
        """Adapt to outcomes, oldest first."""
        groups = category_codes(regime, self.categories)
        self.thresholds.absorb(_scores(lower, upper, outcome, scale), groups, decided_at)


def _quantiles(lower: ArrayLike, upper: ArrayLike, scale: ArrayLike) -> tuple[Floats, Floats, Floats]:
    low, high = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    size = np.broadcast_to(np.asarray(scale, np.float64), low.shape)
    if (low > high).any():
        row = int(np.argmax(low > high))
        raise ValueError(f"lower must not exceed upper; row {row} has {low[row]} > {high[row]}")
    if (size <= 0.0).any():
        raise ValueError(f"scale must be positive; row {int(np.argmax(size <= 0.0))} is not")
    return low, high, size


def _scores(lower: ArrayLike, upper: ArrayLike, outcome: ArrayLike, scale: ArrayLike) -> Floats:
    low, high, size = _quantiles(lower, upper, scale)
    y = np.asarray(outcome, np.float64)
    return np.maximum(low - y, y - high) / size


def _widened(
    lower: ArrayLike, upper: ArrayLike, scale: ArrayLike, groups: Ints, threshold: Floats
) -> Intervals:
    low, high, size = _quantiles(lower, upper, scale)
    middle = (low + high) / 2.0
    # a negative threshold may draw the ends past each other: the interval is then their middle
    low = np.minimum(low - threshold * size, middle)
    high = np.maximum(high + threshold * size, middle)
    missing = np.isnan(low) | np.isnan(high)
    low, high = np.where(missing, -np.inf, low), np.where(missing, np.inf, high)
    return Intervals(low, high, (groups >= 0) & np.isfinite(low) & np.isfinite(high))
