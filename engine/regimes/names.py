"""The names of the market's states, in the order in which every array holds them."""

from __future__ import annotations

from typing import Literal

__all__ = ["REGIMES", "REGIME_COLUMNS", "Regime"]

Regime = Literal["TREND", "RANGE", "PANIC"]
REGIMES: tuple[Regime, ...] = ("TREND", "RANGE", "PANIC")
REGIME_COLUMNS: tuple[str, ...] = tuple(f"p_{name.lower()}" for name in REGIMES)
"""Columns of the regimes' probabilities in a frame: ``p_trend, p_range, p_panic``."""
