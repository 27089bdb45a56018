"""JSON files that hold one long array: read at once, numbers found where the vendor wrote texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from engine.errors import DataError
from resources.feeds.formats.text import ROW, read_bytes

__all__ = ["read_array", "to_numbers"]


def read_array(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Read an array of objects or of arrays, or the one under ``data``, as texts.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Keys to take from each object, or the names of the leading values of each array.

    Returns
    -------
    DataFrame
        The columns as String (missing values null) and ``row``, the one-based number of the element.

    Raises
    ------
    DataError
        If the text is no such JSON (cut: the element is named), or an element lacks a value.
    """
    raw = read_bytes(path)
    try:
        content: Any = json.loads(raw)
    except json.JSONDecodeError as error:
        text = raw.decode()
        row = max(text.count("},", 0, error.pos), text.count("],", 0, error.pos)) + 1
        raise DataError(f"JSON is damaged or cut: {error.msg}", source=str(path), row=row) from error
    elements = content.get("data") if isinstance(content, dict) else content
    if not isinstance(elements, list) or not elements:
        raise DataError("holds no array of rows", source=str(path))
    values = _values(elements, columns, path)
    series = [
        pl.Series(name, [None if v is None else str(v) for v in column], pl.String)
        for name, column in values.items()
    ]
    return pl.DataFrame(series).with_row_index(ROW, offset=1).with_columns(pl.col(ROW).cast(pl.Int64))


def _values(elements: list[Any], columns: Sequence[str], path: Path) -> dict[str, list[Any]]:
    """One list for each column."""
    if isinstance(elements[0], dict):
        lacking = next(
            (i for i, e in enumerate(elements) if not isinstance(e, dict) or not e.keys() >= set(columns)),
            None,
        )
        if lacking is None:
            return {name: [element[name] for element in elements] for name in columns}
    else:
        lacking = next(
            (i for i, e in enumerate(elements) if not isinstance(e, list) or len(e) < len(columns)), None
        )
        if lacking is None:
            return {name: [element[i] for element in elements] for i, name in enumerate(columns)}
    raise DataError(f"element lacks one of {list(columns)}", source=str(path), row=lacking + 1)


def to_numbers(
    frame: pl.DataFrame, path: Path, *, integers: Sequence[str] = (), numbers: Sequence[str] = ()
) -> pl.DataFrame:
    """Turn columns of texts into Int64 and Float64.

    Raises
    ------
    DataError
        If a text is not a number; its row and column are named.
    """
    for names, dtype in ((integers, pl.Int64()), (numbers, pl.Float64())):
        for name in names:
            cast = frame[name].cast(dtype, strict=False)
            if cast.null_count():
                at = int(cast.is_null().arg_max() or 0)
                raise DataError(
                    f"{frame[name][at]!r} is not a number", source=str(path), row=frame[ROW][at], column=name
                )
            frame = frame.with_columns(cast)
    return frame
