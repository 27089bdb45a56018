"""One table of every promise and what came of it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.calibration.coverage import accuracy_above, coverage_by_regime, worst_window

__all__ = ["coverage_report"]

_COLUMNS = ("position", "regime", "measure", "promised", "value", "low", "high", "count")
_STATED = (0.90, 0.70, 0.60, 0.55)


def coverage_report(rows: pl.DataFrame, level: float, window: timedelta, overlap: float) -> pl.DataFrame:
    """Gather coverage by regime, coverage of the worst window, and accuracy where much was stated.

    Parameters
    ----------
    rows : DataFrame
        Calibrated predictions: ``ts, regime, confidence, correct, covered``.
    level : float
        Coverage promised by the intervals.
    window : timedelta
        Length of the rolling window; a history shorter than that has no worst one.
    overlap : float
        Rows per independent outcome known by construction: the horizon in bars.

    Returns
    -------
    DataFrame
        ``position, regime, measure, promised, value, low, high, count``; one row per regime and measure.
    """
    judged = rows.drop_nulls(["regime", "covered"])
    percent = f"{level:.0%}"
    covered = coverage_by_regime(judged, level, overlap=overlap).select(
        "regime",
        measure=pl.lit(f"coverage of {percent} intervals"),
        promised=pl.lit(level),
        value="coverage",
        low="low",
        high="high",
        count="n",
    )
    worst = worst_window(judged, window).select(
        "regime",
        measure=pl.lit(f"coverage, worst {window.days} days"),
        promised=pl.lit(None, pl.Float64),
        value="coverage",
        low=pl.lit(None, pl.Float64),
        high=pl.lit(None, pl.Float64),
        count=pl.col("n").fill_null(0),
    )
    stated = rows.select("ts", "regime", "correct", stated="confidence")
    truths = [
        accuracy_above(stated, threshold, overlap=overlap).select(
            "regime",
            measure=pl.lit(f"right where {threshold:.0%} or more is stated"),
            promised=pl.lit(threshold),
            value="accuracy",
            low="low",
            high="high",
            count="n",
        )
        for threshold in _STATED
    ]
    return (
        pl.concat([covered, worst, *truths], how="vertical_relaxed")
        .with_row_index("position")
        .with_columns(pl.col("position", "count").cast(pl.Int64))
        .select(_COLUMNS)
    )
