from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from engine.errors import DataError
from resources.feeds.formats.registry import FORMATS, UnknownFormatError, contents, recognise

Write = Callable[[str, str | bytes], Path]
Candles = Callable[..., pl.DataFrame]


def test_names_of_formats_are_unique() -> None:
    assert len({known.name for known in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(
    "content", ["a,b\n1,2\n", "# notes\n\nSome text, with a comma.\n", '[{"price": 1}]', '"text"']
)
def test_an_unknown_format_lists_the_known_ones(write: Write, content: str) -> None:
    with pytest.raises(UnknownFormatError, match="CryptoDataDownload CSV; freqtrade funding"):
        recognise(write("x.csv", content))


def test_content_decides_and_not_the_ending(write: Write, candles: Candles, tmp_path: Path) -> None:
    parquet = tmp_path / "BTCUSDT-1h.csv"
    candles().write_parquet(parquet)
    assert recognise(parquet).name == "candles, Parquet"
    text = write("BTCUSDT_1h.txt", candles().write_csv())
    assert recognise(text).name == "candles, CSV or Feather"


def test_an_empty_file_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="is empty"):
        recognise(write("BTCUSDT_1h.csv", ""))


def test_a_changed_file_is_looked_at_again(write: Write, candles: Candles) -> None:
    path = write("BTCUSDT_1h.csv", candles().write_csv())
    assert [h.symbol for h in contents(path)[0]] == ["BTC/USDT"]
    path.write_text(candles(symbol="ETH/USDT").write_csv())
    assert [h.symbol for h in contents(path)[0]] == ["ETH/USDT"]
