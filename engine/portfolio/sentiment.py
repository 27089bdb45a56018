"""What the Fear & Greed index is used for here: caution at both ends, nothing else.

The index is built from volatility and momentum, and is read both as "buy the fear" and as "follow the crowd".
It gives no direction here. Extremes of either kind go with large moves, so risk is lowered towards both,
without a cliff on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.portfolio.record import Record

__all__ = ["SentimentBounds", "fear_greed_factor"]


# Between the inner bounds the index says nothing; at the outer ones and beyond it is extreme.
_CALM = (40.0, 60.0)
_EXTREME = (10.0, 90.0)


def fear_greed_factor(index: float | None, *, floor: float = 0.25) -> float:
    """Factor on a position: 1 from 40 to 60, falling in a line to `floor` at 10 and at 90.

    One index point changes it by ``(1 - floor) / 30``, which is .025 by default and never more than .034. An
    unknown index gives `floor`: it may be extreme.

    Parameters
    ----------
    index : float or None
        0 to 100; None, NaN and anything outside is unknown.
    floor : float
        Smallest factor, between 0 and 1.
    """
    if index is None or not math.isfinite(index) or not 0.0 <= index <= 100.0:
        return floor
    below = (_CALM[0] - index) / (_CALM[0] - _EXTREME[0])
    above = (index - _CALM[1]) / (_EXTREME[1] - _CALM[1])
    return 1.0 - (1.0 - floor) * min(max(below, above, 0.0), 1.0)


@dataclass(frozen=True)
class SentimentBounds(Record):
    """Range of the index in which positions may be entered, with hysteresis.

    Parameters
    ----------
    lowest, highest : float
        The gate closes outside.
    margin : float
        Once closed it opens only this far inside, so that an index at the bound does not open and close it by
        turns.
    """

    lowest: float
    highest: float
    margin: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.lowest + self.margin <= self.highest - self.margin <= 100.0 or self.margin < 0.0:
            raise ValueError(
                f"lowest={self.lowest}, highest={self.highest}, margin={self.margin} leave no range in 0..100"
            )

    def opens(self, index: float | None, was_open: bool) -> bool:
        """Tell whether the gate is open at `index`; unknown closes it."""
        margin = 0.0 if was_open else self.margin
        return index is not None and self.lowest + margin <= index <= self.highest - margin
