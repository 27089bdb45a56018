from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.calibration.coverage import (
    accuracy_above,
    coverage_by_regime,
    effective_outcomes,
    reliability_table,
    rolling_coverage,
    worst_window,
)

START = datetime.fromisoformat("2024-01-01")


def hours(n: int, repeat: int = 1) -> pl.Series:
    stamps = pl.datetime_range(START, START + timedelta(hours=n - 1), "1h", eager=True, time_unit="us")
    return stamps.repeat_by(repeat).explode(empty_as_null=True).alias("ts")


def outcomes(n: int, rate: float, seed: int = 0, repeat: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    covered = rng.random(n * repeat) < rate
    return pl.DataFrame({"ts": hours(n, repeat), "regime": ["RANGE"] * n * repeat, "covered": covered})


def test_independent_outcomes_count_in_full():
    frame = outcomes(4000, 0.9)
    assert effective_outcomes(frame, "covered") == pytest.approx(4000, rel=0.1)


def test_symbols_that_move_as_one_count_once():
    one = outcomes(2000, 0.9)
    eight = pl.concat([one] * 8)
    assert effective_outcomes(eight, "covered") == pytest.approx(effective_outcomes(one, "covered"), rel=1e-6)


def test_independent_symbols_count_each():
    assert effective_outcomes(outcomes(1000, 0.9, repeat=8), "covered") == pytest.approx(8000, rel=0.15)


def test_overlapping_labels_count_by_their_overlap():
    rng = np.random.default_rng(1)
    blocks = np.repeat(rng.random(1500) < 0.9, 12)
    frame = pl.DataFrame({"ts": hours(blocks.size), "covered": blocks})
    assert effective_outcomes(frame, "covered") == pytest.approx(1500, rel=0.25)


def test_overlap_named_by_the_caller_is_a_ceiling():
    all_covered = pl.DataFrame({"ts": hours(480), "covered": [True] * 480})
    assert effective_outcomes(all_covered, "covered") == 480
    assert effective_outcomes(all_covered, "covered", overlap=24) == 20
    assert effective_outcomes(all_covered.head(0), "covered") == 0
    assert effective_outcomes(all_covered.head(1), "covered") == 1


def test_interval_holds_for_dependent_outcomes():
    """95 % intervals of a process with runs of 10 contain the truth; independent ones would not."""
    inside = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        covered = np.repeat(rng.random(300) < 0.9, 10)
        frame = pl.DataFrame({"ts": hours(3000), "regime": ["RANGE"] * 3000, "covered": covered})
        row = coverage_by_regime(frame, 0.9).row(0, named=True)
        inside.append(row["low"] <= 0.9 <= row["high"])
    assert np.mean(inside) >= 0.91


def test_coverage_by_regime_tells_a_missed_promise():
    good = outcomes(3000, 0.92)
    bad = outcomes(3000, 0.70, seed=1).with_columns(regime=pl.lit("PANIC"))
    nothing = outcomes(5, 0.5).with_columns(regime=pl.lit(None, pl.String))
    table = coverage_by_regime(pl.concat([good, bad, nothing]), 0.9)
    assert table["regime"].to_list() == ["PANIC", "RANGE", "ALL"]
    assert table["n"].to_list() == [3000, 3000, 6000]
    assert table["below"].to_list() == [True, False, True]
    assert table["coverage"][0] == bad["covered"].mean()
    assert coverage_by_regime(good.head(0), 0.9).height == 0


def test_accuracy_is_judged_where_much_is_stated():
    frame = pl.DataFrame(
        {
            "ts": hours(2000),
            "regime": ["TREND"] * 1000 + ["PANIC"] * 1000,
            "stated": [0.95] * 500 + [0.6] * 500 + [0.91] * 400 + [np.nan] * 600,
            "correct": [True] * 490 + [False] * 510 + [True, False] * 200 + [False] * 600,
        }
    )
    table = {row["regime"]: row for row in accuracy_above(frame).to_dicts()}
    assert list(table) == ["PANIC", "TREND", "ALL"]
    assert (table["TREND"]["n"], table["TREND"]["accuracy"], table["TREND"]["reached"]) == (500, 0.98, 0.5)
    assert (table["PANIC"]["accuracy"], table["PANIC"]["below"], table["PANIC"]["reached"]) == (
        0.5,
        True,
        0.4,
    )
    assert not table["TREND"]["below"]


def test_rolling_coverage_by_hand():
    covered = [True] * 24 + [False] * 12 + [True] * 12 + [False] * 24
    frame = pl.DataFrame({"ts": hours(72), "covered": covered})
    rolling = rolling_coverage(frame, timedelta(days=2))
    assert rolling["coverage"].to_list() == [0.75, 0.25]
    assert rolling["day"].to_list() == [
        datetime.fromisoformat("2024-01-02"),
        datetime.fromisoformat("2024-01-03"),
    ]
    assert rolling["n"].to_list() == [48, 48]
    assert rolling_coverage(frame, timedelta(days=4)).height == 0
    with pytest.raises(ValueError, match="one day"):
        rolling_coverage(frame, timedelta(hours=2))


def test_days_without_rows_do_not_stretch_the_window():
    frame = pl.DataFrame(
        {
            "ts": [datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2024-01-10")],
            "covered": [True, False],
        },
        schema_overrides={"ts": pl.Datetime("us")},
    )
    rolling = rolling_coverage(frame, timedelta(days=3))
    assert rolling.height == 8
    assert rolling["n"].to_list() == [1, 0, 0, 0, 0, 0, 0, 1]
    assert rolling["coverage"].to_list() == [1.0, None, None, None, None, None, None, 0.0]


def test_worst_window_finds_the_bad_stretch_that_the_average_hides():
    n = 24 * 400
    bad = (np.arange(n) >= 24 * 200) & (np.arange(n) < 24 * 230)
    covered = np.random.default_rng(0).random(n) < np.where(bad, 0.3, 0.95)
    frame = pl.DataFrame({"ts": hours(n), "regime": ["RANGE"] * n, "covered": covered})
    worst = worst_window(frame, timedelta(days=30))
    assert worst["regime"].to_list() == ["RANGE", "ALL"]
    assert frame["covered"].mean() > 0.89
    assert worst["coverage"][1] == pytest.approx(0.3, abs=0.05)
    assert abs((worst["day"][1] - (START + timedelta(days=229))).days) <= 1
    unjudged = worst_window(frame, timedelta(days=500))
    assert unjudged["coverage"].to_list() == [None, None]


def test_reliability_table_of_a_calibrated_and_of_a_boastful_model():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.5, 1, 20_000)
    frame = pl.DataFrame({"ts": hours(20_000), "regime": ["TREND"] * 20_000, "stated": stated})
    honest = reliability_table(frame.with_columns(correct=pl.Series(rng.random(20_000) < stated)))
    everyone = honest.filter(pl.col("regime") == "ALL")
    assert everyone["bin_low"].to_list() == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert everyone["n"].sum() == 20_000
    assert (everyone["stated"] - everyone["realised"]).abs().max() < 0.02
    assert (everyone["low"] <= everyone["stated"]).all()
    boastful = reliability_table(frame.with_columns(correct=pl.Series(rng.random(20_000) < 0.6)))
    assert boastful.filter(pl.col("bin_low") >= 0.89)["high"].max() < 0.7
    assert reliability_table(frame.head(0).with_columns(correct=pl.lit(True))).height == 0
