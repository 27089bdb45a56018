"""Text files: their encoding, what stands before the data, and cells that are not what they should be."""

from __future__ import annotations

import codecs
import zipfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from engine.errors import DataError

__all__ = ["ROW", "read_bytes", "read_cells", "split_line"]

ROW = "row"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Read a text file, or the one in a zip archive, as UTF-8 without byte-order mark.

    Parameters
    ----------
    path : Path
        CSV, JSON, or a zip archive that holds exactly one file.
    limit : int, optional
        Read about this many bytes from the start, cut back to whole lines; nothing else is checked.

    Raises
    ------
    DataError
        If the file is empty, the archive is damaged or holds several files, or the text is neither
        UTF-8 nor UTF-16 (the row is named).
    """
    raw = _unzipped(path, limit) if _is_zip(path) else _plain(path, limit)
    if raw[:2] in _UTF16:
        try:
            raw = raw[: len(raw) // 2 * 2].decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise DataError(f"starts as UTF-16 and is not: {error.reason}", source=str(path)) from error
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if limit is not None:
        return raw[: raw.rfind(b"\n") + 1] if len(raw) >= limit // 2 and b"\n" in raw else raw
    if not raw or raw.isspace():
        raise DataError("is empty", source=str(path))
    if raw.isascii():
        return raw
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8", source=str(path), row=row
        ) from error
    return raw


def _is_zip(path: Path) -> bool:
    """Tell an archive by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _plain(path: Path, limit: int | None) -> bytes:
    """Bytes of a file, all or the first ``limit``."""
    with path.open("rb") as file:
        return file.read(-1 if limit is None else limit)


def _unzipped(path: Path, limit: int | None) -> bytes:
    """Bytes of the only file in an archive; its checksum is verified when it is read whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise DataError(f"holds {len(names)} files, one is expected: {names[:5]}", source=str(path))
            with archive.open(names[0]) as member:
                return member.read(-1 if limit is None else limit)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"zip archive is damaged or cut: {error}", source=str(path)) from error


def split_line(line: str) -> tuple[str, ...]:
    """Cells of one line, without quotes and spaces around them."""
    return tuple(cell.strip().strip('"') for cell in line.rstrip("\r\n").split(","))


def read_cells(
    path: Path,
    columns: Sequence[str],
    skip: int,
    *,
    numbers: Sequence[str] = (),
    integers: Sequence[str] = (),
    texts: Sequence[str] = (),
    may_be_empty: Sequence[str] = (),
) -> pl.DataFrame:
    """Read the named columns of a CSV file, each cell of the type it must have.

    Parameters
    ----------
    path : Path
        CSV file, or a zip archive of one.
    columns : sequence of str
        Names of all columns in order, as this reader is to call them.
    skip : int
        Lines before the first row of data.
    numbers, integers, texts : sequence of str
        Columns to keep, as Float64, Int64 and String.
    may_be_empty : sequence of str
        Those of them in which an empty cell is a missing value.

    Returns
    -------
    DataFrame
        The columns asked for and ``row``, the one-based line in the file.

    Raises
    ------
    DataError
        If a cell is missing or is not a number, a line has too few or too many cells, or the last line does
        not end in a line break: it may be cut inside a number that still reads as one. The row is named.
    """
    raw = read_bytes(path)
    if not raw.endswith(b"\n"):
        raise DataError(
            "the last line does not end in a line break: it may be cut; get the whole file or end the line",
            source=str(path),
            row=raw.count(b"\n") + 1,
        )
    if not raw[-2:-1].strip():
        raw = raw.rstrip() + b"\n"
    types: dict[str, pl.DataType] = {c: pl.String() for c in columns}
    types |= {c: pl.Float64() for c in numbers} | {c: pl.Int64() for c in integers}
    wanted = [c for c in columns if c in {*numbers, *integers, *texts}]
    if raw.count(b"\n") <= skip:
        raise DataError("has no rows of data", source=str(path))
    _refuse_ragged(path, raw, len(columns), skip)
    try:
        frame = _parse(raw, types, wanted, skip)
    except pl.exceptions.PolarsError as error:
        _name_the_cell(path, raw, types, wanted, skip)
        raise DataError(f"is not readable as CSV: {str(error).splitlines()[0]}", source=str(path)) from error
    for name in wanted:
        if name not in may_be_empty and frame[name].null_count():
            row = frame[ROW][int(frame[name].is_null().arg_max() or 0)]
            raise DataError("cell is empty; the line may be cut", source=str(path), row=row, column=name)
    return frame


def _parse(raw: bytes, types: dict[str, pl.DataType], wanted: list[str], skip: int) -> pl.DataFrame:
    """Columns ``wanted`` with their line numbers."""
    lines = pl.scan_csv(raw, has_header=False, skip_rows=skip, schema=types, missing_columns="insert")
    frame = lines.select(wanted).collect()
    return frame.with_row_index(ROW, offset=skip + 1).with_columns(pl.col(ROW).cast(pl.Int64))


def _refuse_ragged(path: Path, raw: bytes, columns: int, skip: int) -> None:
    """Refuse lines with too few or too many cells, unless quotes make commas ambiguous."""
    body = raw.split(b"\n", skip)[skip]
    if b'"' in body or body.count(b",") == body.count(b"\n") * (columns - 1):
        return
    for at, line in enumerate(body.splitlines()):
        if (cells := line.count(b",") + 1) != columns:
            raise DataError(
                f"line has {cells} cells, {columns} columns are known: cut, or a comma inside a number",
                source=str(path),
                row=skip + at + 1,
            )


def _name_the_cell(
    path: Path, raw: bytes, types: dict[str, pl.DataType], wanted: list[str], skip: int
) -> None:
    """Find the cell that kept a file from being read, and refuse it by its row."""
    texts = _parse(raw, dict.fromkeys(types, pl.String()), wanted, skip)
    for name in wanted:
        cast = texts[name].str.strip_chars().cast(types[name], strict=False)
        wrong = cast.is_null() & texts[name].is_not_null()
        if wrong.any():
            at = int(wrong.arg_max() or 0)
            raise DataError(
                f"{texts[name][at]!r} is not a number", source=str(path), row=skip + at + 1, column=name
            )
