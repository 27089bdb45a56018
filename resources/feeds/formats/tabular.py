"""Plain tables, CSV, Parquet or Feather: candles and funding under the usual column names."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.bars import CANDLES, PRICES, settle_candles
from resources.feeds.formats.format import Format, Held, Sample, sample
from resources.feeds.formats.funding import settle_funding
from resources.feeds.formats.symbols import Market, market_of_path, spell, symbol_in_name
from resources.feeds.formats.text import ROW, read_cells
from resources.feeds.formats.timestamps import UTC_ZONE, from_epoch, from_text, mixed_units, to_utc

__all__ = ["FORMATS", "load_table", "moments", "read_candles", "read_funding", "time_column"]

_TIME = ("ts", "open_time", "datetime", "timestamp", "date", "time", "unix")


def time_column(columns: tuple[str, ...]) -> str | None:
    """First of the usual names of a stamp among the columns."""
    return next((name for name in _TIME if name in columns), None)


def load_table(seen: Sample, numbers: tuple[str, ...], texts: tuple[str, ...] = ()) -> pl.DataFrame:
    """Read columns of a table; CSV, Parquet and Feather give the same frame.

    Parameters
    ----------
    seen : Sample
        First look at the file.
    numbers, texts : tuple of str
        Columns to keep, as Float64 and String; a stamp column keeps its own type (String in CSV).

    Returns
    -------
    DataFrame
        The columns and ``row`` (one-based; in CSV the line).

    Raises
    ------
    DataError
        If a column is missing (those that exist are listed), the file is damaged or a cell is no number.
    """
    for name in (*numbers, *texts):
        if name not in seen.columns:
            raise DataError(f"missing; the file has {list(seen.columns)}", source=str(seen.path), column=name)
    if seen.container == "csv":
        return read_cells(seen.path, seen.columns, seen.skip, numbers=numbers, texts=texts)
    scan = pl.scan_parquet if seen.container == "parquet" else pl.scan_ipc
    try:
        lazy = scan(seen.path)
        spelled = {name: name.lower() for name in lazy.collect_schema().names()}
        frame = lazy.rename(spelled).select(*numbers, *texts).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{seen.container} file is damaged or cut: {error}", source=str(seen.path)) from error
    for name in numbers:
        cast = frame[name].cast(pl.Float64, strict=False)
        if (wrong := cast.is_null() & frame[name].is_not_null()).any():
            at = int(wrong.arg_max() or 0)
            raise DataError(
                f"{frame[name][at]!r} is not a number", source=str(seen.path), row=at + 1, column=name
            )
        frame = frame.with_columns(cast)
    return frame.with_row_index(ROW, offset=1).with_columns(pl.col(ROW).cast(pl.Int64))


def moments(frame: pl.DataFrame, column: str, zone: str, path: Path) -> tuple[pl.Series, dict[str, int]]:
    """Stamps of a column in UTC, and the number of rows per unit where they were numbers.

    A declared zone overrides the one that the column states.

    Raises
    ------
    DataError
        If a stamp is missing, is not understood or has no plausible year; the row is named.
    """
    values, rows, source = frame[column], frame[ROW], str(path)
    if values.null_count():
        raise DataError(
            "stamp is missing", source=source, row=rows[int(values.is_null().arg_max() or 0)], column=column
        )
    counts: dict[str, int] = {}
    if isinstance(values.dtype, pl.Datetime):
        stamps = (
            values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            if values.dtype.time_zone
            else values
        )
        stamps = stamps.cast(pl.Datetime("us"))
    elif values.dtype == pl.Date:
        stamps = values.cast(pl.Datetime("us"))
    elif values.dtype.is_numeric():
        stamps, counts = from_epoch(values, rows, source)
    elif values.dtype == pl.String and values.str.contains(r"^\s*\d{9,}(\.\d+)?\s*$").all():
        stamps, counts = from_epoch(values.str.strip_chars().cast(pl.Float64), rows, source)
    elif values.dtype == pl.String:
        stamps = from_text(values, rows, source)
    else:
        raise DataError(f"has type {values.dtype}, a stamp is needed", source=source, column=column)
    return to_utc(stamps.rename("ts"), zone, rows, source), counts


def read_candles(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read candles under usual names: a stamp, prices, ``volume``, perhaps ``symbol`` and ``venue``.

    Without a ``symbol`` column the symbol comes from the file name.
    """
    seen = sample(path)
    stamp = time_column(seen.columns)
    if stamp is None:
        raise DataError(
            f"no stamp column among {list(seen.columns)}; one of {_TIME} is needed", source=str(path)
        )
    texts = tuple(name for name in ("symbol", "venue") if name in seen.columns)
    cells = load_table(seen, (*PRICES, "volume"), (*texts, stamp))
    market = market_of_path(path)
    stamps, counts = moments(cells, stamp, zone, path)
    frame = _with_symbol(cells.drop(stamp), path, market).with_columns(stamps.alias("ts"))
    reading = settle_candles(frame, str(path), market, zone)
    found = mixed_units(counts, CANDLES, frame["symbol"][0], stamps)
    return Reading(reading.frame, found + reading.findings)


def _with_symbol(cells: pl.DataFrame, path: Path, market: Market) -> pl.DataFrame:
    """Spell the symbols, or take the one in the file name."""
    if "symbol" not in cells.columns:
        return cells.with_columns(pl.lit(symbol_in_name(path, market)).alias("symbol"))
    if cells["symbol"].null_count():
        row = cells.filter(pl.col("symbol").is_null())[ROW][0]
        raise DataError("symbol is missing", source=str(path), row=row, column="symbol")
    spelled = {text: spell(text, market) or text for text in cells["symbol"].unique()}
    return cells.with_columns(pl.col("symbol").replace_strict(spelled, return_dtype=pl.String))


def read_funding(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read funding under usual names: ``symbol``, a stamp, ``funding_rate``, perhaps ``venue``."""
    seen = sample(path)
    stamp = time_column(seen.columns) or "ts"
    texts = tuple(name for name in ("symbol", "venue") if name in seen.columns)
    cells = load_table(seen, ("funding_rate",), (*texts, stamp))
    stamps, _ = moments(cells, stamp, zone, path)
    frame = _with_symbol(cells.drop(stamp), path, "perpetual")
    return settle_funding(
        frame.with_columns(stamps.alias("ts"), pl.col("funding_rate").alias("rate")), path, zone
    )


def _is_candles(seen: Sample) -> bool:
    """Tell a stamp, prices and volume."""
    return seen.container != "json" and time_column(seen.columns) is not None and seen.has(*PRICES, "volume")


def _holds(seen: Sample) -> tuple[Held, ...]:
    """List the symbols in the column, or the one in the file name."""
    market = market_of_path(seen.path)
    if "symbol" not in seen.columns:
        return (Held(symbol_in_name(seen.path, market), market),)
    names = tuple(name for name in ("venue", "symbol") if name in seen.columns)
    rows = load_table(seen, (), names).select(names).unique().rows()
    pairs = {("", *row)[-2:] for row in rows}
    held = {(venue, spell(text, market) or text) for venue, text in pairs if text}
    return tuple(
        Held(symbol, "perpetual" if market == "spot" and ":" in symbol else market, venue)
        for venue, symbol in sorted(held)
    )


FORMATS = (
    Format(
        "candles, Parquet",
        "candles",
        0,
        lambda s: s.container == "parquet" and _is_candles(s),
        read_candles,
        _holds,
    ),
    Format("candles, CSV or Feather", "candles", 25, _is_candles, read_candles, _holds),
    Format("funding, Parquet or CSV", "funding", 0, lambda s: s.has("symbol", "funding_rate"), read_funding),
)
