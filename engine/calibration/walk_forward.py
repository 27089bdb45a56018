"""Calibration along a walk forward: each fold calibrated before its test window, judged inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from engine.calibration.config import ConformalConfig
from engine.calibration.conformal import ConformalPredictor
from engine.calibration.coverage import effective_outcomes
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Split, select

__all__ = ["COVERAGE_LEVEL", "CalibratedFold", "calibrate_fold"]

COVERAGE_LEVEL = 0.90


@dataclass(frozen=True)
class CalibratedFold:
    """A predictor as it stands when the test window ends, and the calibrated rows of that window."""

    predictor: ConformalPredictor
    rows: pl.DataFrame


def calibrate_fold(
    predictions: pl.DataFrame, split: Split, bar: timedelta, horizon: int, level: float = COVERAGE_LEVEL
) -> CalibratedFold:
    """Calibrate on one window, predict the next.

    Parameters
    ----------
    predictions : DataFrame
        Of one fold, calibration and test window: ``symbol, ts, regime, p_up, q10, q90, scale, label,
        label_end``; ``label`` is null where the future is not known yet.
    split : Split
        The windows.
    bar : timedelta
        Length of a bar.
    horizon : int
        Bars that a label spans.
    level : float
        Coverage of the intervals.

    Returns
    -------
    CalibratedFold
        Rows ``symbol, ts, regime, direction, raw_confidence, confidence, status, lower, upper, label,
        correct, covered``: one per row of the test window. ``confidence`` is a lower bound of the probability
        that ``direction`` is right, null if nothing can be said.

    Raises
    ------
    NotEnoughDataError
        If the calibration window holds no labelled prediction.
    """
    rows = predictions.sort("ts", "symbol").with_columns(
        direction=pl.when(pl.col("p_up") >= 0.5).then(1).otherwise(-1).cast(pl.Int64),
        raw_confidence=pl.max_horizontal(pl.col("p_up"), 1.0 - pl.col("p_up")),
    )
    rows = rows.with_columns(
        correct=pl.when(pl.col("label").is_not_null()).then(
            (pl.col("label") > 0) == (pl.col("direction") > 0)
        )
    )
    known = select(rows, split.calibrate, label_end="label_end").drop_nulls("regime")
    if known.is_empty():
        raise NotEnoughDataError(
            f"fold {split.number}: no labelled prediction with a regime in the calibration window "
            f"{split.calibrate.start} to {split.calibrate.end}"
        )
    # Labels overlap in time and symbols move together; the data say how many outcomes are independent.
    overlap = known.height / effective_outcomes(known, "correct", overlap=float(horizon))
    predictor = ConformalPredictor(level, replace(ConformalConfig(), overlap=overlap))
    predictor.calibrate(known["raw_confidence"].to_numpy(), known["correct"].to_numpy(), known["regime"])
    predictor.fit_intervals(
        known["q10"].to_numpy(),
        known["q90"].to_numpy(),
        known["label"].to_numpy(),
        known["regime"],
        known["scale"].to_numpy(),
    )
    test = select(rows, split.test)
    confidence = predictor.calibrate_rows(test["raw_confidence"].to_numpy(), test["regime"])
    # Decided when the bar closes; known at the label's end, and never to decisions before it.
    intervals = predictor.walk_intervals(
        test["q10"].to_numpy(),
        test["q90"].to_numpy(),
        test["label"].fill_null(np.nan).to_numpy(),
        test["regime"],
        decided_at=_clock(test["ts"] + bar),
        known_at=_clock((test["label_end"]).fill_null(datetime.max)),  # noqa: DTZ901  never
        scale=test["scale"].to_numpy(),
    )
    return CalibratedFold(
        predictor,
        test.with_columns(
            confidence=pl.Series(confidence.confidence).fill_nan(None),
            status=pl.Series(np.where(confidence.known, "ok", "unknown")),
            lower=pl.Series(intervals.lower).fill_nan(None),
            upper=pl.Series(intervals.upper).fill_nan(None),
        )
        .with_columns(covered=pl.col("label").is_between("lower", "upper"))
        .select(_COLUMNS),
    )


_COLUMNS: Sequence[str] = (
    "symbol",
    "ts",
    "regime",
    "direction",
    "raw_confidence",
    "confidence",
    "status",
    "lower",
    "upper",
    "label",
    "correct",
    "covered",
)


def _clock(moments: pl.Series) -> np.ndarray:
    return moments.dt.epoch("us").to_numpy()
