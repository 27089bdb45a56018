from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.funding import settle_funding
from resources.feeds.formats.funding_csv import read_funding_csv
from resources.feeds.formats.registry import recognise
from resources.feeds.formats.timestamps import now_utc

Write = Callable[[str, str | bytes], Path]
Found = Callable[[Reading], dict[str, int]]
HERE = Path("venue/funding.csv")
START = datetime(2024, 1, 1)


def stamps(hours: list[int], rates: list[float] | None = None, **columns: object) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": "BTC/USDT:USDT",
            "ts": pl.Series([START + timedelta(hours=h) for h in hours], dtype=pl.Datetime("us")),
            "rate": rates or [1e-4 + h * 1e-6 for h in hours],
            **columns,
        }
    ).with_row_index("row", offset=1)


def intervals(reading: Reading) -> dict[int, float]:
    rows = reading.frame.filter(pl.col("series") == "funding_interval_hours")
    return {(ts - START) // timedelta(hours=1): value for ts, value in rows.select("ts", "value").iter_rows()}


def test_intervals_follow_the_venue_through_stress(found: Found) -> None:
    reading = settle_funding(stamps([0, 8, 16, 20, 24, 26, 28, 30, 38, 46]), HERE)
    assert intervals(reading) == {8: 8, 16: 8, 20: 4, 24: 4, 26: 2, 28: 2, 30: 2, 38: 8, 46: 8}
    assert found(reading) == {"interval_change": 5}


@pytest.mark.parametrize(
    ("hours", "after"), [([0, 8, 16, 32, 40, 48], 32), ([0, 1, 2, 4, 5, 6], 4), ([0, 8, 16, 740, 748], 740)]
)
def test_a_hole_is_no_interval(found: Found, hours: list[int], after: int) -> None:
    reading = settle_funding(stamps(hours), HERE)
    assert after not in intervals(reading)
    assert len(set(intervals(reading).values())) == 1
    assert found(reading) == {"gap": 1}
    assert reading.frame.filter(pl.col("series") == "funding_rate").height == len(hours)


def test_no_interval_is_longer_than_a_day(found: Found) -> None:
    reading = settle_funding(stamps([0, 8, 16, 116, 216, 224]), HERE)
    assert intervals(reading) == {8: 8, 16: 8, 224: 8}
    assert found(reading) == {"gap": 2}


def test_jitter_moves_only_the_moment_it_is_known() -> None:
    frame = stamps([0, 8, 16]).with_columns(pl.col("ts") + timedelta(milliseconds=47))
    rates = settle_funding(frame, HERE).frame.filter(pl.col("series") == "funding_rate")
    assert rates["ts"].to_list() == [START + timedelta(hours=h) for h in (0, 8, 16)]
    assert rates["available_at"].to_list() == frame["ts"].to_list()


def test_stamps_far_from_the_hour_are_told(found: Found) -> None:
    frame = stamps([0, 8, 16]).with_columns(pl.col("ts") + timedelta(minutes=7))
    assert found(settle_funding(frame, HERE)) == {"implausible": 3}


def test_repeated_stamps(found: Found) -> None:
    assert found(settle_funding(stamps([0, 8, 8, 16], [1e-4, 2e-4, 2e-4, 1e-4]), HERE)) == {"duplicate": 1}
    with pytest.raises(DataError, match="second, different value") as error:
        settle_funding(stamps([0, 8, 8, 16], [1e-4, 2e-4, 3e-4, 1e-4]), HERE)
    assert error.value.row == 3


def test_bad_rates_and_stamps_are_refused_with_their_row() -> None:
    with pytest.raises(DataError, match="not finite") as error:
        settle_funding(stamps([0, 8, 16], [1e-4, float("nan"), 1e-4]), HERE)
    assert (error.value.row, error.value.column) == (2, "rate")
    ahead = (now_utc() - START) // timedelta(hours=1) + 24
    with pytest.raises(DataError, match="future") as error:
        settle_funding(stamps([0, 8, ahead]), HERE)
    assert error.value.row == 3


def test_venues_have_their_own_intervals() -> None:
    both = pl.concat([stamps([0, 8, 16, 24], venue="a"), stamps(list(range(25)), venue="b")])
    reading = settle_funding(both, HERE)
    values = (
        reading.frame.filter(pl.col("series") == "funding_interval_hours")
        .group_by("source")
        .agg(pl.col("value").unique())
    )
    assert dict(values.iter_rows()) == {"venue/funding.csv a": [8.0], "venue/funding.csv b": [1.0]}


def history(hours: list[int]) -> str:
    rows = "".join(f"BTC-USDT,{START + timedelta(hours=h)},{1e-4 + h * 1e-6}\n" for h in hours)
    return "Symbol,Date,Funding Rate\n" + rows


def test_local_time_is_suspected_and_can_be_declared(write: Write, found: Found) -> None:
    path = write("BTC-USDT_bybit_funding_history.csv", history([3, 11, 19, 27]))
    assert recognise(path).name == "funding history CSV"
    assert found(read_funding_csv(path)) == {"local_time": 4}
    declared = read_funding_csv(path, "+03:00")
    assert declared.findings == ()
    assert declared.frame["ts"].min() == START
    assert declared.frame["source"][0] == "data/BTC-USDT_bybit_funding_history.csv bybit"


def test_hourly_funding_is_never_taken_for_local_time(write: Write) -> None:
    path = write("BTC-USDT_dydx_funding_history.csv", history(list(range(3, 60))))
    assert read_funding_csv(path).findings == ()


def test_an_unknown_symbol_is_refused_with_its_row(write: Write) -> None:
    path = write("x_gate.csv", history([0, 8]) + "nonsense!,2024-01-02 00:00:00,0.1\n")
    with pytest.raises(DataError, match="'nonsense!' is not understood") as error:
        read_funding_csv(path)
    assert error.value.row == 4
