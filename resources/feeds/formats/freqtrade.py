"""Freqtrade's data folder: candles, mark prices and funding as Feather, candles as JSON in older versions."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.bars import settle_candles
from resources.feeds.formats.format import Format, Held, Sample, sample
from resources.feeds.formats.funding import settle_funding
from resources.feeds.formats.jsontext import read_array, to_numbers
from resources.feeds.formats.symbols import Market, market_of_path, spell, token_of_venue
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, from_epoch, to_utc

__all__ = ["FORMATS", "read_freqtrade_candles", "read_freqtrade_funding", "read_freqtrade_json"]

_NAME = re.compile(
    r"^(?P<pair>[A-Z0-9]+(?:_[A-Z0-9]+){1,2})-(?P<bar>\d+[mhdw])"
    r"(?:-(?P<kind>futures|mark|funding_rate))?$"
)
_COLUMNS = ("date", "open", "high", "low", "close", "volume")
_OHLCV = _COLUMNS[1:]
# No venue lets a rate go beyond this.
_LARGEST_RATE = 0.1


def read_freqtrade_candles(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read candles or mark prices of ``PAIR-BAR[-futures|-mark].feather``; a mark may lack volume."""
    held = _holds(sample(path))[0]
    cells = load_table(sample(path), _OHLCV, ("date",))
    stamps, _ = moments(cells, "date", zone, path)
    frame = cells.with_columns(stamps, pl.lit(held.symbol).alias("symbol"))
    return settle_candles(frame, str(path), held.market, zone)


def read_freqtrade_funding(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read ``PAIR-BAR-funding_rate.feather``: the rate stands in ``open``, the other columns are 0.

    Raises
    ------
    DataError
        If other columns are not 0 or a rate is beyond a tenth: the file then holds prices.
    """
    held = _holds(sample(path))[0]
    cells = load_table(sample(path), _OHLCV, ("date",))
    zero = pl.all_horizontal(pl.col(c).fill_null(0.0) == 0 for c in _OHLCV[1:])
    strange = cells.filter(~zero | (pl.col("open").abs() > _LARGEST_RATE))
    if strange.height:
        raise DataError(
            "is named a funding rate and holds prices: open is no rate or the other columns are not 0",
            source=str(path),
            row=strange[ROW][0],
        )
    stamps, _ = moments(cells, "date", zone, path)
    frame = cells.select(ROW, pl.col("open").alias("rate"), pl.lit(held.symbol).alias("symbol"), stamps)
    return settle_funding(frame, path, zone)


def read_freqtrade_json(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read the older ``PAIR-BAR.json``: arrays of a stamp in milliseconds and five numbers."""
    held = _holds(sample(path))[0]
    cells = to_numbers(read_array(path, _COLUMNS), path, integers=("date",), numbers=_OHLCV)
    stamps, _ = from_epoch(cells["date"], cells[ROW], str(path))
    frame = cells.with_columns(
        to_utc(stamps, zone, cells[ROW], str(path)), pl.lit(held.symbol).alias("symbol")
    )
    return settle_candles(frame, str(path), held.market, zone)


def _holds(seen: Sample) -> tuple[Held, ...]:
    """Pair and market are in the file name, the venue in a folder above."""
    match = _NAME.match(seen.path.stem)
    if match is None:
        raise DataError("is not named PAIR-BAR[-futures|-mark|-funding_rate]", source=str(seen.path))
    market: Market = "mark" if match["kind"] == "mark" else market_of_path(seen.path)
    if match["kind"] == "funding_rate":
        market = "perpetual"
    venue = next(filter(None, (token_of_venue(p) for p in (seen.path, seen.path.parent))), "")
    return (Held(spell(match["pair"], market) or match["pair"], market, venue),)


def _named(seen: Sample, kinds: tuple[str | None, ...]) -> bool:
    """Whether the file name is freqtrade's, of one of these kinds."""
    match = _NAME.match(seen.path.stem)
    return match is not None and match["kind"] in kinds


def _is_feather(seen: Sample) -> bool:
    """Freqtrade's six columns."""
    return seen.container == "feather" and set(seen.columns) == set(_COLUMNS)


def _is_json(seen: Sample) -> bool:
    """Arrays of six numbers."""
    row = seen.rows[0] if seen.rows else None
    return (
        seen.container == "json" and isinstance(row, list) and len(row) == 6 and not isinstance(row[1], str)
    )


FORMATS = (
    Format(
        "freqtrade funding, Feather",
        "funding",
        20,
        lambda s: _is_feather(s) and _named(s, ("funding_rate",)),
        read_freqtrade_funding,
    ),
    Format(
        "freqtrade candles, Feather",
        "candles",
        20,
        lambda s: _is_feather(s) and _named(s, (None, "futures", "mark")),
        read_freqtrade_candles,
        _holds,
    ),
    Format(
        "freqtrade candles, JSON",
        "candles",
        21,
        lambda s: _is_json(s) and _named(s, (None,)),
        read_freqtrade_json,
        _holds,
    ),
)
