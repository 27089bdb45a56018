from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.feeds.formats.agreement import compare

START, HOUR = datetime(2024, 1, 1), timedelta(hours=1)


def line(n: int, factor: float = 1.0, start: int = 0, step: timedelta = HOUR) -> pl.DataFrame:
    stamps = [START + (start + k) * step for k in range(n)]
    return pl.DataFrame(
        {
            "ts": pl.Series(stamps, dtype=pl.Datetime("us")),
            "value": [factor * (100.0 + (start + k) % 17) for k in range(n)],
        }
    )


def test_equal_sources_agree() -> None:
    seen = compare(line(100), line(60, start=20), {"value": 1e-6})
    assert (seen.inside, seen.shared, seen.agreeing, seen.foreign) == (60, 60, 60, ())
    assert seen.same
    assert not seen.off_grid


def test_another_series_is_told_with_its_ratio() -> None:
    seen = compare(line(100), line(100, 1.5), {"value": 1e-6})
    assert not seen.same
    assert seen.apart["value"] == pytest.approx(1.5)


def test_sources_that_never_meet_are_not_judged() -> None:
    seen = compare(line(50), line(50, 3.0, start=80), {"value": 1e-6})
    assert (seen.inside, seen.shared) == (0, 0)
    assert seen.same


def test_shifted_stamps_are_off_the_grid() -> None:
    eight = line(100, step=8 * HOUR)
    seen = compare(eight, eight.with_columns(pl.col("ts") + 3 * HOUR), {"value": 1e-6})
    assert seen.off_grid
    assert not seen.same


def test_a_mean_over_a_longer_period_agrees() -> None:
    fine = line(240, step=4 * HOUR)
    daily = fine.group_by_dynamic("ts", every="1d").agg(pl.col("value").mean())
    assert compare(fine, daily, {"value": 1e-6}).agreeing == 40
    assert compare(daily, fine, {"value": 1e-6}).agreeing == 40
    assert not compare(fine, daily.with_columns(pl.col("value") * 6), {"value": 1e-6}).same


@settings(max_examples=60, deadline=None)
@given(st.integers(200, 400), st.integers(0, 400), st.integers(30, 90))
def test_a_foreign_stretch_is_found_to_the_row(n: int, first: int, length: int) -> None:
    last = min(first + length, n) - 1
    if last - first < 29:
        return
    stretch = pl.int_range(pl.len()).is_between(first, last)
    other = line(n).with_columns(
        pl.when(stretch).then(pl.col("value") * 1.001).otherwise(pl.col("value")).alias("value")
    )
    seen = compare(line(n), other, {"value": 1e-6})
    assert seen.same
    (found,) = seen.foreign
    assert (found.first, found.last) == (START + first * HOUR, START + last * HOUR)
    assert found.rows == found.unlike == last - first + 1


def test_single_rows_that_differ_are_no_stretch() -> None:
    every_tenth = pl.int_range(pl.len()) % 10 == 0
    other = line(300).with_columns(pl.when(every_tenth).then(1.0).otherwise(pl.col("value")).alias("value"))
    seen = compare(line(300), other, {"value": 1e-6})
    assert (seen.same, seen.agreeing, seen.foreign) == (True, 270, ())


def test_a_stretch_at_the_end_of_the_overlap_goes_on_to_the_end_of_the_source() -> None:
    other = line(300).with_columns(
        pl.when(pl.int_range(pl.len()) < 60)
        .then(pl.col("value") * 2)
        .otherwise(pl.col("value"))
        .alias("value")
    )
    better = line(250, start=30)
    (found,) = compare(better, other, {"value": 1e-6}).foreign
    assert (found.first, found.last, found.rows) == (START, START + 59 * HOUR, 60)
