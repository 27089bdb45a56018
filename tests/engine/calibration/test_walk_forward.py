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


COLUMNS = ["ts", "confidence", "p0", "p1", "status", "lower", "upper"]


def test_without_a_detector_or_below_its_alarm_nothing_changes() -> None:
    split, rows = split_of(120), predictions(120)
    without = calibrate_fold(rows, split, HOUR, HORIZON).rows
    quiet = calibrate_fold(rows.with_columns(p_changepoint=0.1), split, HOUR, HORIZON).rows
    assert without.equals(quiet)


FOREVER = timedelta(days=4_000)


def test_an_alarm_counts_for_a_day() -> None:
    split, rows = split_of(120), predictions(120)
    at = split.test.start + 100 * HOUR
    alarmed = rows.with_columns(p_changepoint=pl.when(pl.col("ts") == at).then(0.95).otherwise(0.0))
    quiet, told = (calibrate_fold(r, split, HOUR, HORIZON).rows for r in (rows, alarmed))
    unknown = told.filter(pl.col("status") == "unknown")["ts"].sort()
    assert unknown.to_list() == [at + i * HOUR for i in range(25)]
    later = pl.col("ts") > at + 24 * HOUR
    assert told.filter(later)["confidence"].equals(quiet.filter(later)["confidence"])


def test_a_change_point_makes_its_symbol_unknown_until_enough_outcomes_are_known() -> None:
    split = split_of(400)
    at = split.test.start + 20 * 24 * HOUR
    both = [predictions(400, seed).with_columns(symbol=pl.lit(name)) for seed, name in ((1, "A"), (2, "B"))]
    rows = pl.concat(both).with_columns(
        p_changepoint=pl.when((pl.col("symbol") == "A") & pl.col("ts").is_between(at, at + 5 * HOUR))
        .then(0.9)
        .otherwise(0.05)
    )
    quiet = calibrate_fold(rows.drop("p_changepoint"), split, HOUR, HORIZON).rows
    told = calibrate_fold(rows, split, HOUR, HORIZON, memory=FOREVER).rows
    assert told.filter(pl.col("ts") < at).equals(quiet.filter(pl.col("ts") < at))
    after = told.filter(pl.col("ts").is_between(at, at + 3 * 24 * HOUR))
    assert after.filter(pl.col("symbol") == "A")["confidence"].null_count() == after.height // 2
    assert after.filter(pl.col("symbol") == "B")["confidence"].null_count() == 0
    width = pl.col("upper") - pl.col("lower")
    for name, wider in (("A", True), ("B", False)):
        first = (pl.col("symbol") == name) & pl.col("ts").is_between(at, at + 2 * HOUR)
        grown = told.filter(first).select(width).to_series() > quiet.filter(first).select(width).to_series()
        assert grown.all() if wider else not grown.any()
    assert told.filter(pl.col("symbol") == "A")["status"][-1] == "ok"


def test_a_detector_that_is_not_there_yet_makes_careful() -> None:
    split, rows = split_of(120), predictions(120)
    at = split.test.start + 100 * HOUR
    gone = rows.with_columns(p_changepoint=pl.when(pl.col("ts") != at).then(0.0))
    told = calibrate_fold(gone, split, HOUR, HORIZON).rows
    assert told.filter(pl.col("ts") == at)["status"].to_list() == ["unknown"]


def test_no_outcome_and_no_alarm_counts_before_it_is_known() -> None:
    split = split_of(120)
    rows = predictions(120).with_columns(
        p_changepoint=pl.when(pl.col("ts") == START + 80 * 24 * HOUR).then(0.9).otherwise(0.0)
    )
    cut = split.test.start + 500 * HOUR
    changed = rows.with_columns(
        label=pl.when(pl.col("label_end") > cut).then(pl.col("label") * -50.0).otherwise("label"),
        p_changepoint=pl.when(pl.col("ts") + HOUR > cut).then(1.0).otherwise("p_changepoint"),
    )
    past = pl.col("ts") + HOUR <= cut
    one, other = (calibrate_fold(r, split, HOUR, HORIZON).rows.filter(past) for r in (rows, changed))
    assert one.select(COLUMNS).equals(other.select(COLUMNS))


def test_confidence_learns_inside_the_test_window() -> None:
    """A model that loses its skill after the calibration: what is stated follows within the window."""
    split = split_of(400)
    good, bad = predictions(400), predictions(400, skill=0.0)
    lost = pl.col("ts") >= split.test.start
    rows = pl.concat([good.filter(~lost), bad.filter(lost)])
    stated = calibrate_fold(rows, split, HOUR, HORIZON).rows
    early = stated.filter(pl.col("ts") < split.test.start + 7 * 24 * HOUR)["probability"].mean()
    late = stated.filter(pl.col("ts") >= split.test.end - 30 * 24 * HOUR)["probability"].mean()
    assert early > 0.75
    assert late < early - 0.05


def test_probabilities_hold_in_the_test_window() -> None:
    rows = calibrate_fold(predictions(400), split_of(400), HOUR, HORIZON).rows
    assert abs(rows["probability"].mean() - rows["correct"].mean()) < 0.03
    assert (rows["p0"] <= rows["probability"]).all()
    assert (rows["probability"] <= rows["p1"]).all()


def test_an_impossible_future_disturbs_no_past() -> None:
    """As the lookahead check does it: what comes after the cut may be anything, also no probability."""
    split = split_of(120)
    rows = predictions(120).with_columns(p_changepoint=0.05)
    cut = split.test.start + 200 * HOUR
    after = pl.col("ts") >= cut
    wild = rows.with_columns(
        pl.when(after).then(pl.col("p_up") * 9.0).otherwise("p_up").alias("p_up"),
        pl.when(after).then(7.0).otherwise("p_changepoint").alias("p_changepoint"),
    )
    one, other = (
        calibrate_fold(r, split, HOUR, HORIZON).rows.filter(~after).select(COLUMNS) for r in (rows, wild)
    )
    assert one.equals(other)


def test_after_a_change_the_new_outcomes_decide_what_is_stated() -> None:
    """Skill is lost at a change: told of it, the calibration leaves the old outcomes behind sooner."""
    split = split_of(400)
    at = split.test.start + 20 * 24 * HOUR
    before = pl.col("ts") < at
    rows = pl.concat([predictions(400).filter(before), predictions(400, skill=0.0).filter(~before)])
    told = rows.with_columns(p_changepoint=pl.when(pl.col("ts") == at).then(0.95).otherwise(0.0))
    late = pl.col("ts").is_between(at + 90 * 24 * HOUR, at + 120 * 24 * HOUR)
    stated, untold = (
        calibrate_fold(r, split, HOUR, HORIZON, memory=FOREVER).rows.filter(late)["probability"]
        for r in (told, rows)
    )
    assert stated.null_count() == 0
    assert stated.mean() < untold.mean() - 0.03
