"""The one place of the calibration's thresholds."""

from __future__ import annotations

from dataclasses import dataclass

from engine.regimes.actions import EXIT_AT

__all__ = ["ConformalConfig"]


@dataclass(frozen=True)
class ConformalConfig:
    """Thresholds of the calibration.

    Parameters
    ----------
    steps : tuple of float
        Steps of adaptive conformal inference per independent outcome: one is ACI, several are the experts of
        DtACI, none keeps the calibration fixed. With 0.02 a 90 % interval becomes unbounded after six misses
        in a row: fast beside a rolling year, and slow beside chance.
    interval : float
        Independent outcomes over which DtACI should keep its coverage; it sets the rates of its weights.
    window : int
        Independent outcomes that a threshold is taken from. The coverage of a quantile of 250 has a
        standard error of two points, which the adaptation evens out; a longer window forgets a calm
        market too slowly.
    overlap : float
        Rows of one regime, neighbours in time, per independent outcome: the label's horizon in bars times
        the number of symbols that move together. It divides `steps`, multiplies `window`, and divides the
        counts behind every bound.
    least : float
        Independent outcomes below which a regime takes the most careful answer of all regimes, and that must
        be known after a change point before it is trusted again.
    bound_confidence : float
        One-sided confidence of the bound that `calibrate_confidence` states.
    alarm : float
        Probability of a change point from which it counts. Below, nothing changes; from it on intervals widen
        and confidences are unknown.
    """

    steps: tuple[float, ...] = (0.02,)
    interval: float = 250.0
    window: int = 250
    overlap: float = 1.0
    least: float = 50.0
    bound_confidence: float = 0.95
    alarm: float = EXIT_AT

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not all(0.0 < step < 1.0 for step in self.steps):
            raise ValueError(f"steps={self.steps} must lie in (0, 1)")
        if self.interval < 1.0 or self.window < 1 or self.overlap < 1.0:
            raise ValueError(
                f"interval={self.interval}, window={self.window} and overlap={self.overlap} must be "
                "at least 1"
            )
        if not 0.0 < self.bound_confidence < 1.0:
            raise ValueError(f"bound_confidence={self.bound_confidence} must lie in (0, 1)")
        if not 0.0 < self.alarm <= 1.0:
            raise ValueError(f"alarm={self.alarm} must lie in (0, 1]")
