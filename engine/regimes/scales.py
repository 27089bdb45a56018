"""What the observations of a symbol are standardised by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.regimes.observations import CHANNELS

__all__ = ["SymbolScales"]

# Medians of the absolute value of a standard normal, and of a chi-square of four degrees of freedom.
_NORMAL_MEDIAN, _SWING_MEDIAN = 0.67449, 3.35669
_SMALLEST = 1e-12


@dataclass(frozen=True)
class SymbolScales:
    """Scales of one symbol's observations; None where nothing was known or nothing varied.

    Parameters
    ----------
    log_return, excursion : float or None
        By medians, so that a panic in the training window does not make the next one look usual.
    centre, spread : tuple of float or None
        Mean and standard deviation of each of `CHANNELS`.
    """

    log_return: float | None
    excursion: float | None
    centre: tuple[float | None, ...]
    spread: tuple[float | None, ...]

    @classmethod
    def unknown(cls) -> SymbolScales:
        """Return the scales of a symbol that nothing is known of: whatever they divide is unknown."""
        nothing = (None,) * len(CHANNELS)
        return cls(None, None, nothing, nothing)

    @classmethod
    def of(cls, rows: pl.DataFrame) -> SymbolScales:
        """Measure the rows of a symbol, or of several together."""
        found = rows.select(
            log_return=pl.col("log_return").abs().median() / _NORMAL_MEDIAN,
            excursion=pl.col("excursion").median() / _SWING_MEDIAN,
            centre=pl.concat_list(pl.col(name).mean() for name in CHANNELS),
            spread=pl.concat_list(pl.col(name).std() for name in CHANNELS),
        ).row(0, named=True)
        return cls(
            _positive(found["log_return"]),
            _positive(found["excursion"]),
            tuple(found["centre"]),
            tuple(_positive(spread) for spread in found["spread"]),
        )

    def factors(self) -> NDArray[np.float64]:
        """Scales of return and excursion, then centres and spreads of the channels; NaN for None."""
        return np.array([self.log_return, self.excursion, *self.centre, *self.spread], dtype=float)


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > _SMALLEST else None
