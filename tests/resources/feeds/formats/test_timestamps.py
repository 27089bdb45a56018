from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from resources.feeds.formats.timestamps import (
    bar_of,
    from_epoch,
    from_text,
    mixed_units,
    now_utc,
    refuse_future,
    to_utc,
)


def rows(n: int) -> pl.Series:
    return pl.Series("row", range(2, n + 2))


moments = st.datetimes(datetime(2009, 1, 2), datetime(2099, 12, 30)).map(lambda t: t.replace(microsecond=0))


@given(st.lists(st.tuples(moments, st.sampled_from([1, 10**3, 10**6, 10**9])), min_size=1, max_size=40))
def test_every_row_is_read_in_its_own_unit(stamped: list[tuple[datetime, int]]) -> None:
    seconds = [int(t.replace(tzinfo=UTC).timestamp()) for t, _ in stamped]
    numbers = pl.Series([s * scale for s, (_, scale) in zip(seconds, stamped, strict=True)], dtype=pl.Int64)
    read, counts = from_epoch(numbers, rows(len(stamped)), "f.csv")
    assert read.to_list() == [t for t, _ in stamped]
    assert sum(counts.values()) == len(stamped)


def test_floats_are_read_like_integers() -> None:
    read, counts = from_epoch(pl.Series([1605855600.0, 1609286400000.0]), rows(2), "f.csv")
    assert read.to_list() == [datetime(2020, 11, 20, 7), datetime(2020, 12, 30)]
    assert counts == {"s": 1, "ms": 1}


@pytest.mark.parametrize("value", [0, 20240101, 1_600_000_000_000_000_000_000.0, -1_600_000_000])
def test_a_number_that_is_no_time_is_refused_with_its_row(value: float) -> None:
    numbers = pl.Series([1_600_000_000, value], dtype=pl.Float64)
    with pytest.raises(DataError, match="between 2009 and 2100") as error:
        from_epoch(numbers, rows(2), "f.csv")
    assert (error.value.row, error.value.source) == (3, "f.csv")


def test_only_a_mixture_is_reported() -> None:
    stamps = pl.Series([datetime(2024, 1, 2), datetime(2024, 1, 1)], dtype=pl.Datetime("us"))
    assert mixed_units({"ms": 2}, "raw.candles", "BTC/USDT", stamps) == ()
    (finding,) = mixed_units({"s": 5, "ms": 2}, "raw.candles", "BTC/USDT", stamps)
    assert (finding.kind, finding.count, finding.first) == ("timestamp_unit", 2, datetime(2024, 1, 1))
    assert finding.detail == "5 rows in s, 2 rows in ms"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-12-30 00:00:00", datetime(2020, 12, 30)),
        ("2020-12-30", datetime(2020, 12, 30)),
        ("2020-12-30 13:15", datetime(2020, 12, 30, 13, 15)),
        ("2020-01-01 03:00:00.017", datetime(2020, 1, 1, 3, 0, 0, 17_000)),
        ("2020-11-20 07-AM", datetime(2020, 11, 20, 7)),
        ("2020-11-20 12-AM", datetime(2020, 11, 20, 0)),
        ("2020-11-20 12-PM", datetime(2020, 11, 20, 12)),
        ("2020-12-30T01:02:03Z", datetime(2020, 12, 30, 1, 2, 3)),
        ("2020-12-30T01:02:03+03:00", datetime(2020, 12, 29, 22, 2, 3)),
        ("2020-12-30 01:02:03 UTC", datetime(2020, 12, 30, 1, 2, 3)),
    ],
)
def test_texts(text: str, moment: datetime) -> None:
    assert from_text(pl.Series([text]), rows(1), "f.csv").to_list() == [moment]


def test_two_formats_in_one_column() -> None:
    read = from_text(pl.Series(["2020-12-30 00:00:00", "2020-11-20 07-AM"]), rows(2), "f.csv")
    assert read.to_list() == [datetime(2020, 12, 30), datetime(2020, 11, 20, 7)]


@pytest.mark.parametrize("text", ["06-12-21 00:00:00", "12/30/2020", "yesterday", ""])
def test_a_day_that_could_be_a_month_is_not_guessed(text: str) -> None:
    with pytest.raises(DataError, match="not understood") as error:
        from_text(pl.Series(["2020-12-30", text]), rows(2), "f.csv")
    assert error.value.row == 3


def utc(stamps: list[datetime], zone: str) -> list[datetime]:
    series = pl.Series(stamps, dtype=pl.Datetime("us"))
    return to_utc(series, zone, rows(len(stamps)), "f.csv").to_list()


def test_zones() -> None:
    noon = [datetime(2024, 1, 15, 12), datetime(2024, 7, 15, 12)]
    assert utc(noon, "UTC") == noon
    assert utc(noon, "+03:00") == [t - timedelta(hours=3) for t in noon]
    assert utc(noon, "-0530") == [t + timedelta(hours=5, minutes=30) for t in noon]
    assert utc(noon, "America/New_York") == [datetime(2024, 1, 15, 17), datetime(2024, 7, 15, 16)]


@pytest.mark.parametrize("moment", [datetime(2024, 11, 3, 1, 30), datetime(2024, 3, 10, 2, 30)])
def test_an_hour_of_a_clock_change_is_refused(moment: datetime) -> None:
    with pytest.raises(DataError, match="twice or never") as error:
        utc([datetime(2024, 1, 1), moment], "America/New_York")
    assert error.value.row == 3


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="'Mars/Olympus' is unknown"):
        utc([datetime(2024, 1, 1)], "Mars/Olympus")


def test_the_bar_is_the_usual_distance() -> None:
    hours = pl.Series([datetime(2024, 1, 1, h) for h in (3, 0, 1, 2, 9, 9)])
    assert bar_of(hours, "f.csv") == timedelta(hours=1)
    with pytest.raises(DataError, match="fewer than two bars"):
        bar_of(pl.Series([datetime(2024, 1, 1)] * 3), "f.csv")


def test_the_future_is_refused_with_its_row() -> None:
    now = now_utc()
    refuse_future(pl.Series([now - timedelta(minutes=1)]), rows(1), "f.csv")
    with pytest.raises(DataError, match="lies in the future") as error:
        refuse_future(pl.Series([now - timedelta(days=1), now + timedelta(days=1)]), rows(2), "f.csv")
    assert error.value.row == 3
