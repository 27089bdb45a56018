"""Synthetic PANIC windows as agents see bars: grafted onto real ones, every feature computed anew."""

from __future__ import annotations

import polars as pl

from engine.features.catalogue import CATALOGUE
from engine.regimes.names import REGIME_COLUMNS
from engine.synthetic.spliced import graft

__all__ = ["synthetic_rows"]

_CARRIED = ("segment", "open", "close", *REGIME_COLUMNS, "regime", "funding")


def synthetic_rows(windows: pl.DataFrame, bars: pl.DataFrame, *, before: int = 0, seed: int) -> pl.DataFrame:
    """Market rows of synthetic windows, for training alone.

    Parameters
    ----------
    windows : DataFrame
        ``window, step, open, high, low, close, volume`` as `engine.synthetic.windows.window_frame` has them.
    bars : DataFrame
        ``symbol, ts, segment``, the inputs of the catalogue of features, and ``p_trend, p_range, p_panic,
        regime, funding``, of the training window alone. What the regime was believed to be, and what was
        published, stay those of the bars that a window takes the place of.
    before : int
        Real bars before each window to hand out as well, not marked as synthetic: what a model of several
        bars looks back on.
    seed : int
        Of the choice of what is replaced.

    Returns
    -------
    DataFrame
        ``symbol, ts, segment, open, close, p_trend, p_range, p_panic, regime, funding, volatility,
        synthetic`` and the features. Moments are moved to weeks of their own and mean nothing but hour and
        weekday; each window has a segment of its own.
    """
    grafts = graft(windows, bars, context=CATALOGUE.warmup + before + 1, seed=seed)
    features = CATALOGUE.compute(grafts.bars)
    own = grafts.grafted.select("symbol", "ts", synthetic=pl.lit(value=True))
    rows = (
        grafts.bars.select("symbol", "ts", *_CARRIED)
        .join(features, on=["symbol", "ts"], how="left", maintain_order="left")
        .join(own, on=["symbol", "ts"], how="left", maintain_order="left")
        .with_columns(pl.col("synthetic").fill_null(value=False), volatility=pl.col("volatility_168"))
    )
    # Of each window its symbol alone: the last `before` real bars, then those that are new.
    place = pl.int_range(pl.len()) - (pl.len() - pl.col("synthetic").sum())
    mine = pl.col("synthetic").any() & (place >= -before)
    return rows.filter(mine.over("symbol", "segment"))
