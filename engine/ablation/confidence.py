"""How sure a system is of the side it takes: as its engines say, or calibrated on what came true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.calibration.config import ConformalConfig
from engine.calibration.conformal import ConformalPredictor
from engine.calibration.coverage import effective_outcomes
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Split, select
from engine.portfolio.position_sizer import SizerConfig

__all__ = ["Stated", "calibrated", "raw_statement", "right"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stated:
    """Probability that the side taken is right, NaN where none is stated, and the share of it to take."""

    probability: Floats
    share: Floats


def right(rows: pl.DataFrame, position: Floats) -> pl.Series:
    """Whether the side taken on each bar came true over a label's horizon; null where nobody knows."""
    side = pl.Series(np.sign(position))
    return pl.select(pl.when(side != 0.0).then(side * rows["label"] > 0.0)).to_series()


def raw_statement(position: Floats, confidence: Floats) -> Stated:
    """State what the engine says and take all that it wants."""
    return Stated(np.where(position != 0.0, confidence, np.nan), np.ones_like(position))


def calibrated(
    rows: pl.DataFrame, position: Floats, confidence: Floats, split: Split, horizon: int
) -> Stated:
    """State Venn-Abers probabilities fitted on the calibration window, and take as much as they justify.

    A side that is no better than a coin, or of which nothing is known, is not taken; from there on the share
    rises in a line, as `engine.portfolio.position_sizer` has it.

    Parameters
    ----------
    rows : DataFrame
        ``ts, regime, label, label_end`` of N bars.
    position, confidence : ndarray, shape (N,)
        As decided, raw.
    split : Split
    horizon : int
        Bars that a label spans, for how far outcomes overlap.
    """
    asked = rows.select("ts", "regime", "label_end").with_columns(
        raw=pl.Series(confidence).fill_nan(None), correct=right(rows, position)
    )
    known = select(asked, split.calibrate, label_end="label_end").drop_nulls().sort("ts")
    nothing = np.full(len(position), np.nan)
    if known.is_empty():
        return Stated(nothing, np.zeros_like(position))
    overlap = max(known.height / effective_outcomes(known, "correct", overlap=float(horizon)), 1.0)
    predictor = ConformalPredictor(config=ConformalConfig(overlap=overlap))
    try:
        predictor.calibrate(known["raw"].to_numpy(), known["correct"].to_numpy(), known["regime"])
    except NotEnoughDataError:
        return Stated(nothing, np.zeros_like(position))
    stated = predictor.calibrate_rows(confidence, rows["regime"]).probability
    stated = np.where(position != 0.0, stated, np.nan)
    full = SizerConfig().full_confidence
    share = np.clip((np.nan_to_num(stated, nan=0.5) - 0.5) / (full - 0.5), 0.0, 1.0)
    return Stated(stated, share)
