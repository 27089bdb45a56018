"""The one list of formats, and how a file finds its own."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats import (
    aave,
    alternative_me,
    balances,
    binance,
    coinglass,
    coinmetrics,
    commits,
    cryptodatadownload,
    freqtrade,
    funding_csv,
    tabular,
)
from resources.feeds.formats.barsize import bar_at_first_look
from resources.feeds.formats.format import Format, Held, sample
from resources.feeds.formats.timestamps import UTC_ZONE

__all__ = ["FORMATS", "Stamp", "UnknownFormatError", "contents", "read", "recognise", "stamp_of"]

# Order matters where one layout contains another: vendors first, plain tables last.
FORMATS: tuple[Format, ...] = (
    *binance.FORMATS,
    *cryptodatadownload.FORMATS,
    *freqtrade.FORMATS,
    *funding_csv.FORMATS,
    *alternative_me.FORMATS,
    *coinmetrics.FORMATS,
    *balances.FORMATS,
    *aave.FORMATS,
    *commits.FORMATS,
    *coinglass.FORMATS,
    *tabular.FORMATS,
)

Stamp = tuple[str, int, int]


class UnknownFormatError(DataError):
    """A file that is whole, as far as can be seen, but in no format that is known."""


def stamp_of(path: Path) -> Stamp:
    """Path, size and time of change: the same stamp, the same content."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def recognise(path: Path) -> Format:
    """Tell a file's format from its first bytes and rows; its name decides only what the content leaves open.

    Raises
    ------
    UnknownFormatError
        If the file fits no format; the known ones are listed.
    DataError
        If the file is empty or damaged.
    """
    return _recognise(stamp_of(path))[0]


def contents(path: Path) -> tuple[tuple[Held, ...], timedelta | None]:
    """Series of candles that a file holds and the size of their bars, without reading all of it.

    Returns
    -------
    tuple
        The series, and the bar size where the first rows tell it; empty for other tables.
    """
    return _recognise(stamp_of(path))[1:]


@lru_cache(maxsize=4096)
def _recognise(stamp: Stamp) -> tuple[Format, tuple[Held, ...], timedelta | None]:
    """Format, series and bar size of a file as it is now."""
    path = Path(stamp[0])
    seen = sample(path)
    for known in FORMATS:
        if known.matches(seen):
            return (
                (known, known.holds(seen), bar_at_first_look(seen))
                if known.table == "candles"
                else (known, (), None)
            )
    names = "; ".join(known.name for known in FORMATS)
    columns = list(seen.columns) or "without names"
    raise UnknownFormatError(
        f"is in no known format: {seen.container}, columns {columns}. Known: {names}", source=str(path)
    )


def read(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read a file of any known format.

    Parameters
    ----------
    path : Path
        The file.
    zone : str
        Zone of its stamps, where they are not UTC.

    Returns
    -------
    Reading
        Candles or observations, with all that was noticed.

    Raises
    ------
    DataError
        If the format is unknown or a row cannot be right; file, row and reason are named.
    """
    return recognise(path).read(path, zone)
