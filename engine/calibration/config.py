"""The one place of the calibration's thresholds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConformalConfig"]


@dataclass(frozen=True)
class ConformalConfig:
    """Thresholds of the calibration.

    Parameters
    ----------
    gamma : float
        Step of adaptive conformal inference per independent outcome; 0 keeps the calibration fixed. With
        0.02 a 90 % interval becomes unbounded after six misses in a row: fast beside a rolling year, and
        slow beside chance.
    window : int
        Independent outcomes that a threshold is taken from. The coverage of a quantile of 250 has a
        standard error of two points, which the adaptation evens out; a longer window forgets a calm
        market too slowly.
    overlap : float
        Rows of one regime, neighbours in time, per independent outcome: the label's horizon in bars times
        the number of symbols that move together. It divides `gamma`, multiplies `window`, and divides the
        counts behind every bound.
    least : float
        Independent outcomes below which a regime takes the most careful answer of all regimes.
    bound_confidence : float
        One-sided confidence of the bound that `calibrate_confidence` states.
    """

    gamma: float = 0.02
    window: int = 250
    overlap: float = 1.0
    least: float = 50.0
    bound_confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma < 1.0:
            raise ValueError(f"gamma={self.gamma} must lie in [0, 1)")
        if self.window < 1 or self.overlap < 1.0:
            raise ValueError(f"window={self.window} and overlap={self.overlap} must be at least 1")
        if not 0.0 < self.bound_confidence < 1.0:
            raise ValueError(f"bound_confidence={self.bound_confidence} must lie in (0, 1)")
