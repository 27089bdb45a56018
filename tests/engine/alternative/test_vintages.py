"""Vintages: what a second reading adds, and that it changes nothing that was known before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.alternative.series import SERIES
from engine.alternative.vintages import OBSERVATION_SCHEMA, first_known, new_vintages
from engine.errors import DataError

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime.fromisoformat("2025-03-01")
NOW = START + 30 * DAY


def observed(*rows: tuple[int, int, float | None]) -> pl.DataFrame:
    """Rows (day of the period, hour since the start at which it became known, value) of one series."""
    return pl.DataFrame(
        [
            ("exchange_inflow", "BTC/USDT", START + day * DAY, START + hour * HOUR, v, "x")
            for day, hour, v in rows
        ],
        schema=OBSERVATION_SCHEMA,
        orient="row",
    )


def plain(frame: pl.DataFrame) -> list[tuple[int, float, float | None]]:
    return [
        ((ts - START) // DAY, (known - START) / HOUR, value)
        for _, _, ts, known, value, _ in frame.iter_rows()
    ]


NOTHING = observed()
NOW_HOURS = 720.0


class TestFirstKnown:
    def test_history_is_known_at_its_declared_moment(self) -> None:
        assert first_known(START, SERIES["commits"], START + 10 * DAY) == START + DAY

    def test_a_fresh_value_was_not_known_before_it_was_read(self) -> None:
        read_at = START + 2 * DAY
        assert first_known(START, SERIES["commits"], read_at) == read_at

    @pytest.mark.parametrize(("days", "fresh"), [(4, True), (4.001, False)])
    def test_fresh_lasts_as_long_as_the_series_says(self, days: float, fresh: bool) -> None:
        read_at = START + days * DAY
        assert first_known(START, SERIES["commits"], read_at) == (read_at if fresh else START + DAY)

    def test_a_value_read_before_its_publication_waits_for_it(self) -> None:
        assert first_known(START, SERIES["commits"], START + HOUR) == START + DAY


class TestNewVintages:
    def test_new_periods_keep_their_moment(self) -> None:
        fetched = observed((1, 48, 2.0), (0, 24, 1.0))
        assert plain(new_vintages(NOTHING, fetched, NOW)) == [(0, 24, 1.0), (1, 48, 2.0)]

    def test_the_same_reading_twice_adds_nothing(self) -> None:
        stored = observed((0, 24, 1.0), (1, 48, 2.0))
        assert new_vintages(stored, stored, NOW).is_empty()

    def test_the_same_value_with_another_moment_adds_nothing(self) -> None:
        assert new_vintages(observed((0, 24, 1.0)), observed((0, 30, 1.0)), NOW).is_empty()
        assert new_vintages(observed((0, 30, 1.0)), observed((0, 24, 1.0)), NOW).is_empty()

    def test_an_undated_revision_becomes_known_when_it_is_read(self) -> None:
        got = new_vintages(observed((0, 24, 1.0)), observed((0, 24, 1.5)), NOW)
        assert plain(got) == [(0, NOW_HOURS, 1.5)]

    def test_a_dated_revision_keeps_its_date(self) -> None:
        got = new_vintages(observed((0, 24, 1.0)), observed((0, 24, 1.0), (0, 50, 1.5)), NOW)
        assert plain(got) == [(0, 50, 1.5)]

    def test_a_value_that_returns_to_an_earlier_one_is_a_revision(self) -> None:
        stored = observed((0, 24, 1.0), (0, 50, 1.5))
        assert plain(new_vintages(stored, observed((0, 24, 1.0)), NOW)) == [(0, NOW_HOURS, 1.0)]
        assert new_vintages(stored, observed((0, 24, 1.0), (0, 50, 1.5)), NOW).is_empty()

    def test_vintages_that_repeat_their_value_are_left_out(self) -> None:
        fetched = observed((0, 24, 1.0), (0, 30, 1.0), (0, 40, 2.0), (0, 50, 2.0), (0, 60, 1.0))
        assert plain(new_vintages(NOTHING, fetched, NOW)) == [(0, 24, 1.0), (0, 40, 2.0), (0, 60, 1.0)]

    def test_a_revision_is_later_than_a_row_known_only_later_than_now(self) -> None:
        got = new_vintages(observed((0, 24, 1.0)), observed((0, 24, 1.5)), START + HOUR)
        assert plain(got)[0][1] > 24

    def test_a_missing_value_is_a_value(self) -> None:
        stored = observed((0, 24, None))
        assert new_vintages(stored, stored, NOW).is_empty()
        assert plain(new_vintages(stored, observed((0, 24, 3.0)), NOW)) == [(0, NOW_HOURS, 3.0)]
        assert plain(new_vintages(observed((0, 24, 3.0)), stored, NOW)) == [(0, NOW_HOURS, None)]

    def test_not_a_number_equals_itself(self) -> None:
        stored = observed((0, 24, float("nan")))
        assert new_vintages(stored, stored, NOW).is_empty()

    def test_series_and_symbols_are_apart(self) -> None:
        stored = observed((0, 24, 1.0))
        other = stored.with_columns(symbol=pl.lit("ETH/USDT"))
        third = stored.with_columns(series=pl.lit("exchange_outflow"), value=pl.lit(9.0))
        got = new_vintages(stored, pl.concat([third, other, stored]), NOW)
        assert got.equals(pl.concat([other, third]))

    def test_equal_rows_in_one_reading_count_once(self) -> None:
        row = observed((0, 24, 1.0))
        assert new_vintages(NOTHING, pl.concat([row, row]), NOW).equals(row)

    def test_one_key_with_two_values_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"exchange_inflow of BTC/USDT.*two values"):
            new_vintages(NOTHING, observed((0, 24, 1.0), (0, 24, 2.0)), NOW)

    @pytest.mark.parametrize("name", ["stored", "fetched"])
    def test_a_missing_column_is_named(self, name: str) -> None:
        frames = {"stored": NOTHING, "fetched": NOTHING} | {name: NOTHING.drop("value")}
        with pytest.raises(DataError, match=rf"{name}, column 'value': missing"):
            new_vintages(frames["stored"], frames["fetched"], NOW)


def as_of(frame: pl.DataFrame, day: int, moment: datetime) -> Any:
    known = frame.filter((pl.col("ts") == START + day * DAY) & (pl.col("available_at") <= moment))
    return known.sort("available_at")["value"].last() if known.height else None


readings = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([1.0, 2.0, 3.0])),
    max_size=12,
    unique_by=lambda row: row[:2],
)


@settings(max_examples=40, deadline=None)
@given(readings, readings)
def test_a_second_reading_changes_no_answer_of_the_past(
    first: list[tuple[int, int, float]], second: list[tuple[int, int, float]]
) -> None:
    stored = new_vintages(NOTHING, observed(*first), NOW)
    added = new_vintages(stored, observed(*second), NOW)
    both = pl.concat([stored, added])
    key = ["series", "symbol", "ts", "available_at"]
    assert both.n_unique(key) == both.height
    for day in range(4):
        of_day = stored.filter(pl.col("ts") == START + day * DAY)["available_at"].to_list()
        for hour in range(6):
            moment = START + hour * HOUR
            if of_day and max(of_day) >= moment:
                assert as_of(both, day, moment) == as_of(stored, day, moment)
        # The last thing that a source says of a period is what is believed of it from now on.
        claims = {known: value for period, known, value in second if period == day}
        if claims:
            assert as_of(both, day, NOW) == claims[max(claims)]
