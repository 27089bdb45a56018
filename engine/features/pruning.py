"""Prune features in steps, each kept only if a paired retest on later data stands it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import NotEnoughDataError
from engine.evaluation.bootstrap import long_run_variance
from engine.features.shap_analyzer import SHAPAnalyzer, ShapReport

__all__ = ["Pruning", "PruningStep", "prune"]

Floats = NDArray[np.float64]
_LEAST_DAYS = 20


@dataclass(frozen=True)
class PruningStep:
    """One attempt: the features dropped, and how much the loss rose on days that chose nothing.

    ``rise`` is the mean daily difference of the loss per row, ``error`` its standard error; the step stands
    where the rise does not exceed the error.
    """

    dropped: tuple[str, ...]
    rise: float
    error: float
    stands: bool


@dataclass(frozen=True)
class Pruning:
    """The features that are left, the steps that led there, and the report of the model on all of them."""

    kept: tuple[str, ...]
    steps: tuple[PruningStep, ...]
    report: ShapReport


def prune(
    rows: pl.DataFrame,
    features: Sequence[str],
    fit: Callable[[pl.DataFrame, Sequence[str]], Any],
    losses: Callable[[Any, pl.DataFrame], Floats],
    analyzer: SHAPAnalyzer | None = None,
    *,
    step_share: float = 0.5,
    least_features: int = 5,
) -> Pruning:
    """Drop noise and copies of a model's features, inside its training window.

    The window is cut in time, labels of one part known before the next begins: fit on the first 60 %,
    explain the next 20 %, retest on the last 20 %. Each step drops the weaker part of what the analysis calls
    noise or a copy, fits anew, and compares the losses of both models day by day. The first step after which
    the loss rises by more than its standard error is undone, and ends the pruning. While a regime has too few
    rows to be judged only copies are dropped: what looks like noise may be what that regime needs.

    Parameters
    ----------
    rows : DataFrame
        ``ts, label, label_end, regime`` and the features; rows of one training window, labels known by its
        end.
    features : sequence of str
        To begin with.
    fit : callable
        Fits a model on rows and features.
    losses : callable
        Loss of each row under a model, such as its log loss.
    analyzer : SHAPAnalyzer, optional
        Judges the features.
    step_share : float
        Share of the candidates that one step drops, at least one feature.
    least_features : int
        Never fewer than this.

    Returns
    -------
    Pruning

    Raises
    ------
    ValueError
        If `step_share` is not in (0, 1] or `least_features` below 1.
    NotEnoughDataError
        If the retest has fewer than 20 days.

    References
    ----------
    Verhaeghe et al. (2023), powershap, for judging noise by its Shapley values out of sample.
    """
    if not 0.0 < step_share <= 1.0 or least_features < 1:
        raise ValueError(
            f"step_share = {step_share} must be in (0, 1] and least_features = {least_features} at least 1"
        )
    analyzer = analyzer or SHAPAnalyzer()
    early, explained, retest = _parts(rows, (0.6, 0.8))
    kept = tuple(features)
    model = fit(early, kept)
    report = first = _explain(analyzer, model, explained)
    loss = losses(model, retest)
    steps: list[PruningStep] = []
    while True:
        dropped = _weakest(report, step_share, len(kept) - least_features)
        if not dropped:
            break
        fewer = tuple(name for name in kept if name not in dropped)
        candidate = fit(early, fewer)
        candidate_loss = losses(candidate, retest)
        rise, error = _paired(retest["ts"], candidate_loss - loss)
        steps.append(PruningStep(dropped, rise, error, stands=rise <= error))
        if rise > error:
            break
        kept, loss, report = fewer, candidate_loss, _explain(analyzer, candidate, explained)
    return Pruning(kept, tuple(steps), first)


def _parts(
    rows: pl.DataFrame, shares: tuple[float, float]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Three parts in time; rows whose label ends after the next part begins are left out."""
    rows = rows.filter(pl.col("label").is_finite()).sort("ts")
    moments = rows["ts"].unique().sort()
    if len(moments) < 3:
        raise NotEnoughDataError(
            f"{len(moments)} labelled moments in the training window cannot be cut in three"
        )
    second, third = (moments[int(share * len(moments))] for share in shares)
    early = rows.filter(pl.col("label_end") <= second)
    explained = rows.filter((pl.col("ts") >= second) & (pl.col("label_end") <= third))
    return early, explained, rows.filter(pl.col("ts") >= third)


def _explain(analyzer: SHAPAnalyzer, model: Any, rows: pl.DataFrame) -> ShapReport:
    outcome = (rows["label"] > 0).cast(pl.Float64).to_numpy()
    return analyzer.analyze_features(model, rows, outcome, rows["regime"].to_list())


def _weakest(report: ShapReport, step_share: float, room: int) -> tuple[str, ...]:
    """Candidates with the smallest shares, noise and copies alike."""
    candidates = {*report.copies, *(() if report.unjudged else report.noise_features)}
    largest = report.shares.group_by("feature").agg(pl.col("share").max())
    ordered = [
        name
        for name, _ in sorted(largest.iter_rows(), key=lambda row: (row[1], row[0]))
        if name in candidates
    ]
    count = min(max(1, round(step_share * len(ordered))), room)
    return tuple(ordered[: max(count, 0)])


def _paired(ts: pl.Series, difference: Floats) -> tuple[float, float]:
    """Mean of the daily differences and its standard error, days being dependent."""
    days = (
        pl.DataFrame({"day": ts.dt.truncate("1d"), "difference": difference})
        .group_by("day")
        .agg(pl.col("difference").mean())
        .sort("day")["difference"]
        .to_numpy()
    )
    if len(days) < _LEAST_DAYS:
        raise NotEnoughDataError(f"{len(days)} days to retest on; {_LEAST_DAYS} are needed")
    return float(days.mean()), float(np.sqrt(max(long_run_variance(days), 0.0) / len(days)))
