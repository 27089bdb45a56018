"""Is the calibration kept? Coverage and accuracy per regime, over time and by stated confidence.

Outcomes of neighbouring rows are dependent: labels overlap, and symbols share the market. Every proportion is
therefore reported with a Clopper-Pearson interval on its *effective* number of outcomes, estimated from the
long-run variance of the outcomes summed at each time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from engine.calibration.binomial import clopper_pearson
from engine.evaluation.bootstrap import effective_sample_size

__all__ = [
    "accuracy_above",
    "coverage_by_regime",
    "effective_outcomes",
    "reliability_table",
    "rolling_coverage",
    "worst_window",
]


def effective_outcomes(frame: pl.DataFrame, outcome: str, overlap: float = 1.0) -> float:
    """Count the independent outcomes that would pin down a proportion as well as these do.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``ts`` and `outcome` (boolean); several rows may share a ``ts``.
    outcome : str
        Name of the boolean column.
    overlap : float
        Rows per independent outcome known by construction (horizon in bars, times symbols that move as
        one); the estimate never exceeds ``n / overlap``.

    Returns
    -------
    float
        Between 1 and the number of rows; 0 for an empty frame.
    """
    n = frame.height
    if n == 0:
        return 0.0
    share = float(frame[outcome].to_numpy().mean())
    sums = frame.group_by("ts").agg((pl.col(outcome).cast(pl.Float64) - share).sum()).sort("ts")[outcome]
    at_most = min(float(n) / overlap, float(n))
    if share in (0.0, 1.0):
        return max(min(at_most, float(sums.len())), 1.0)
    spread = float(sums.to_numpy().var())
    if sums.len() < 2 or spread == 0.0:
        return 1.0
    variance = spread / effective_sample_size(sums.to_numpy()) * (sums.len() / n) ** 2
    return float(np.clip(share * (1.0 - share) / variance, 1.0, max(at_most, 1.0)))


def coverage_by_regime(
    frame: pl.DataFrame, level: float, *, overlap: float = 1.0, confidence: float = 0.95
) -> pl.DataFrame:
    """Share of outcomes covered, in each regime and in all.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``ts``, ``regime`` and ``covered`` (boolean); rows with a null are left out.
    level : float
        Coverage that was promised.
    overlap : float
        See `effective_outcomes`.
    confidence : float
        Of the two-sided interval.

    Returns
    -------
    polars.DataFrame
        Columns ``regime`` ("ALL" last), ``n``, ``effective``, ``coverage``, ``low``, ``high``, ``level`` and
        ``below``: whether even the high end misses the promise.
    """
    table = _proportions(frame, "covered", overlap, confidence).rename({"share": "coverage"})
    return table.with_columns(level=pl.lit(level), below=pl.col("high") < level)


def accuracy_above(
    frame: pl.DataFrame, threshold: float = 0.90, *, overlap: float = 1.0, confidence: float = 0.95
) -> pl.DataFrame:
    """Accuracy among the predictions whose stated confidence reaches `threshold`.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``ts``, ``regime``, ``stated`` (NaN or null where unknown) and ``correct`` (boolean).

    Returns
    -------
    polars.DataFrame
        Columns ``regime``, ``n``, ``effective``, ``accuracy``, ``low``, ``high``, ``threshold``, ``below``
        and ``reached``: the share of the regime's predictions that state so much.
    """
    rows = frame.filter(pl.col("regime").is_not_null() & pl.col("correct").is_not_null())
    everyone = pl.concat([rows, rows.with_columns(regime=pl.lit("ALL"))]) if rows.height else rows
    reached = everyone.group_by("regime").agg(
        (pl.col("stated").fill_nan(None).fill_null(-1.0) >= threshold).mean().alias("reached")
    )
    sure = rows.filter(pl.col("stated").fill_nan(None) >= threshold)
    table = _proportions(sure, "correct", overlap, confidence).rename({"share": "accuracy"})
    return table.with_columns(threshold=pl.lit(threshold), below=pl.col("high") < threshold).join(
        reached, on="regime", how="left", maintain_order="left"
    )


def _proportions(frame: pl.DataFrame, outcome: str, overlap: float, confidence: float) -> pl.DataFrame:
    rows = frame.select("ts", "regime", outcome).drop_nulls()
    parts = [(str(name), part) for (name,), part in rows.group_by("regime")]
    parts = [*sorted(parts, key=lambda item: item[0]), *([("ALL", rows)] if rows.height else [])]
    effective = np.array([effective_outcomes(part, outcome, overlap) for _, part in parts])
    share = np.array([part[outcome].mean() for _, part in parts], dtype=np.float64)
    low, high = clopper_pearson(share * effective, effective, confidence)
    return pl.DataFrame(
        {
            "regime": pl.Series([name for name, _ in parts], dtype=pl.String),
            "n": pl.Series([part.height for _, part in parts], dtype=pl.Int64),
            "effective": effective,
            "share": share,
            "low": low,
            "high": high,
        }
    )


def rolling_coverage(
    frame: pl.DataFrame, window: timedelta = timedelta(days=250), outcome: str = "covered"
) -> pl.DataFrame:
    """Coverage over each full window of days.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``ts`` and `outcome` (boolean); nulls are left out.
    window : timedelta
        Whole days.

    Returns
    -------
    polars.DataFrame
        Columns ``day`` (last of the window), ``coverage`` (null without a row in the window) and ``n``; no
        rows if the data span less than one window.
    """
    days = window // timedelta(days=1)
    if days < 1:
        raise ValueError(f"window={window} must be at least one day")
    rows = frame.select("ts", outcome).drop_nulls()
    daily = (
        rows.group_by(pl.col("ts").dt.truncate("1d").alias("day"))
        .agg(pl.col(outcome).cast(pl.Int64).sum().alias("hits"), pl.len().cast(pl.Int64).alias("n"))
        .sort("day")
    )
    if daily.height:
        daily = daily.upsample("day", every="1d").with_columns(pl.col("hits", "n").fill_null(0))
    return (
        daily.with_columns(pl.col("hits", "n").rolling_sum(days))
        .drop_nulls()
        .select(
            "day",
            pl.when(pl.col("n") > 0).then(pl.col("hits") / pl.col("n")).alias("coverage"),
            "n",
        )
    )


def worst_window(
    frame: pl.DataFrame, window: timedelta = timedelta(days=250), outcome: str = "covered", least: int = 100
) -> pl.DataFrame:
    """Lowest rolling coverage of each regime and of all.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``ts``, ``regime`` and `outcome` (boolean).
    window : timedelta
        Whole days.
    least : int
        Windows with fewer rows are not judged.

    Returns
    -------
    polars.DataFrame
        Columns ``regime`` ("ALL" last), ``day`` (last of the worst window), ``coverage`` and ``n``; a regime
        without a window to judge has nulls.
    """
    frame = frame.drop_nulls("regime")
    parts = [(str(name), part) for (name,), part in frame.group_by("regime")]
    schema: dict[str, Any] = {
        "regime": pl.String,
        "day": pl.Datetime("us"),
        "coverage": pl.Float64,
        "n": pl.Int64,
    }
    rows: list[dict] = []
    for name, part in [*sorted(parts, key=lambda item: item[0]), ("ALL", frame)]:
        judged = rolling_coverage(part, window, outcome).filter(pl.col("n") >= least)
        rows.append(
            {"regime": name} | (judged.sort("coverage", "day").row(0, named=True) if judged.height else {})
        )
    return pl.DataFrame(rows, schema=schema)


def reliability_table(
    frame: pl.DataFrame, *, bins: int = 10, overlap: float = 1.0, confidence: float = 0.95
) -> pl.DataFrame:
    """Stated against realised accuracy in equal bins of the stated confidence, for a reliability diagram.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``ts``, ``regime``, ``stated`` in [0, 1] (NaN or null where unknown: left out) and
        ``correct`` (boolean).
    bins : int
        Number of equal bins of [0, 1].

    Returns
    -------
    polars.DataFrame
        Columns ``regime`` ("ALL" last), ``bin_low``, ``bin_high``, ``n``, ``effective``, ``stated`` (mean),
        ``realised``, ``low``, ``high``; one row for each bin that holds a prediction.
    """
    rows = frame.with_columns(pl.col("stated").fill_nan(None)).drop_nulls(
        ["ts", "regime", "stated", "correct"]
    )
    rows = rows.with_columns(bin=(pl.col("stated") * bins).floor().clip(0, bins - 1).cast(pl.Int64))
    tables = []
    for (number,), part in rows.group_by("bin"):
        stated = (
            pl.concat([part, part.with_columns(regime=pl.lit("ALL"))])
            .group_by("regime")
            .agg(pl.col("stated").mean())
        )
        table = _proportions(part, "correct", overlap, confidence).rename({"share": "realised"})
        tables.append(
            table.join(stated, on="regime").with_columns(
                bin_low=pl.lit(number / bins),
                bin_high=pl.lit((number + 1) / bins),
            )
        )
    columns = ["regime", "bin_low", "bin_high", "n", "effective", "stated", "realised", "low", "high"]
    if not tables:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.Float64) | {"regime": pl.String, "n": pl.Int64})
    last = pl.col("regime") == "ALL"
    return pl.concat([t.select(columns) for t in tables]).sort(last, "regime", "bin_low")
