"""Bars: adding up small ones, on known answers and on recorded outages."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from engine.errors import DataError
from engine.market.candles import CANDLE_COLUMNS, CANDLE_SCHEMA, resample

QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
MIDNIGHT = datetime(2024, 3, 1)


def candles(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")


def quarters(*numbers: int, symbol: str = "BTC/USDT") -> pl.DataFrame:
    """Quarter-hours whose prices tell which they are."""
    return candles(
        [(symbol, MIDNIGHT + k * QUARTER, 10.0 + k, 20.0 + k, 5.0 - k, 11.0 + k, 2.0**k) for k in numbers]
    )


def test_an_hour_is_made_of_its_quarters() -> None:
    hourly = resample(quarters(0, 1, 2, 3), QUARTER, HOUR)
    assert hourly.columns == list(CANDLE_COLUMNS)
    assert hourly.rows() == [("BTC/USDT", MIDNIGHT, 10.0, 23.0, 2.0, 14.0, 15.0)]


def test_missing_parts_are_counted_and_missing_hours_are_not_made() -> None:
    hourly = resample(quarters(1, 3, 8), QUARTER, HOUR, with_parts=True)
    assert hourly["ts"].to_list() == [MIDNIGHT, MIDNIGHT + 2 * HOUR]
    assert hourly["parts"].to_list() == [2, 1]
    assert hourly["open"].to_list() == [11.0, 18.0]


def test_symbols_do_not_mix() -> None:
    both = pl.concat([quarters(0, 1, symbol="A/USDT"), quarters(2, 3, symbol="B/USDT")])
    assert resample(both, QUARTER, HOUR)["volume"].to_list() == [3.0, 12.0]


def test_resampling_in_two_steps_is_resampling_in_one() -> None:
    day = quarters(*range(40), *range(50, 96))
    hourly = resample(day, QUARTER, HOUR)
    assert resample(hourly, HOUR, 4 * HOUR).equals(resample(day, QUARTER, 4 * HOUR))


def test_the_same_bar_changes_nothing() -> None:
    assert resample(quarters(0, 1, 5), QUARTER, QUARTER).equals(quarters(0, 1, 5))


@pytest.mark.parametrize(("bar", "to"), [(HOUR, QUARTER), (2 * HOUR, 3 * HOUR), (timedelta(0), HOUR)])
def test_a_bar_that_does_not_divide_is_refused(bar: timedelta, to: timedelta) -> None:
    with pytest.raises(ValueError, match="bar = "):
        resample(quarters(0), bar, to)


def test_faults_are_named_with_their_row() -> None:
    with pytest.raises(DataError, match="row 3, column 'ts'"):
        resample(quarters(0, 2, 1), QUARTER, HOUR)
    with pytest.raises(DataError, match=r"row 2, column 'ts'.*repeats"):
        resample(quarters(0, 0), QUARTER, HOUR)
    with pytest.raises(DataError, match=r"row 2, column 'ts'.*not the open"):
        resample(quarters(0, 1), 2 * QUARTER, HOUR)
    with pytest.raises(DataError, match="column 'volume'"):
        resample(quarters(0).drop("volume"), QUARTER, HOUR)
    with pytest.raises(DataError, match="column 'ts'"):
        resample(quarters(0).with_columns(pl.col("ts").dt.replace_time_zone("UTC")), QUARTER, HOUR)


@pytest.mark.parametrize("coin", ["SOL", "AVAX"])
def test_recorded_quarters_give_the_recorded_hours(market_data: Path, coin: str) -> None:
    def recorded(folder: str) -> pl.DataFrame:
        path = market_data / "candles" / folder / f"{coin}_USDT.parquet"
        return (
            pl.read_parquet(path).with_columns(pl.col("ts").dt.replace_time_zone(None)).select(CANDLE_COLUMNS)
        )

    parts = recorded("spot_15m")
    made = resample(parts, QUARTER, HOUR, with_parts=True)
    hours = recorded("spot_1h").filter(pl.col("ts") <= made["ts"].max())
    # The last quarter recorded opens at 08:00 and its hour has three more.
    made, hours = made[:-1], hours[:-1]
    assert made["ts"].equals(hours["ts"])
    for column in ("open", "high", "low", "close"):
        assert made[column].equals(hours[column])
    assert ((made["volume"] - hours["volume"]).abs() <= 1e-9 * hours["volume"].clip(1.0)).all()
    around_outages = made.filter(pl.col("parts") < 4)["ts"].to_list()
    assert datetime(2021, 2, 11, 3) in around_outages
    assert datetime(2021, 8, 13, 6) in around_outages
    assert len(hours) > 15_000
