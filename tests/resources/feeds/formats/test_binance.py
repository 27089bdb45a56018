import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.binance import (
    read_binance_funding,
    read_binance_funding_rest,
    read_binance_klines,
    read_binance_klines_rest,
)
from resources.feeds.formats.registry import read, recognise

Write = Callable[[str, str | bytes], Path]
Candles = Callable[..., pl.DataFrame]
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore\n"
)


def klines(frame: pl.DataFrame, per_second: int) -> list[list[str]]:
    return [
        [
            str(int(ts.timestamp() * per_second)),
            *(f"{value:.8f}" for value in prices),
            str(int((ts.timestamp() + 3600) * per_second) - 1),
            *("1.0", "7", "1.0", "1.0", "0"),
        ]
        for ts, *prices in frame.with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
        .select("ts", "open", "high", "low", "close", "volume")
        .iter_rows()
    ]


def text(frame: pl.DataFrame, per_second: int = 1000, header: str = "") -> str:
    return header + "".join(",".join(row) + "\n" for row in klines(frame, per_second))


@pytest.mark.parametrize("per_second", [1000, 1_000_000])
@pytest.mark.parametrize("header", ["", HEADER])
@pytest.mark.parametrize("zipped", [False, True])
def test_archives(write: Write, candles: Candles, per_second: int, header: str, zipped: bool) -> None:
    content: str | bytes = text(candles(), per_second, header)
    if zipped:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("BTCUSDT-1h-2024-01.csv", content)
        content = buffer.getvalue()
    path = write(f"spot/BTCUSDT-1h-2024-01.{'zip' if zipped else 'csv'}", content)
    reading = read_binance_klines(path)
    assert_frame_equal(reading.frame, candles())
    assert reading.findings == ()
    assert recognise(path).name == "Binance klines archive"


def test_units_may_change_within_a_file(write: Write, candles: Candles) -> None:
    frame = candles()
    path = write("spot/BTCUSDT-1h.csv", text(frame[:10]) + text(frame[10:], 1_000_000))
    reading = read_binance_klines(path)
    assert_frame_equal(reading.frame, frame)
    (finding,) = reading.findings
    assert (finding.kind, finding.count, finding.detail) == (
        "timestamp_unit",
        10,
        "20 rows in us, 10 rows in ms",
    )


def test_the_folder_tells_the_market(write: Write, candles: Candles) -> None:
    path = write("futures_um/BTCUSDT-1h-2024-01.csv", text(candles(), header=HEADER))
    assert read_binance_klines(path).frame["symbol"].unique().to_list() == ["BTC/USDT:USDT"]


def test_rest_answer(write: Write, candles: Candles) -> None:
    rows = [[int(r[0]), *r[1:6], int(r[6]), *r[7:]] for r in klines(candles(), 1000)]
    path = write("rest/api_v3_klines_BTCUSDT_1h.json", json.dumps(rows))
    assert_frame_equal(read_binance_klines_rest(path).frame, candles())
    assert recognise(path).name == "Binance klines REST answer"


def test_a_cut_archive_is_refused(write: Write, candles: Candles) -> None:
    path = write("spot/BTCUSDT-1h-2024-01.csv", text(candles())[:-40])
    with pytest.raises(DataError, match="may be cut") as error:
        read(path)
    assert error.value.row == 30


def rates(reading: Reading, series: str) -> list[float]:
    return reading.frame.filter(pl.col("series") == series)["value"].to_list()


def test_funding_rest_answer_with_empty_mark_prices(write: Write) -> None:
    hour = 3_600_000
    start = 1_672_531_200_000  # 2023-01-01
    rows = [
        {
            "symbol": "SOLUSDT",
            "fundingTime": start + t * hour + jitter,
            "fundingRate": f"{r:.8f}",
            "markPrice": "",
        }
        for t, jitter, r in [
            (0, 0, 1e-4),
            (8, 13, -2e-2),
            (12, 47, -2e-2),
            (14, 0, 3e-4),
            (16, 1, 1e-4),
            (24, 2, 2e-4),
        ]
    ]
    path = write("rest/fapi_v1_fundingRate_SOLUSDT.json", json.dumps(rows))
    reading = read_binance_funding_rest(path)
    assert recognise(path).name == "Binance funding REST answer"
    assert rates(reading, "funding_rate") == [1e-4, -2e-2, -2e-2, 3e-4, 1e-4, 2e-4]
    assert rates(reading, "funding_interval_hours") == [8, 4, 2, 2, 8]
    assert reading.frame["symbol"].unique().to_list() == ["SOL/USDT:USDT"]
    known = reading.frame.filter(pl.col("series") == "funding_rate")
    assert known["ts"].dt.timestamp("ms").to_list() == [start + t * hour for t in (0, 8, 12, 14, 16, 24)]
    assert (known["available_at"] - known["ts"]).dt.total_milliseconds().to_list() == [0, 13, 47, 0, 1, 2]


def test_funding_archive_states_its_interval(write: Write) -> None:
    content = "calc_time,funding_interval_hours,last_funding_rate\n"
    content += "1704067200000,8,0.0001\n1704096000005,4,-0.0002\n"
    path = write("futures/BTCUSDT-fundingRate-2024-01.csv", content)
    reading = read_binance_funding(path)
    assert recognise(path).name == "Binance funding archive"
    assert rates(reading, "funding_rate") == [1e-4, -2e-4]
    assert rates(reading, "funding_interval_hours") == [8, 4]


def test_a_rate_that_is_no_number_is_refused_with_its_row(write: Write) -> None:
    rows = [{"symbol": "BTCUSDT", "fundingTime": 1_672_531_200_000, "fundingRate": r} for r in ("0.1", "n/a")]
    with pytest.raises(DataError, match="'n/a' is not a number") as error:
        read_binance_funding_rest(write("rest/fundingRate_BTCUSDT.json", json.dumps(rows)))
    assert (error.value.row, error.value.column) == (2, "fundingRate")
