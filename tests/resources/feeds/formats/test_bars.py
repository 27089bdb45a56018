from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import DataError
from engine.market.candles import CANDLE_COLUMNS
from engine.market.finding import Reading
from resources.feeds.formats.bars import settle_candles
from resources.feeds.formats.symbols import Market
from resources.feeds.formats.timestamps import now_utc

Candles = Callable[..., pl.DataFrame]
Found = Callable[[Reading], dict[str, int]]


def settle(frame: pl.DataFrame, market: Market = "spot", zone: str = "UTC") -> Reading:
    return settle_candles(frame.with_row_index("row", offset=1), "f.csv", market, zone)


def at(frame: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(v)).otherwise(pl.col(k)).alias(k) for k, v in values.items()
    )


def test_good_candles_pass_unchanged_and_unremarked(candles: Candles) -> None:
    reading = settle(candles())
    assert_frame_equal(reading.frame, candles())
    assert reading.findings == ()


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), None])
def test_impossible_numbers_are_refused_with_their_row(
    candles: Candles, column: str, value: float | None
) -> None:
    with pytest.raises(DataError, match="finite") as error:
        settle(at(candles(), 4, **{column: value}))
    assert (error.value.row, error.value.column, error.value.source) == (5, column, "f.csv")


def test_a_price_of_zero_is_refused_and_a_volume_of_zero_is_not(candles: Candles) -> None:
    with pytest.raises(DataError, match="above 0"):
        settle(at(candles(), 4, low=0.0))
    assert settle(at(candles(), 4, volume=0.0)).frame.height == 30


def test_the_first_of_repeated_bars_is_kept_and_the_difference_told(candles: Candles, found: Found) -> None:
    frame = candles()
    twice = pl.concat([frame, frame[3:6].with_columns(pl.col("close") * 1.001)])
    reading = settle(twice)
    assert_frame_equal(reading.frame, frame)
    assert found(reading) == {"duplicate": 3}
    (duplicate,) = reading.findings
    assert (duplicate.severity, duplicate.first, duplicate.last) == ("warn", frame["ts"][3], frame["ts"][5])
    assert "up to 0.001 of the price" in duplicate.detail


def test_exact_repetitions_are_only_an_information(candles: Candles) -> None:
    (duplicate,) = settle(pl.concat([candles(), candles()[:2]])).findings
    assert (duplicate.severity, duplicate.count) == ("info", 2)


def test_order(candles: Candles) -> None:
    newest_first = settle(candles().reverse())
    shuffled = settle(candles().sample(fraction=1.0, shuffle=True, seed=3))
    for reading in (newest_first, shuffled):
        assert_frame_equal(reading.frame, candles())
        assert [f.kind for f in reading.findings] == ["order"]
    assert newest_first.findings[0].detail == "rows are newest first; sorted"
    assert "precede" in shuffled.findings[0].detail


def test_a_high_below_the_close_is_left_out_with_its_row(candles: Candles, found: Found) -> None:
    reading = settle(at(at(candles(), 4, high=1.0), 9, low=1e6))
    assert reading.frame.height == 28
    assert found(reading) == {"ohlc": 2}
    assert "(row 5, 10)" in reading.findings[0].detail


def test_an_open_bar_is_left_out(candles: Candles, found: Found) -> None:
    start = now_utc().replace(minute=0, second=0, microsecond=0) - timedelta(hours=29)
    reading = settle(candles(start=start))
    assert reading.frame["ts"].max() == start + timedelta(hours=28)
    assert found(reading) == {"unfinished": 1}


def test_a_bar_of_the_future_is_refused(candles: Candles) -> None:
    start = now_utc().replace(minute=0, second=0, microsecond=0) - timedelta(hours=28)
    with pytest.raises(DataError, match="future") as error:
        settle(candles(start=start))
    assert error.value.row == 30


def test_a_stamp_off_the_grid_is_refused(candles: Candles) -> None:
    with pytest.raises(DataError, match="not the open of a bar") as error:
        settle(at(candles(), 7, ts=datetime(2024, 1, 1, 7, 20)))
    assert error.value.row == 8


def test_marks_may_lack_volume_and_candles_may_not(candles: Candles, found: Found) -> None:
    frame = candles().with_columns(pl.lit(None, pl.Float64).alias("volume"))
    reading = settle(frame, "mark")
    assert reading.frame["volume"].to_list() == [0.0] * 30
    assert found(reading) == {"missing_value": 30}
    with pytest.raises(DataError, match="volume is finite"):
        settle(frame)


def test_volume_where_none_belongs_and_none_where_it_belongs(candles: Candles, found: Found) -> None:
    assert found(settle(candles(), "mark")) == {"implausible": 30}
    assert found(settle(candles().with_columns(volume=0.0))) == {"zero_volume": 30}


def test_a_reference_price_is_told_from_candles(candles: Candles, found: Found) -> None:
    flat = candles(120).with_columns(pl.col("close").alias(c) for c in ("open", "high", "low"))
    assert found(settle(flat)) == {"implausible": 120}


@pytest.mark.parametrize(("zone", "doubted"), [("UTC", True), ("America/New_York", False)])
def test_a_week_that_ends_at_one_hour_all_year_is_local_time(
    candles: Candles, zone: str, doubted: bool
) -> None:
    hours = candles(24 * 7 * 60, datetime(2022, 1, 3))
    day, hour = pl.col("ts").dt.weekday(), pl.col("ts").dt.hour()
    reading = settle(hours.filter((day < 5) | ((day == 5) & (hour < 17))), zone=zone)
    assert ("local_time" in {f.kind for f in reading.findings}) == doubted


def test_a_week_that_follows_summer_time_is_utc(candles: Candles) -> None:
    local = candles(24 * 7 * 60, datetime(2022, 1, 3)).with_columns(
        pl.col("ts").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York").alias("local")
    )
    day, hour = pl.col("local").dt.weekday(), pl.col("local").dt.hour()
    open_hours = local.filter((day < 5) | ((day == 5) & (hour < 17))).select(CANDLE_COLUMNS)
    assert settle(open_hours).findings == ()


def test_venues_of_one_file_stay_apart(candles: Candles) -> None:
    both = pl.concat([candles().with_columns(venue=pl.lit(v)) for v in ("b", "a")])
    reading = settle(both)
    assert reading.frame["venue"].to_list() == ["a"] * 30 + ["b"] * 30
    assert reading.findings == ()
