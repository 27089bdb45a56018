"""What is known of one asset at the moment of a decision."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import timedelta

from engine.alternative.series import SERIES
from engine.portfolio.allocation import Signal
from engine.portfolio.record import Record
from engine.regimes.names import REGIMES

__all__ = ["SymbolView"]

_PANIC = REGIMES.index("PANIC")
_RANGES = {
    "confidence": (0.0, 1.0),
    "p_changepoint": (0.0, 1.0),
    "volatility": (0.0, math.inf),
    "cost_bps": (0.0, math.inf),
    "data_age_hours": (0.0, math.inf),
    "fear_greed": (SERIES["fear_greed"].lower, SERIES["fear_greed"].upper),
    "fear_greed_age_hours": (0.0, math.inf),
}


@dataclass(frozen=True)
class SymbolView(Record):
    """Everything that sizes, limits and gates look at, as it was known at the decision.

    None means unknown. So does what cannot be: NaN, an infinity, a value outside its range, probabilities
    that do not sum to 1, an index without its age or older than its 48 hours; such values become None here,
    once, so that nobody further on takes them for a number. Whoever reads a view counts an unknown value as
    the worst that it could be.

    Parameters
    ----------
    symbol : str
    direction : int or None
        1 long, -1 short, 0 none.
    confidence : float or None
        Calibrated lower bound of the probability that `direction` is right.
    regime_probabilities : tuple of three floats or None
        Filtered, in the order of `REGIMES`.
    p_changepoint : float or None
        Probability that a new segment has just begun.
    volatility : float or None
        Expected, annualised.
    cost_bps : float or None
        Expected fee and slippage of one fill, basis points of its value.
    data_age_hours : float or None
        Since the close of the newest bar.
    fear_greed : float or None
        Index, 0 extreme fear to 100 extreme greed.
    fear_greed_age_hours : float or None
        Since it was published.
    """

    symbol: str
    direction: int | None = None
    confidence: float | None = None
    regime_probabilities: tuple[float, ...] | None = None
    p_changepoint: float | None = None
    volatility: float | None = None
    cost_bps: float | None = None
    data_age_hours: float | None = None
    fear_greed: float | None = None
    fear_greed_age_hours: float | None = None

    def __post_init__(self) -> None:
        if self.direction not in (None, -1, 0, 1):
            raise ValueError(f"direction={self.direction} of {self.symbol} must be 1, -1, 0 or None")
        for field in fields(self):
            if field.name in _RANGES:
                value = _within(getattr(self, field.name), *_RANGES[field.name])
                object.__setattr__(self, field.name, value)
        if self.volatility == 0.0:
            object.__setattr__(self, "volatility", None)
        oldest = SERIES["fear_greed"].max_age / timedelta(hours=1)
        if self.fear_greed_age_hours is None or self.fear_greed_age_hours > oldest:
            object.__setattr__(self, "fear_greed", None)
        object.__setattr__(self, "regime_probabilities", _distribution(self.regime_probabilities))

    @property
    def p_panic(self) -> float | None:
        """Probability of PANIC; None if unknown."""
        return None if self.regime_probabilities is None else self.regime_probabilities[_PANIC]

    @property
    def signal(self) -> Signal:
        """Side and confidence, for the optimiser."""
        return Signal(self.direction or 0, self.confidence)


def _within(value: float | None, lower: float, upper: float) -> float | None:
    known = value is not None and math.isfinite(value) and lower <= value <= upper
    return float(value) if known else None  # type: ignore[arg-type]


def _distribution(probabilities: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if probabilities is None or len(probabilities) != len(REGIMES):
        return None
    known = [p for p in probabilities if _within(p, 0.0, 1.0) is not None]
    if len(known) < len(REGIMES) or abs(math.fsum(known) - 1.0) > 1e-6:
        return None
    return tuple(float(p) for p in known)
