"""Categories of a Mondrian (per-regime) calibration as small integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Regimes", "category_codes", "regime_series"]

Regimes = Sequence[str | None] | NDArray[Any] | pl.Series


def regime_series(regime: Regimes) -> pl.Series:
    """Regimes as strings; whatever is not a string (None, NaN) becomes null."""
    if isinstance(regime, pl.Series):
        return regime.cast(pl.String)
    names = [name if isinstance(name, str) else None for name in regime]
    return pl.Series(names, dtype=pl.String)


def category_codes(regime: Regimes, categories: Sequence[str]) -> NDArray[np.int64]:
    """Position of each regime in `categories`; -1 for null and for a regime not among them."""
    series = regime_series(regime)
    if not categories:
        return np.full(len(series), -1, np.int64)
    codes = series.replace_strict(
        list(categories), list(range(len(categories))), default=-1, return_dtype=pl.Int64
    )
    return codes.fill_null(-1).to_numpy()
