"""What a format is, what a file of it holds, and the first look at a file that tells its format."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.symbols import Market
from resources.feeds.formats.text import read_bytes, split_line

__all__ = ["Container", "Format", "Held", "Sample", "sample"]

Container = Literal["parquet", "feather", "csv", "json"]
_HEAD = 64 * 1024
_FIRST_ROWS, _PREAMBLE = 40, 4
_HEADER_WORDS = {"open", "time", "ts", "date", "datetime", "timestamp", "unix", "unix timestamp", "open_time"}
_HEADER_WORDS |= {"symbol", "calc_time", "asset"}


@dataclass(frozen=True)
class Sample:
    """First look at a file.

    Parameters
    ----------
    path : Path
        The file.
    container : Container
        How the bytes are laid out.
    columns : tuple of str
        Column names in lower case, as far as the file names them.
    skip : int
        Lines of text before the first row of data.
    rows : tuple
        First rows: cells as text (CSV), objects (JSON), nothing (Parquet, Feather).
    """

    path: Path
    container: Container
    columns: tuple[str, ...]
    skip: int = 0
    rows: tuple[Any, ...] = ()

    def has(self, *names: str) -> bool:
        """Whether all these columns are there."""
        return set(names) <= set(self.columns)


@dataclass(frozen=True)
class Held:
    """One series of candles that a file holds, as far as a first look tells."""

    symbol: str
    market: Market
    venue: str = ""


@dataclass(frozen=True)
class Format:
    """One vendor's layout.

    Parameters
    ----------
    name : str
        What the format is called in messages.
    table : str
        ``candles``, ``balances`` or an alternative table of schema ``raw``.
    precedence : int
        Where several files hold the same bar or observation, the lowest precedence wins.
    matches : callable
        Whether a first look fits this format.
    read : callable
        Reads the file; the second argument is the zone of its stamps.
    holds : callable
        Series in the file (candles only).
    vintages : bool
        The file says when each value was known; of several files of this format all vintages count.
    """

    name: str
    table: str
    precedence: int
    matches: Callable[[Sample], bool]
    read: Callable[[Path, str], Reading]
    holds: Callable[[Sample], tuple[Held, ...]] = lambda seen: ()
    vintages: bool = False


def sample(path: Path) -> Sample:
    """Take the first look at a file.

    Raises
    ------
    DataError
        If the file is empty, or is damaged so that not even its first rows can be read.
    """
    if not path.stat().st_size:
        raise DataError("is empty", source=str(path))
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:4] == b"PAR1" or path.suffix == ".parquet":
        return Sample(path, "parquet", _binary_columns(path, pl.read_parquet_schema))
    if magic == b"ARROW1" or path.suffix == ".feather":
        return Sample(path, "feather", _binary_columns(path, pl.read_ipc_schema))
    head = read_bytes(path, limit=_HEAD).decode("utf-8", errors="replace")
    if head.lstrip()[:1] in ("[", "{"):
        return _json_sample(path, head.lstrip())
    return _csv_sample(path, head)


def _binary_columns(path: Path, read_schema: Callable[[Path], Any]) -> tuple[str, ...]:
    """Column names of a Parquet or Feather file."""
    try:
        return tuple(name.lower() for name in read_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        kind = path.suffix.removeprefix(".")
        raise DataError(f"{kind} file is damaged or cut: {_first_line(error)}", source=str(path)) from error


def _first_line(error: Exception) -> str:
    """First line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _csv_sample(path: Path, head: str) -> Sample:
    """Find the header, if there is one, among the first lines; what stands before it is no data."""
    lines = [split_line(line) for line in head.splitlines()[:_FIRST_ROWS]]
    for skip, cells in enumerate(lines[:_PREAMBLE]):
        names = tuple(cell.lower() for cell in cells)
        if len(cells) > 1 and set(names) & _HEADER_WORDS:
            return Sample(path, "csv", names, skip + 1, tuple(lines[skip + 1 :]))
    return Sample(path, "csv", (), 0, tuple(lines))


def _json_sample(path: Path, head: str) -> Sample:
    """First elements of a JSON array, or of the array under ``data``."""
    start = head.find("[") if head.startswith("{") else 0
    decoder = json.JSONDecoder()
    rows: list[Any] = []
    at = start + 1 if start >= 0 else 0
    try:
        while len(rows) < _FIRST_ROWS:
            at += len(head[at:]) - len(head[at:].lstrip(" \r\n\t,"))
            row, at = decoder.raw_decode(head, at)
            rows.append(row)
    except json.JSONDecodeError as error:
        if not rows:
            raise DataError(f"JSON is damaged or cut: {error.msg}", source=str(path)) from error
    columns = tuple(str(key).lower() for key in rows[0]) if isinstance(rows[0], dict) else ()
    return Sample(path, "json", columns, 0, tuple(rows))
