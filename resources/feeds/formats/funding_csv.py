"""Funding history, CSV of ``Symbol,Date,Funding Rate``: the venue is in the name, the zone is not stated."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.format import Format, sample
from resources.feeds.formats.funding import settle_funding
from resources.feeds.formats.symbols import spell, token_of_venue
from resources.feeds.formats.text import ROW, read_cells
from resources.feeds.formats.timestamps import UTC_ZONE, from_text, to_utc

__all__ = ["FORMATS", "read_funding_csv"]

_COLUMNS = ("symbol", "date", "funding rate")


def read_funding_csv(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read funding history; some of these files are in local time, which ``zone`` declares.

    Raises
    ------
    DataError
        If a cell or a stamp is not understood; the row is named.
    """
    seen = sample(path)
    cells = read_cells(path, seen.columns, seen.skip, numbers=("funding rate",), texts=("symbol", "date"))
    spelled = {text: spell(text, "perpetual") for text in cells["symbol"].unique()}
    for text, symbol in spelled.items():
        if symbol is None:
            row = cells.filter(pl.col("symbol") == text)[ROW][0]
            raise DataError(f"symbol {text!r} is not understood", source=str(path), row=row, column="symbol")
    frame = cells.select(
        ROW,
        pl.col("funding rate").alias("rate"),
        pl.col("symbol").replace_strict(spelled, return_dtype=pl.String),
        pl.lit(token_of_venue(path)).alias("venue"),
        to_utc(from_text(cells["date"], cells[ROW], str(path)), zone, cells[ROW], str(path)),
    )
    return settle_funding(frame, path, zone)


FORMATS = (
    Format("funding history CSV", "funding", 30, lambda s: set(s.columns) == set(_COLUMNS), read_funding_csv),
)
