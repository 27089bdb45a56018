"""Calibration along a walk forward: each fold calibrated before its test window, judged inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from engine.calibration.changepoints import CHANGE_MEMORY, with_changes
from engine.calibration.confidence import CalibratedRows
from engine.calibration.config import ConformalConfig
from engine.calibration.conformal import ConformalPredictor
from engine.calibration.coverage import effective_outcomes
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Split, select

__all__ = [
    "COVERAGE_LEVEL",
    "CalibratedFold",
    "calibrate_fold",
    "calibrator_at",
    "with_side",
]

COVERAGE_LEVEL = 0.90
_REFIT = timedelta(days=7)


@dataclass(frozen=True)
class CalibratedFold:
    """A predictor as it stands when the test window ends, and the calibrated rows of that window."""

    predictor: ConformalPredictor
    rows: pl.DataFrame


def calibrate_fold(
    predictions: pl.DataFrame,
    split: Split,
    bar: timedelta,
    horizon: int,
    level: float = COVERAGE_LEVEL,
    memory: timedelta = CHANGE_MEMORY,
) -> CalibratedFold:
    """Calibrate on one window, predict the next.

    Intervals learn each outcome of the test window once it is known. Confidences are fitted anew every week
    on what is known by then, over as much time as the calibration window holds.

    Parameters
    ----------
    predictions : DataFrame
        Of one fold, calibration and test window: ``symbol, ts, regime, p_up, q10, q90, scale, label,
        label_end``; ``label`` is null where the future is not known yet. With a column ``p_changepoint``,
        probability at each decision that the symbol's market has just changed, intervals widen and
        confidences are unknown after a change; one that is missing or impossible is an alarm.
    split : Split
        The windows.
    bar : timedelta
        Length of a bar.
    horizon : int
        Bars that a label spans.
    level : float
        Coverage of the intervals.
    memory : timedelta
        How long an alarm of the detector counts. On recorded markets intervals cover less for some hours
        after one and as promised a day later (README): the market has moved to another state that the
        outcomes know, and those of before are no worse for it.

    Returns
    -------
    CalibratedFold
        Rows ``symbol, ts, regime, direction, raw_confidence, confidence, p0, p1, probability, status, lower,
        upper, label, correct, covered``: one per row of the test window. ``confidence`` is a lower bound of
        the probability that ``direction`` is right, ``p0`` and ``p1`` are its Venn-Abers probabilities and
        ``probability`` one of both; null if unknown.

    Raises
    ------
    NotEnoughDataError
        If the calibration window holds no labelled prediction.
    """
    rows = _prepared(predictions, bar)
    known, predictor = _started(rows, split, horizon, level)
    rows = with_changes(rows, predictor.config.alarm, memory)
    test = select(rows, split.test)
    confidence = _walk_confidences(predictor, rows, split)
    predictor.fit_intervals(
        known["q10"].to_numpy(),
        known["q90"].to_numpy(),
        known["label"].to_numpy(),
        known["regime"],
        known["scale"].to_numpy(),
        known["decided_at"].to_numpy(),
    )
    intervals = predictor.walk_intervals(
        test["q10"].to_numpy(),
        test["q90"].to_numpy(),
        test["label"].fill_null(np.nan).to_numpy(),
        test["regime"],
        test["decided_at"].to_numpy(),
        test["known_at"].to_numpy(),
        test["scale"].to_numpy(),
        test["p_changepoint"].to_numpy(),
        test["changed_at"].to_numpy(),
    )
    return CalibratedFold(
        predictor,
        test.with_columns(
            confidence=pl.Series(confidence.confidence).fill_nan(None),
            p0=pl.Series(confidence.p0).fill_nan(None),
            p1=pl.Series(confidence.p1).fill_nan(None),
            probability=pl.Series(confidence.probability).fill_nan(None),
            status=pl.Series(np.where(confidence.known, "ok", "unknown")),
            lower=pl.Series(intervals.lower).fill_nan(None),
            upper=pl.Series(intervals.upper).fill_nan(None),
        )
        .with_columns(covered=pl.col("label").is_between("lower", "upper"))
        .select(_COLUMNS),
    )


def calibrator_at(
    predictions: pl.DataFrame,
    split: Split,
    bar: timedelta,
    horizon: int,
    moment: datetime,
    level: float = COVERAGE_LEVEL,
    memory: timedelta = CHANGE_MEMORY,
) -> ConformalPredictor:
    """Confidences as they were in force for a bar of the test window; intervals are not fitted.

    Parameters
    ----------
    predictions, split, bar, horizon, level, memory
        As in `calibrate_fold`.
    moment : datetime
        Open of the bar.
    """
    rows = _prepared(predictions, bar)
    _, predictor = _started(rows, split, horizon, level)
    rows = with_changes(rows, predictor.config.alarm, memory)
    refit = split.test.start + (moment - split.test.start) // _REFIT * _REFIT
    _fit_confidences(predictor, rows, refit, split.test.start - split.calibrate.start)
    return predictor


def _started(
    rows: pl.DataFrame, split: Split, horizon: int, level: float
) -> tuple[pl.DataFrame, ConformalPredictor]:
    """Outcomes of the calibration window, and a predictor that knows how far they overlap."""
    known = select(rows, split.calibrate, label_end="label_end").drop_nulls("regime")
    if known.is_empty():
        raise NotEnoughDataError(
            f"fold {split.number}: no labelled prediction with a regime in the calibration window "
            f"{split.calibrate.start} to {split.calibrate.end}"
        )
    # Labels overlap in time and symbols move together; the data say how many outcomes are independent.
    overlap = known.height / effective_outcomes(known, "correct", overlap=float(horizon))
    return known, ConformalPredictor(level, replace(ConformalConfig(), overlap=overlap))


_COLUMNS: Sequence[str] = (
    "symbol",
    "ts",
    "regime",
    "direction",
    "raw_confidence",
    "confidence",
    "p0",
    "p1",
    "probability",
    "status",
    "lower",
    "upper",
    "label",
    "correct",
    "covered",
)


def with_side(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the side that ``p_up`` predicts, ``direction``, and what it states for it, ``raw_confidence``."""
    p_up = pl.col("p_up")
    return rows.with_columns(
        direction=pl.when(p_up >= 0.5).then(1).otherwise(-1).cast(pl.Int64),
        raw_confidence=pl.max_horizontal(p_up, 1.0 - p_up),
    )


def _prepared(predictions: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Rows in order of time, with the side predicted, whether it was right, and both clocks."""
    up = pl.col("p_up") >= 0.5
    return with_side(predictions.sort("ts", "symbol")).with_columns(
        correct=pl.when(pl.col("label").is_not_null()).then((pl.col("label") > 0) == up),
        # Decided when the bar closes; known at the label's end, and never to decisions before it.
        decided_at=(pl.col("ts") + bar).dt.epoch("us"),
        known_at=pl.col("label_end").fill_null(datetime.max).dt.epoch("us"),  # noqa: DTZ901  never
    )


def _walk_confidences(predictor: ConformalPredictor, rows: pl.DataFrame, split: Split) -> CalibratedRows:
    """Confidences of the test window, each from a calibration on what was known at most a week earlier."""
    memory = split.test.start - split.calibrate.start
    parts: list[CalibratedRows] = []
    start = split.test.start
    while start < split.test.end:
        end = min(start + _REFIT, split.test.end)
        _fit_confidences(predictor, rows, start, memory)
        block = rows.filter(pl.col("ts").is_between(start, end, closed="left"))
        parts.append(
            predictor.calibrate_rows(
                block["raw_confidence"].to_numpy(),
                block["regime"],
                block["p_changepoint"].to_numpy(),
                block["changed_at"].to_numpy(),
            )
        )
        start = end
    return CalibratedRows(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in CalibratedRows.__dataclass_fields__
        )
    )


def _fit_confidences(
    predictor: ConformalPredictor, rows: pl.DataFrame, now: datetime, memory: timedelta
) -> None:
    """Calibrate on the outcomes known at `now`; what a symbol's change has made doubtful counts less."""
    past = rows.filter(pl.col("ts") < now, pl.col("ts") >= now - memory)
    newest = past.group_by("symbol").agg(
        pl.col("p_changepoint").last().alias("p_now"), pl.col("changed_at").last().alias("changed_now")
    )
    possible = pl.col("raw_confidence").is_between(0.0, 1.0)  # anything else counts as missing
    known = (
        past.filter(pl.col("label_end") <= now, pl.col("label").is_not_null(), possible)
        .drop_nulls("regime")
        .join(newest, on="symbol", how="left", maintain_order="left")
    )
    old = known["decided_at"] <= known["changed_now"]
    weight = np.where(old, 1.0 - known["p_now"], 1.0)
    if not weight.any():
        return  # nothing new to learn from; the last calibration stands, and whoever is in doubt is unknown
    predictor.calibrate(
        known["raw_confidence"].to_numpy(),
        known["correct"].to_numpy(),
        known["regime"],
        weight=weight,
        decided_at=known["decided_at"].to_numpy(),
    )
