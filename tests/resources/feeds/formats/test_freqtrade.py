import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.registry import read, recognise

Candles = Callable[..., pl.DataFrame]
Found = Callable[[Reading], dict[str, int]]


def feather(folder: Path, name: str, frame: pl.DataFrame) -> Path:
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stamps = pl.col("ts").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC").alias("date")
    frame.select(stamps, "open", "high", "low", "close", "volume").write_ipc(path)
    return path


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("BTC_USDT-1h.feather", "BTC/USDT"), ("futures/BTC_USDT_USDT-1h-futures.feather", "BTC/USDT:USDT")],
)
def test_candles(tmp_path: Path, candles: Candles, name: str, symbol: str) -> None:
    path = feather(tmp_path, name, candles())
    reading = read(path)
    assert recognise(path).name == "freqtrade candles, Feather"
    assert_frame_equal(reading.frame, candles(symbol=symbol))
    assert reading.findings == ()


def test_marks_without_volume(tmp_path: Path, candles: Candles, found: Found) -> None:
    marks = candles().with_columns(pl.lit(None, pl.Float64).alias("volume"))
    reading = read(feather(tmp_path, "futures/BTC_USDT_USDT-1h-mark.feather", marks))
    assert reading.frame["volume"].to_list() == [0.0] * 30
    assert found(reading) == {"missing_value": 30}


def test_the_rate_stands_in_open(tmp_path: Path, candles: Candles) -> None:
    zeros = [pl.lit(0.0).alias(c) for c in ("high", "low", "close", "volume")]
    rates = candles().with_columns((pl.col("open") - 103) / 1e5, *zeros)
    path = feather(tmp_path, "futures/BTC_USDT_USDT-8h-funding_rate.feather", rates)
    reading = read(path)
    assert recognise(path).name == "freqtrade funding, Feather"
    values = reading.frame.filter(pl.col("series") == "funding_rate")["value"]
    assert values.to_list() == rates["open"].to_list()


def test_prices_in_a_funding_file_are_refused(tmp_path: Path, candles: Candles) -> None:
    with pytest.raises(DataError, match="holds prices") as error:
        read(feather(tmp_path, "futures/BTC_USDT_USDT-8h-funding_rate.feather", candles()))
    assert error.value.row == 1


def test_funding_named_as_candles_is_refused(tmp_path: Path, candles: Candles) -> None:
    zeros = [pl.lit(0.0).alias(c) for c in ("high", "low", "close", "volume")]
    with pytest.raises(DataError, match="above 0"):
        read(feather(tmp_path, "futures/BTC_USDT_USDT-8h-futures.feather", candles().with_columns(zeros)))


def test_old_json(tmp_path: Path, candles: Candles) -> None:
    path = tmp_path / "data" / "DOGE_USDT-1h.json"
    path.parent.mkdir()
    rows = candles().select(pl.col("ts").dt.timestamp("ms"), "open", "high", "low", "close", "volume").rows()
    path.write_text(json.dumps(rows))
    assert recognise(path).name == "freqtrade candles, JSON"
    assert_frame_equal(read(path).frame, candles(symbol="DOGE/USDT"))


def test_a_cut_feather_file_is_refused(tmp_path: Path, candles: Candles) -> None:
    path = feather(tmp_path, "BTC_USDT-1h.feather", candles())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="damaged or cut"):
        read(path)
