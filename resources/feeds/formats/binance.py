"""Binance: monthly and daily archives of klines and funding (CSV or zip), and answers of its REST API."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from engine.market.finding import Reading
from resources.feeds.formats.bars import CANDLES, settle_candles
from resources.feeds.formats.format import Format, Held, Sample
from resources.feeds.formats.funding import settle_funding
from resources.feeds.formats.jsontext import read_array, to_numbers
from resources.feeds.formats.symbols import market_of_path, symbol_in_name
from resources.feeds.formats.text import ROW, read_bytes, read_cells
from resources.feeds.formats.timestamps import UTC_ZONE, from_epoch, mixed_units, to_utc

__all__ = [
    "FORMATS",
    "read_binance_funding",
    "read_binance_funding_rest",
    "read_binance_klines",
    "read_binance_klines_rest",
]

_KLINE: tuple[str, ...] = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
)
_KLINE += ("count", "taker_buy_volume", "taker_buy_quote_volume", "ignore")
_OHLCV = _KLINE[1:6]
_FUNDING = ("calc_time", "funding_interval_hours", "last_funding_rate")


def read_binance_klines(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read an archive of klines, with or without header, plain or zipped, in milli- or microseconds.

    The symbol comes from the file name (``BTCUSDT-1h-2025-01.csv``), the market from the name or the folder.
    """
    with_header = _first_line(path).startswith("open")
    cells = read_cells(path, _KLINE, int(with_header), integers=("open_time",), numbers=_OHLCV)
    return _klines(cells, path, zone)


def read_binance_klines_rest(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read joined answers of ``/klines``: arrays of twelve values, numbers partly as text."""
    cells = to_numbers(read_array(path, _KLINE), path, integers=("open_time",), numbers=_OHLCV)
    return _klines(cells, path, zone)


def _klines(cells: pl.DataFrame, path: Path, zone: str) -> Reading:
    """Candles of klines."""
    market = market_of_path(path)
    symbol = symbol_in_name(path, market)
    stamps, counts = from_epoch(cells["open_time"], cells[ROW], str(path))
    frame = cells.with_columns(pl.lit(symbol).alias("symbol"), to_utc(stamps, zone, cells[ROW], str(path)))
    reading = settle_candles(frame, str(path), market, zone)
    found = mixed_units(counts, CANDLES, symbol, stamps)
    return Reading(reading.frame, found + reading.findings)


def read_binance_funding(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read a monthly archive of funding rates: ``calc_time,funding_interval_hours,last_funding_rate``."""
    with_header = _first_line(path).startswith("calc")
    cells = read_cells(path, _FUNDING, int(with_header), integers=("calc_time",), numbers=_FUNDING[1:])
    stamps, counts = from_epoch(cells["calc_time"], cells[ROW], str(path))
    rates = cells.select(
        ROW, stamps, rate=pl.col("last_funding_rate"), interval=pl.col("funding_interval_hours")
    )
    return _funding(rates, counts, path, zone)


def read_binance_funding_rest(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read joined answers of ``/fundingRate``: objects whose numbers are texts; ``markPrice`` is not used."""
    cells = read_array(path, ("fundingTime", "fundingRate"))
    cells = to_numbers(cells, path, integers=("fundingTime",), numbers=("fundingRate",))
    stamps, counts = from_epoch(cells["fundingTime"], cells[ROW], str(path))
    return _funding(cells.select(ROW, stamps, rate=pl.col("fundingRate")), counts, path, zone)


def _funding(cells: pl.DataFrame, counts: dict[str, int], path: Path, zone: str) -> Reading:
    """Funding observations of one symbol."""
    symbol = symbol_in_name(path, "perpetual")
    stamps = to_utc(cells["ts"], zone, cells[ROW], str(path))
    frame = cells.with_columns(stamps, symbol=pl.lit(symbol), venue=pl.lit("binance"))
    reading = settle_funding(frame, path, zone)
    return Reading(reading.frame, mixed_units(counts, "raw.funding", symbol, stamps) + reading.findings)


def _first_line(path: Path) -> str:
    """First line of the file in lower case."""
    return read_bytes(path, limit=4096).split(b"\n", 1)[0].decode("utf-8", errors="replace").lower()


def _holds_pair(seen: Sample) -> tuple[Held, ...]:
    """Symbol and market that the name claims."""
    market = market_of_path(seen.path)
    return (Held(symbol_in_name(seen.path, market), market, "binance"),)


def _is_klines(seen: Sample) -> bool:
    """Twelve columns: the vendor's header, or none and a stamp, prices and a later stamp."""
    if seen.container != "csv" or not seen.rows or len(seen.rows[0]) != len(_KLINE):
        return False
    headed = seen.has("open_time", "close_time", "open")
    row = seen.rows[0]
    return headed or (
        not seen.columns and row[0].isdigit() and row[6].isdigit() and int(row[6]) > int(row[0])
    )


def _is_klines_rest(seen: Sample) -> bool:
    """Arrays of twelve, prices as text."""
    row = seen.rows[0] if seen.rows else None
    return seen.container == "json" and isinstance(row, list) and len(row) == 12 and isinstance(row[1], str)


FORMATS = (
    Format("Binance klines archive", "candles", 10, _is_klines, read_binance_klines, _holds_pair),
    Format(
        "Binance klines REST answer", "candles", 11, _is_klines_rest, read_binance_klines_rest, _holds_pair
    ),
    Format(
        "Binance funding archive",
        "funding",
        10,
        lambda s: s.has("calc_time", "last_funding_rate"),
        read_binance_funding,
    ),
    Format(
        "Binance funding REST answer",
        "funding",
        11,
        lambda s: s.has("fundingtime", "fundingrate"),
        read_binance_funding_rest,
    ),
)
