"""CryptoDataDownload CSV: a line before the header, newest first, mixed units, rows that are no bars."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from engine.errors import DataError
from engine.market.finding import Finding, Reading
from resources.feeds.formats.bars import CANDLES, PRICES, noted, settle_candles
from resources.feeds.formats.format import Format, Held, Sample, sample
from resources.feeds.formats.precision import changes_of_precision
from resources.feeds.formats.symbols import Market, market_of_path, spell, token_of_venue
from resources.feeds.formats.text import ROW, read_cells
from resources.feeds.formats.timestamps import UTC_ZONE, from_epoch, from_text, mixed_units, span, to_utc

__all__ = ["FORMATS", "read_cryptodatadownload"]

_STAMPS = ("unix", "unix timestamp")
_DAY_FIRST = ("%d-%m-%y %H:%M:%S", "%d-%m-%Y %H:%M:%S", "%d/%m/%y %H:%M:%S", "%d/%m/%Y %H:%M:%S")
_WRONG_OPEN = 2.0


def read_cryptodatadownload(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read an hourly, daily or minute file of CryptoDataDownload.

    - ``unix`` decides the time, row by row in seconds or milliseconds; where ``date`` differs it is reported.
    - If a spreadsheet has rounded ``unix`` (``1.63875E+12``) the time comes from ``date`` and ``time``, day
      first, as long as every row agrees with the digits that ``unix`` still has, else it is refused.
    - Of rows that repeat a bar the first is kept; the vendor puts the unrounded one first.
    - Rows without volume whose four prices are equal fill outages of the venue: no bars, and left out.
    - A first bar that opens at twice or half its close is left out.
    - The newest bar is left out: the vendor writes the file while it is open.

    Raises
    ------
    DataError
        If a cell, a stamp or a price cannot be right; the row is named.
    """
    seen = sample(path)
    market = market_of_path(path)
    held = _holds(seen)[0]
    stamp = next(name for name in _STAMPS if name in seen.columns)
    clock = tuple(name for name in ("date", "time") if name in seen.columns)
    volume = _base_volume(seen, held.symbol)
    cells = read_cells(
        path, seen.columns, seen.skip, numbers=(*PRICES, volume), texts=(stamp, "symbol", *clock)
    )
    _one_symbol(cells, path)
    frame = cells.select(ROW, *PRICES, pl.col(volume).alias("volume"), pl.lit(held.symbol).alias("symbol"))
    stamps, found = _stamps(cells, stamp, clock, held.symbol, path)
    frame = frame.with_columns(to_utc(stamps, zone, cells[ROW], str(path)))
    reading = settle_candles(frame, str(path), market, zone)
    bars, left_out = _only_bars(reading.frame)
    found += reading.findings + left_out + _change_of_source(bars, held.symbol)
    return Reading(bars, found)


def _one_symbol(cells: pl.DataFrame, path: Path) -> None:
    """Refuse a file that changes its symbol."""
    other = cells.filter(pl.col("symbol") != pl.col("symbol").first())
    if other.height:
        raise DataError(
            f"symbol changes from {cells['symbol'][0]!r} to {other['symbol'][0]!r}",
            source=str(path),
            row=other[ROW][0],
            column="symbol",
        )


def _stamps(
    cells: pl.DataFrame, stamp: str, clock: tuple[str, ...], symbol: str, path: Path
) -> tuple[pl.Series, tuple[Finding, ...]]:
    """Moments of the rows, and what was odd about them."""
    text = cells[stamp].str.strip_chars().str.to_uppercase()
    if text.str.contains("E+", literal=True).any():
        return _from_damaged(cells, text, clock, symbol, path)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count():
        at = int(numbers.is_null().arg_max() or 0)
        raise DataError(f"{text[at]!r} is not a stamp", source=str(path), row=cells[ROW][at], column=stamp)
    stamps, counts = from_epoch(numbers, cells[ROW], str(path))
    found: tuple[Finding, ...] = mixed_units(counts, CANDLES, symbol, stamps)
    if clock == ("date",):
        said = from_text(cells["date"], cells[ROW], str(path))
        apart = cells.select(ROW, pl.lit(symbol).alias("symbol"), stamps, (stamps - said).alias("apart"))
        apart = apart.filter(pl.col("apart") != timedelta(0))
        if apart.height:
            hours = ", ".join(sorted({f"{d / timedelta(hours=1):+g} h" for d in apart["apart"].unique()}))
            rows = f"rows {apart[ROW].min()!r} to {apart[ROW].max()!r}"
            detail = f"{rows}: unix is {hours} away from date; unix is used"
            found += noted(apart, "damage", "warn", detail)
    return stamps, found


def _from_damaged(
    cells: pl.DataFrame, text: pl.Series, clock: tuple[str, ...], symbol: str, path: Path
) -> tuple[pl.Series, tuple[Finding, ...]]:
    """Take the time from ``date`` and ``time`` where a spreadsheet has rounded ``unix``."""
    if clock != ("date", "time"):
        raise DataError(
            f"a spreadsheet rounded the stamps ({text[0]!r}) and there is no date and time to recover "
            "them from; download the file again",
            source=str(path),
            row=cells[ROW][0],
        )
    stamps = from_text(cells["date"] + " " + cells["time"], cells[ROW], str(path), _DAY_FIRST)
    # 1.63875E+12 stands for all that rounds to it: half a unit of its last digit to either side.
    parts = text.str.extract_groups(r"^\d+(?:\.(\d*))?E\+(\d+)$").struct.unnest()
    digits = pl.col("1").fill_null("").str.len_chars().cast(pl.Int64)
    half_unit = parts.select((0.5 * pl.lit(10.0).pow(pl.col("2").cast(pl.Int64) - digits)).alias("half"))[
        "half"
    ]
    apart = (stamps.dt.epoch("ms").cast(pl.Float64) - text.cast(pl.Float64, strict=False)).abs()
    doubtful = (apart > half_unit).fill_null(value=True)
    if doubtful.any():
        at = int(doubtful.arg_max() or 0)
        raise DataError(
            f"stamp {text[at]!r} was rounded by a spreadsheet and does not agree with {cells['date'][at]} "
            f"{cells['time'][at]} read day first; download the file again",
            source=str(path),
            row=cells[ROW][at],
        )
    steps = stamps.diff().drop_nulls()
    if not ((steps < timedelta(0)).all() or (steps > timedelta(0)).all()):
        raise DataError(
            "recovered stamps are neither all newest first nor all oldest first", source=str(path)
        )
    rows = cells.select(pl.lit(symbol).alias("symbol"), stamps)
    shape = f"{text.n_unique()} values in {text.len()} rows"
    detail = f"unix was rounded by a spreadsheet ({shape}); the time is from date and time"
    return stamps, noted(rows, "damage", "warn", detail, "saved from a spreadsheet")


def _only_bars(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Leave out what the vendor writes although it is no finished bar."""
    newest = frame.tail(1)
    frame = frame.head(-1)
    share = newest["volume"][0] / (frame["volume"].median() or 1.0) if frame.height else 0.0
    detail = (
        f"newest bar, {share:.2g} of the usual volume: the vendor writes files while it is open; left out"
    )
    found = noted(newest, "unfinished", "error", detail)
    first = frame.head(1)
    apart = pl.max_horizontal(pl.col("open") / pl.col("close"), pl.col("close") / pl.col("open"))
    wrong = first.filter(apart >= _WRONG_OPEN)
    if wrong.height:
        opened, closed = wrong["open"][0], wrong["close"][0]
        found += noted(
            wrong, "price", "error", f"first bar opens at {opened:g} and closes at {closed:g}; left out"
        )
        frame = frame.tail(-1)
    filler = (pl.col("volume") == 0) & pl.all_horizontal(pl.col(c) == pl.col("open") for c in PRICES)
    filled = frame.filter(filler)
    detail = f"{filled.height} rows without volume and with one price fill outages; left out"
    found += noted(filled, "filled_outage", "error", detail, "the vendor repeats the last price")
    return frame.filter(~filler), found


def _change_of_source(bars: pl.DataFrame, symbol: str) -> tuple[Finding, ...]:
    """Suspect another venue, or another way of counting, where the decimals of the volume change for good."""
    found: tuple[Finding, ...] = ()
    for first, before, after in changes_of_precision(bars, "volume"):
        older = bars.filter(pl.col("ts") < first)
        detail = f"volumes have {before} decimals before {first:%Y-%m-%d %H:%M} and {after} from then on"
        cause = "the vendor changed its source, perhaps the venue"
        found += (
            Finding(CANDLES, symbol, "venue_switch", "warn", *span(older["ts"]), older.height, detail, cause),
        )
    return found


def _base_volume(seen: Sample, symbol: str) -> str:
    """Name of the column that counts volume in the base coin."""
    named = f"volume {symbol.split('/')[0].lower()}"
    for name in (named, "volume"):
        if name in seen.columns:
            return name
    raise DataError(f"no column {named!r}; the file has {list(seen.columns)}", source=str(seen.path))


def _holds(seen: Sample) -> tuple[Held, ...]:
    """Symbol in the first row; the market is in the file name."""
    market: Market = market_of_path(seen.path)
    if not seen.rows:
        raise DataError("has no rows of data", source=str(seen.path))
    text = seen.rows[0][seen.columns.index("symbol")]
    symbol = spell(text, market)
    if symbol is None:
        raise DataError(f"symbol {text!r} is not understood", source=str(seen.path), row=seen.skip + 1)
    return (Held(symbol, market, token_of_venue(seen.path)),)


def _matches(seen: Sample) -> bool:
    """Its own name for the stamp, beside date and symbol."""
    return (
        seen.container == "csv"
        and seen.has("date", "symbol", "open")
        and any(s in seen.columns for s in _STAMPS)
    )


FORMATS = (Format("CryptoDataDownload CSV", "candles", 30, _matches, read_cryptodatadownload, _holds),)
