from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import DataError
from resources.feeds.formats.registry import read, recognise

Write = Callable[[str, str | bytes], Path]
Candles = Callable[..., pl.DataFrame]

STAMPS: dict[str, pl.Expr] = {
    "text": pl.col("ts").dt.strftime("%Y-%m-%d %H:%M:%S"),
    "iso": pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "seconds": pl.col("ts").dt.epoch("s"),
    "milliseconds": pl.col("ts").dt.epoch("ms"),
    "nanoseconds": pl.col("ts").dt.epoch("ns"),
    "naive": pl.col("ts"),
    "zoned": pl.col("ts").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
}


@pytest.mark.parametrize("stamp", STAMPS)
@pytest.mark.parametrize("container", ["parquet", "feather", "csv"])
@pytest.mark.parametrize("column", ["ts", "Datetime"])
def test_candles_read_the_same_however_they_are_stored(
    tmp_path: Path, candles: Candles, stamp: str, container: str, column: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / f"BTCUSDT_1h.{container}"
    frame = candles().drop("symbol").with_columns(STAMPS[stamp].alias(column))
    frame = frame.select(
        column, *(pl.col(c).alias(c.title()) for c in ("open", "high", "low", "close", "volume"))
    )
    if container == "csv":
        if stamp == "zoned":
            pytest.skip("a CSV holds no zone")
        frame.write_csv(path)
    elif container == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_ipc(path)
    reading = read(path)
    assert_frame_equal(reading.frame, candles())
    assert reading.findings == ()


def test_a_symbol_column_wins_over_the_name(write: Write, candles: Candles) -> None:
    both = pl.concat([candles(symbol="ETH/USDT"), candles(symbol="BTC/USDT")])
    path = write("ADAUSDT_1h.csv", both.with_columns(pl.col("symbol").str.replace("/", "")).write_csv())
    assert_frame_equal(read(path).frame, pl.concat([candles(), candles(symbol="ETH/USDT")]))


def test_a_declared_zone_overrides_the_stored_one(tmp_path: Path, candles: Candles) -> None:
    path = tmp_path / "BTCUSDT_1h.parquet"
    candles().with_columns(pl.col("ts").dt.replace_time_zone("UTC")).write_parquet(path)
    shifted = read(path, "+03:00").frame
    assert_frame_equal(shifted, candles().with_columns(pl.col("ts") - timedelta(hours=3)))


def test_a_missing_column_is_named_with_those_that_exist(write: Write, candles: Candles) -> None:
    path = write("BTCUSDT_1h.csv", candles().drop("volume").write_csv())
    with pytest.raises(DataError, match=r"in no known format.*'close'\]"):
        recognise(path)


@pytest.mark.parametrize("column", ["open", "volume"])
def test_a_column_of_texts_is_refused_with_its_row(tmp_path: Path, candles: Candles, column: str) -> None:
    path = tmp_path / "BTCUSDT_1h.parquet"
    texts = pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("n/a")).otherwise(pl.col(column).cast(pl.String))
    candles().with_columns(texts.alias(column)).write_parquet(path)
    with pytest.raises(DataError, match="'n/a' is not a number") as error:
        read(path)
    assert (error.value.row, error.value.column) == (4, column)


def test_a_missing_stamp_or_symbol_is_refused_with_its_row(tmp_path: Path, candles: Candles) -> None:
    path = tmp_path / "BTCUSDT_1h.parquet"
    for column, reason in (("ts", "stamp is missing"), ("symbol", "symbol is missing")):
        gone = pl.when(pl.int_range(pl.len()) != 3).then(pl.col(column))
        candles().with_columns(gone.alias(column)).write_parquet(path)
        with pytest.raises(DataError, match=reason) as error:
            read(path)
        assert (error.value.row, error.value.column) == (4, column)


def test_a_cut_parquet_file_is_refused(tmp_path: Path, candles: Candles) -> None:
    path = tmp_path / "BTCUSDT_1h.parquet"
    candles(5000).write_parquet(path)
    whole = path.read_bytes()
    for cut in (whole[: len(whole) // 2], whole[:-3], whole[:2]):
        path.write_bytes(cut)
        with pytest.raises(DataError, match="damaged or cut"):
            read(path)


def test_funding_table(write: Write) -> None:
    rows = "".join(f"BTC/USDT:USDT,2024-01-01 {h:02d}:00:00,{h}e-5\n" for h in (0, 8, 16))
    path = write("funding.csv", "symbol,ts,funding_rate\n" + rows)
    reading = read(path)
    assert recognise(path).name == "funding, Parquet or CSV"
    assert reading.frame.filter(pl.col("series") == "funding_rate")["value"].to_list() == [0.0, 8e-5, 16e-5]
