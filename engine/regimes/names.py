"""The names of the market's states, in the order in which every array holds them."""

from __future__ import annotations

from typing import Literal

__all__ = ["REGIMES", "Regime"]

Regime = Literal["TREND", "RANGE", "PANIC"]
REGIMES: tuple[Regime, ...] = ("TREND", "RANGE", "PANIC")
