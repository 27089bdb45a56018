"""Engines that read the crowd: what it pays for its positions, and its mood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.alpha.signals import AlphaEngine, Columns, Condition, Opinion, graded

__all__ = ["Carry", "Sentiment"]

_NEUTRAL_INDEX, _NEUTRAL_SOCIAL = 50.0, 0.5


@dataclass(frozen=True)
class Carry(AlphaEngine):
    """Take the side that receives funding, in markets calm enough to keep it.

    Parameters
    ----------
    least, full : float
        Funding as a fraction per 8 hours, of either sign: where a signal begins, and where its strength is 1.
        Over 72 bars of an hour the default least pays 18 basis points, more than a round trip costs.
    turmoil : float
        Largest log ratio of the day's volatility over the week's.
    horizon : int
        Bars.

    References
    ----------
    Koijen, Moskowitz, Pedersen and Vrugt 2018, carry.
    """

    least: float = 2e-4
    full: float = 1e-3
    turmoil: float = 0.5
    horizon: int = 72
    name: ClassVar[str] = "carry"
    inputs: ClassVar[tuple[str, ...]] = ("funding_rate_8h", "volatility_ratio_24_168")

    def __post_init__(self) -> None:
        self._require_positive("least", "full")
        if not self.least < self.full:
            raise ValueError(f"least={self.least} of carry must be below full={self.full}")

    def opinion(self, x: Columns) -> Opinion:
        """Side that receives funding."""
        rate, turmoil = x["funding_rate_8h"], x["volatility_ratio_24_168"]
        return Opinion(
            -np.sign(rate) * graded(np.abs(rate), self.least, self.full),
            (
                Condition("funding per 8 hours", np.abs(rate), self.least),
                Condition("log volatility ratio, day over week", turmoil, self.turmoil, at_most=True),
            ),
        )


@dataclass(frozen=True)
class Sentiment(AlphaEngine):
    """Oppose the crowd: buy its extreme fear, sell its extreme greed, where index and social score agree.

    The index is built from volatility and momentum; following it would be the momentum engine under another
    name. So the contrarian reading was chosen, once and for all, and not by its results.

    Parameters
    ----------
    least, full : float
        Points of the Fear & Greed index from the neutral 50: where a signal begins, and where its strength
        is 1.
    oldest : float
        Largest age of the index, hours.
    horizon : int
        Bars.

    References
    ----------
    Baker and Wurgler 2006; De Long, Shleifer, Summers and Waldmann 1990.
    """

    least: float = 25.0
    full: float = 45.0
    oldest: float = 48.0
    horizon: int = 72
    name: ClassVar[str] = "sentiment"
    inputs: ClassVar[tuple[str, ...]] = ("fear_greed", "fear_greed_age_hours", "social_score")

    def __post_init__(self) -> None:
        self._require_positive("least", "full", "oldest")
        if not self.least < self.full <= _NEUTRAL_INDEX:
            raise ValueError(
                f"least={self.least}, full={self.full} of sentiment must rise and stay within 50"
            )

    def opinion(self, x: Columns) -> Opinion:
        """Side against the mood."""
        index, age = x["fear_greed"], x["fear_greed_age_hours"]
        possible = (index >= 0.0) & (index <= 100.0) & (age >= 0.0)
        mood = np.where(possible, index - _NEUTRAL_INDEX, np.nan)
        agreement = np.sign(mood) * (x["social_score"] - _NEUTRAL_SOCIAL)
        return Opinion(
            -np.sign(mood) * graded(np.abs(mood), self.least, self.full),
            (
                Condition("points from neutral", np.abs(mood), self.least),
                Condition("age of the index in hours", age, self.oldest, at_most=True),
                Condition("social score from neutral, on the index's side", agreement, 0.0),
            ),
        )
