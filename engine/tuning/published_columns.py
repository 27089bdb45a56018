"""Columns of the live algorithm's market that come from published series: scores and funding."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.alternative.asof import as_of, asset
from engine.errors import DataError
from engine.evaluation.panel import Panel, funding_panel

__all__ = ["funding_on", "leanings", "side_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCORES = ("social_score", "news_score")


def side_of(lean: Floats) -> NDArray[np.int8]:
    """Return 1 or -1 for the side of a leaning, 0 where it is balanced or not known."""
    return np.sign(np.nan_to_num(lean)).astype(np.int8)


def leanings(
    panel: Panel, symbol: Ints, at: Ints, observations: pl.DataFrame | None, bar: timedelta
) -> tuple[Floats, Floats]:
    """How far social items and news lean, -1 to 1, as known at each close; NaN where it is not known."""
    if observations is None:
        unknown = np.full(at.size, np.nan)
        return unknown, unknown
    names = pl.Series("symbol", panel.symbols, dtype=pl.String).gather(symbol)
    keys = pl.DataFrame({"symbol": names, "ts": panel.times[at]})
    if "series" in observations.columns:
        rows = as_of(keys.with_columns(decided_at=pl.col("ts") + bar), observations, SCORES)
    else:
        for column in ("symbol", "ts", *SCORES):
            if column not in observations.columns:
                raise DataError(
                    f"missing; the frame has {observations.columns}", source="observations", column=column
                )
        given = observations.select("symbol", "ts", *SCORES)
        rows = keys.join(given, on=["symbol", "ts"], how="left", maintain_order="left", validate="m:1")
    social, news = (2.0 * rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy() - 1.0 for name in SCORES)
    return social, news


def funding_on(observations: pl.DataFrame, panel: Panel) -> Floats:
    """Rates on the panel; a perpetual is charged those of its asset."""
    names = pl.DataFrame({"_symbol": panel.symbols}).with_columns(_asset=asset("_symbol"))
    rates = observations.filter(pl.col("series") == "funding_rate").with_columns(_asset=asset("symbol"))
    mapped = rates.join(names, on="_asset").with_columns(symbol=pl.col("_symbol"))
    return funding_panel(mapped.drop("_asset", "_symbol"), panel)
