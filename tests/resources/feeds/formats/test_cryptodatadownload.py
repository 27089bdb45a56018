from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.cryptodatadownload import read_cryptodatadownload
from resources.feeds.formats.precision import changes_of_precision
from resources.feeds.formats.registry import recognise

Write = Callable[[str, str | bytes], Path]
Candles = Callable[..., pl.DataFrame]
Found = Callable[[Reading], dict[str, int]]

COLUMNS = "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount\n"
HEADER = "https://www.CryptoDataDownload.com\n" + COLUMNS
NAME = "cdd/Binance_BTCUSDT_1h.csv"


def seconds(ts: datetime) -> int:
    return (ts - datetime(1970, 1, 1)) // timedelta(seconds=1)


def line(ts: datetime, prices: tuple[float, ...], old: bool = False) -> str:
    o, h, low, c, v = prices
    if old:
        return (
            f"{seconds(ts)}.0,{ts:%Y-%m-%d %I-%p},BTC/USDT,{o:.2f},{h:.2f},{low:.2f},{c:.2f},{v:.2f},1.0,NULL"
        )
    return f"{seconds(ts) * 1000},{ts},BTC/USDT,{o:.8f},{h:.8f},{low:.8f},{c:.8f},{v:.8f},1.0,7"


def lines(frame: pl.DataFrame, old: bool = False) -> list[str]:
    rows = frame.select("ts", "open", "high", "low", "close", "volume").reverse().iter_rows()
    return [line(ts, tuple(prices), old) for ts, *prices in rows]


def file(*rows: str) -> str:
    return HEADER + "\n".join(rows) + "\n"


def test_newest_first_with_the_newest_bar_left_out(write: Write, candles: Candles, found: Found) -> None:
    path = write(NAME, file(*lines(candles())))
    reading = read_cryptodatadownload(path)
    assert_frame_equal(reading.frame, candles()[:-1])
    assert found(reading) == {"order": 29, "unfinished": 1}
    assert recognise(path).name == "CryptoDataDownload CSV"


def test_seconds_and_milliseconds_in_one_file(write: Write, candles: Candles, found: Found) -> None:
    frame = candles()
    reading = read_cryptodatadownload(write(NAME, file(*lines(frame[20:]), *lines(frame[:20], old=True))))
    assert reading.frame["ts"].to_list() == frame["ts"].to_list()[:-1]
    assert found(reading)["timestamp_unit"] == 10


def test_the_unrounded_one_of_two_rows_is_kept(write: Write, candles: Candles, found: Found) -> None:
    frame = candles().with_columns(pl.col("close") + 0.00123)
    new, old = lines(frame), lines(frame, old=True)
    both = [row for pair in zip(new[5:9], old[5:9], strict=True) for row in pair]
    reading = read_cryptodatadownload(write(NAME, file(*new[:5], *both, *new[9:])))
    assert_frame_equal(reading.frame, frame[:-1])
    assert found(reading)["duplicate"] == 4


def test_a_filled_outage_is_no_bar(write: Write, candles: Candles, found: Found) -> None:
    frame = candles()
    stale = frame["close"][9]
    here = pl.int_range(pl.len()).is_between(10, 12)
    filled = frame.with_columns(
        *(pl.when(here).then(stale).otherwise(pl.col(c)).alias(c) for c in ("open", "high", "low", "close")),
        pl.when(here).then(0.0).otherwise(pl.col("volume")).alias("volume"),
    )
    reading = read_cryptodatadownload(write(NAME, file(*lines(filled))))
    assert_frame_equal(reading.frame, pl.concat([frame[:10], frame[13:-1]]))
    assert found(reading)["filled_outage"] == 3


def test_a_wrong_first_open_is_left_out(write: Write, candles: Candles, found: Found) -> None:
    frame = candles()
    first = pl.int_range(pl.len()) == 0
    tripled = (pl.when(first).then(pl.col(c) * 3).otherwise(pl.col(c)).alias(c) for c in ("open", "high"))
    reading = read_cryptodatadownload(write(NAME, file(*lines(frame.with_columns(tripled)))))
    assert_frame_equal(reading.frame, frame[1:-1])
    assert found(reading)["price"] == 1


def test_unix_wins_over_a_date_that_differs(write: Write, candles: Candles, found: Found) -> None:
    rows = lines(candles())
    rows[3] = rows[3].replace(str(candles()["ts"][-4]), str(candles()["ts"][-8]))
    reading = read_cryptodatadownload(write(NAME, file(*rows)))
    assert_frame_equal(reading.frame, candles()[:-1])
    assert found(reading)["damage"] == 1
    damage = next(f for f in reading.findings if f.kind == "damage")
    assert damage.detail == "rows 6 to 6: unix is +4 h away from date; unix is used"


def test_the_other_header(write: Write, candles: Candles) -> None:
    header = "Created on 12-30-2020,https://www.CryptoDataDownload.com\r\n"
    header += "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume\r\n"
    rows = [",".join(row.split(",")[:8]).replace("BTC/USDT", "BTCUSD") for row in lines(candles())]
    path = write("cdd/gemini_BTCUSD_1hr.csv", header + "\r\n".join(rows) + "\r\n")
    reading = read_cryptodatadownload(path)
    assert recognise(path).name == "CryptoDataDownload CSV"
    assert_frame_equal(reading.frame, candles()[:-1].with_columns(symbol=pl.lit("BTC/USD")))


def spreadsheet(frame: pl.DataFrame, day: str = "%d-%m-%y") -> str:
    rows = ["unix,date,time,symbol,open,high,low,close,Volume SOL,Volume USDT,tradecount"]
    bars = frame.select("ts", "open", "high", "low", "close", "volume").reverse().iter_rows()
    for ts, o, h, low, c, v in bars:
        unix = f"{seconds(ts) * 1000:.5E}"
        rows.append(f"{unix},{ts.strftime(day)},{ts:%H:%M:%S},SOL/USDT,{o},{h},{low},{c},{v},1.0,7")
    return "\n".join(rows) + "\n"


def test_rounded_stamps_are_recovered_from_date_and_time(
    write: Write, candles: Candles, found: Found
) -> None:
    frame = candles(24 * 40, datetime(2021, 4, 26, 8), symbol="SOL/USDT")
    reading = read_cryptodatadownload(write("cdd/Binance_SOLUSDT_1h.csv", spreadsheet(frame)))
    assert_frame_equal(reading.frame, frame[:-1])
    assert found(reading)["damage"] == 960


def test_rounded_stamps_whose_day_may_be_a_month_are_refused(write: Write, candles: Candles) -> None:
    frame = candles(24 * 40, datetime(2021, 4, 26, 8), symbol="SOL/USDT")
    path = write("cdd/Binance_SOLUSDT_1h.csv", spreadsheet(frame, "%m-%d-%y"))
    with pytest.raises(DataError, match=r"day first|not understood") as error:
        read_cryptodatadownload(path)
    assert error.value.row is not None


def test_rounded_stamps_that_contradict_the_date_are_refused(write: Write, candles: Candles) -> None:
    frame = candles(9 * 24, datetime(2021, 4, 3, 8), symbol="SOL/USDT")
    text = spreadsheet(frame).replace("05-04-21,11:00:00", "05-05-21,11:00:00")
    with pytest.raises(DataError, match="does not agree with 05-05-21 11:00:00 read day first") as error:
        read_cryptodatadownload(write("cdd/Binance_SOLUSDT_1h.csv", text))
    assert "05-05-21,11:00:00" in text.splitlines()[(error.value.row or 0) - 1]


def test_rounded_stamps_without_a_time_column_are_refused(write: Write, candles: Candles) -> None:
    rows = [f"{float(row.split(',')[0]):.5E},{row.split(',', 1)[1]}" for row in lines(candles())]
    with pytest.raises(DataError, match="a spreadsheet rounded the stamps") as error:
        read_cryptodatadownload(write(NAME, file(*rows)))
    assert error.value.row == 3


def test_a_changed_symbol_is_refused_with_its_row(write: Write, candles: Candles) -> None:
    rows = lines(candles())
    rows[4] = rows[4].replace("BTC/USDT", "ETH/USDT")
    with pytest.raises(DataError, match="symbol changes") as error:
        read_cryptodatadownload(write(NAME, file(*rows)))
    assert error.value.row == 7


def test_a_change_of_the_decimals_of_volume_is_suspected(write: Write, candles: Candles) -> None:
    frame = candles(900)
    later = pl.int_range(pl.len()) >= 450
    finer = pl.when(later).then(pl.col("volume") + 0.123).otherwise(pl.col("volume")).alias("volume")
    fine = frame.with_columns(finer)
    assert changes_of_precision(fine, "volume") == [(frame["ts"][450], 0, 3)]
    backwards = fine.with_columns(ts=pl.col("ts").reverse()).sort("ts")
    assert changes_of_precision(backwards, "volume") == [(frame["ts"][450], 3, 0)]
    assert changes_of_precision(frame, "volume") == []
    reading = read_cryptodatadownload(write(NAME, file(*lines(fine))))
    switch = next(f for f in reading.findings if f.kind == "venue_switch")
    assert (switch.severity, switch.count, switch.last) == ("warn", 450, frame["ts"][449])
