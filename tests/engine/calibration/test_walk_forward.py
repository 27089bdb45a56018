from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.calibration.report import coverage_report
from engine.calibration.walk_forward import calibrate_fold
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Split, walk_forward

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
HORIZON = 4


def split_of(days: int) -> Split:
    (split,) = walk_forward(
        START,
        START + timedelta(days=days),
        train=timedelta(days=10),
        calibrate=timedelta(days=days // 2),
        test=timedelta(days=days - days // 2 - 12),
        horizon=(HORIZON + 1) * HOUR,
    )
    return split


def predictions(days: int, seed: int = 1, skill: float = 0.3) -> pl.DataFrame:
    """One symbol; the label is right with probability 0.5 + skill where the model is sure."""
    rng = np.random.default_rng(seed)
    n = 24 * days
    ts = [START + i * HOUR for i in range(n)]
    p_up = rng.uniform(0.2, 0.8, n)
    up = rng.uniform(size=n) < 0.5 + np.sign(p_up - 0.5) * skill
    label = np.where(up, 1, -1) * np.abs(rng.normal(0, 0.01, n))
    return pl.DataFrame(
        {
            "symbol": "A/USDT",
            "ts": ts,
            "regime": np.where(np.arange(n) % 48 < 24, "RANGE", "TREND"),
            "p_up": p_up,
            "q10": -0.012,
            "q90": 0.012,
            "scale": 0.01,
            "label": label,
            "label_end": [t + (HORIZON + 1) * HOUR for t in ts],
        }
    ).with_columns(pl.col("ts", "label_end").cast(pl.Datetime("us")))


def test_only_the_test_window_is_predicted() -> None:
    split = split_of(120)
    fold = calibrate_fold(predictions(120), split, HOUR, HORIZON)
    assert fold.rows["ts"].min() == split.test.start
    assert fold.rows["ts"].max() < split.test.end
    assert fold.rows["status"].unique().to_list() == ["ok"]


def test_intervals_cover_and_confidence_is_a_lower_bound() -> None:
    fold = calibrate_fold(predictions(400), split_of(400), HOUR, HORIZON)
    assert 0.87 < fold.rows["covered"].mean() < 0.93
    assert fold.rows["confidence"].max() <= 0.8
    assert fold.rows["confidence"].mean() > 0.7


def test_an_outcome_teaches_nothing_before_it_is_known() -> None:
    """Labels that end after the cut may be anything: decisions up to the cut stay as they were."""
    split = split_of(120)
    rows = predictions(120)
    cut = split.test.start + 200 * HOUR
    changed = rows.with_columns(
        label=pl.when(pl.col("label_end") > cut).then(pl.col("label") * 50.0).otherwise("label")
    )
    past = pl.col("ts") + HOUR <= cut
    columns = ["ts", "confidence", "lower", "upper"]
    one = calibrate_fold(rows, split, HOUR, HORIZON).rows.filter(past).select(columns)
    other = calibrate_fold(changed, split, HOUR, HORIZON).rows.filter(past).select(columns)
    assert one.height == 200
    assert one.equals(other)


def test_unknown_labels_stay_unknown() -> None:
    rows = predictions(120).with_columns(
        label=pl.when(pl.col("ts") < START + timedelta(days=115)).then("label"),
        label_end=pl.when(pl.col("ts") < START + timedelta(days=115)).then("label_end"),
    )
    fold = calibrate_fold(rows, split_of(120), HOUR, HORIZON)
    late = fold.rows.filter(pl.col("ts") >= START + timedelta(days=115))
    assert late.height > 0
    assert late["correct"].null_count() == late["covered"].null_count() == late.height
    assert late["confidence"].null_count() == 0


def test_a_calibration_window_without_outcomes_is_refused() -> None:
    split = split_of(120)
    rows = predictions(120).filter(pl.col("ts") >= split.test.start)
    with pytest.raises(NotEnoughDataError, match="fold 0"):
        calibrate_fold(rows, split, HOUR, HORIZON)


def test_the_report_has_each_promise_once() -> None:
    rows = calibrate_fold(predictions(120), split_of(120), HOUR, HORIZON).rows
    report = coverage_report(rows, 0.9, timedelta(days=20), float(HORIZON))
    assert report.select("regime", "measure").is_duplicated().sum() == 0
    covered = report.filter(
        (pl.col("measure") == "coverage of 90% intervals") & (pl.col("regime") == "RANGE")
    )
    assert covered["value"][0] == rows.filter(pl.col("regime") == "RANGE")["covered"].mean()
    assert covered["low"][0] < covered["value"][0] < covered["high"][0]
    worst = report.filter((pl.col("measure") == "coverage, worst 20 days") & (pl.col("regime") == "ALL"))
    assert worst["value"][0] <= rows["covered"].mean()
