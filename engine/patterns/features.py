"""What the memory of patterns says of every bar, for models and agents."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.patterns.memory import MemoryStore
from engine.patterns.model import PatternModel
from engine.patterns.outcomes import outcome_features
from engine.patterns.windows import PatternWindows

__all__ = ["STRIDE", "pattern_features", "remember", "with_coordinates"]

STRIDE = 5
"""Bars between the windows that are remembered: those nearer to each other show the same."""

Coordinates = Literal["none", "compact", "full"]


def remember(
    model: PatternModel, windows: PatternWindows, labels: pl.DataFrame, *, embargo: int = 0
) -> MemoryStore:
    """Remember every fifth window with what followed.

    All of the history may go in, test windows included: what a query sees of it is its own past alone.

    Parameters
    ----------
    model : PatternModel
    windows : PatternWindows
        From `PatternModel.windows`.
    labels : pl.DataFrame
        ``symbol, ts, horizon, label, label_end``.
    embargo : int
        Bars.
    """
    ends = windows.every(STRIDE)
    return MemoryStore.of(windows, ends, model.encoder.encode_all(windows, ends), labels, embargo=embargo)


def pattern_features(
    model: PatternModel,
    windows: PatternWindows,
    memory: MemoryStore,
    *,
    top_k: int = 10,
    coordinates: Coordinates = "compact",
) -> pl.DataFrame:
    """Embed every bar once and find what followed the windows of its past that look alike.

    Parameters
    ----------
    model : PatternModel
    windows : PatternWindows
        From `PatternModel.windows`.
    memory : MemoryStore
        From `remember`, of embeddings by the same model.
    top_k : int
        Neighbours, in different stretches of time.
    coordinates : {"none", "compact", "full"}
        Whether the embedding itself is added: not, as ``pattern_0 ..`` of the compact projection, or whole.

    Returns
    -------
    pl.DataFrame
        ``symbol, ts``, `OUTCOME_COLUMNS` and the coordinates, one row for each bar of the windows in their
        order; null where no whole window ends.
    """
    embedding = model.encoder.encode_all(windows)
    found = memory.search(embedding, windows.ts[windows.ends], top_k)
    made = outcome_features(found, memory.outcome).with_columns(row=pl.Series(windows.ends))
    if coordinates != "none":
        values = model.projection.apply(embedding) if coordinates == "compact" else embedding
        made = made.hstack(_columns(values))
    keys = pl.DataFrame(
        {
            "symbol": pl.Series(windows.symbols, dtype=pl.String).gather(windows.symbol),
            "ts": pl.Series(windows.ts).cast(pl.Datetime("us")),
            "row": np.arange(len(windows.ts)),
        }
    )
    return keys.join(made, on="row", how="left", maintain_order="left").drop("row")


def with_coordinates(model: PatternModel, rows: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Add the coordinates of each bar's window to rows that are in no memory, as synthetic ones are.

    Parameters
    ----------
    model : PatternModel
    rows : pl.DataFrame
        As `PatternModel.windows` takes them.
    bar : timedelta
        Length of a bar.

    Returns
    -------
    pl.DataFrame
        The rows with ``pattern_0 ..`` of the compact projection, Float64; null where no whole window ends.
    """
    windows = model.windows(rows, bar)
    found = model.projection.apply(model.encoder.encode_all(windows))
    values = np.full((rows.height, found.shape[1]), np.nan)
    values[windows.ends] = found
    return rows.with_columns(series.fill_nan(None) for series in _columns(values))


def _columns(values: NDArray[np.floating]) -> pl.DataFrame:
    return pl.DataFrame({f"pattern_{k}": values[:, k] for k in range(values.shape[1])})
