"""What the live algorithm is fixed to in code, and the arithmetic that its slow and its fast form share."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from numba.extending import register_jitable

__all__ = [
    "BREAKOUT",
    "CHANNEL",
    "DEVIATIONS",
    "KINDS",
    "MAX_GAP",
    "NEWS",
    "REVERT",
    "STILL",
    "Kind",
    "exposure",
    "price_at",
    "way_to",
]

Kind = Literal["NEWS", "BREAKOUT", "REVERT"]
KINDS: tuple[Kind, ...] = ("NEWS", "BREAKOUT", "REVERT")
"""Kinds of entry, the first that goes is taken."""
NEWS, BREAKOUT, REVERT = range(3)

CHANNEL = timedelta(hours=48)
"""Past that a close must break out of, and that its mean and deviations are taken over."""
DEVIATIONS = 2.0
"""Standard deviations from the mean at which a close has strayed."""
STILL = 1e-7
"""A deviation up to this share of the price is rounding: prices stood still, and no close has strayed."""
MAX_GAP = 72
"""Missing bars in a row after which a symbol counts as delisted."""


@register_jitable
def exposure(risk_pct: float, stop_pct: float) -> float:
    """Fraction of equity to hold so that a stop costs `risk_pct` of it; never more than all."""
    return min(risk_pct / stop_pct, 1.0)


@register_jitable
def way_to(mean: float, close: float) -> float:
    """Distance from a close to the mean, as a fraction of the close."""
    return abs(mean / close - 1.0)


@register_jitable
def price_at(price: float, side: float, way: float) -> float:
    """Price that lies a fraction `way` from `price`, in favour of a position on `side` (1 long, -1 short)."""
    return price * (1.0 + side * way)
