"""A table of the warehouse, declared once: its columns, their types, units and meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from engine.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Column", "SqlType", "Table"]

_NAME = re.compile(r"[a-z_][a-z0-9_]*")

SqlType = Literal["VARCHAR", "TIMESTAMP", "DOUBLE", "BIGINT", "BOOLEAN", "BLOB", "DOUBLE[]", "VARCHAR[]"]


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        Column name, snake case.
    type : SqlType
        DuckDB type. ``TIMESTAMP`` is UTC without a zone, in microseconds.
    description : str
        What the value means, with its unit.
    nullable : bool
        Whether a missing value is allowed.
    """

    name: str
    type: SqlType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table: ``schema.name``, its columns, the key that makes a row unique, and what it is for."""

    schema: str
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        names = self.column_names
        for name in (self.schema, self.name, *names):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{self.full_name}: {name!r} is not a lower-case name of letters, digits and _"
                )
        if len(set(names)) < len(names):
            raise ValueError(f"{self.full_name}: column names repeat in {names}")
        unknown = set(self.key) - set(names)
        if unknown:
            raise ValueError(f"{self.full_name}: key names unknown columns {sorted(unknown)}")

    @property
    def full_name(self) -> str:
        """``schema.name`` as SQL and the asset graph write it."""
        return f"{self.schema}.{self.name}"

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in order."""
        return [c.name for c in self.columns]

    @cached_property
    def polars_schema(self) -> dict[str, pl.DataType]:
        """The same columns as Polars types."""
        import polars as pl

        types: dict[str, pl.DataType] = {
            "VARCHAR": pl.String(),
            "TIMESTAMP": pl.Datetime("us"),
            "DOUBLE": pl.Float64(),
            "BIGINT": pl.Int64(),
            "BOOLEAN": pl.Boolean(),
            "BLOB": pl.Binary(),
            "DOUBLE[]": pl.List(pl.Float64()),
            "VARCHAR[]": pl.List(pl.String()),
        }
        return {c.name: types[c.type] for c in self.columns}

    def ddl(self) -> str:
        """``CREATE TABLE`` for this declaration."""
        lines = [f'"{c.name}" {c.type}{"" if c.nullable else " NOT NULL"}' for c in self.columns]
        return f'CREATE TABLE IF NOT EXISTS "{self.schema}"."{self.name}" ({", ".join(lines)})'

    def empty(self) -> pl.DataFrame:
        """Build a frame of this table without rows."""
        import polars as pl

        return pl.DataFrame(schema=self.polars_schema)

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Take this table's columns of a frame, cast to their declared types."""
        return frame.select(self.column_names).cast(dict(self.polars_schema))  # type: ignore[arg-type]

    def check(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return ``frame`` in declared column order.

        Raises
        ------
        DataError
            If a column is missing, unknown, of another type, null where it must not be,
            NaN anywhere (a missing value is null), or if the key repeats; the column is named.
        """
        import polars as pl

        for name, dtype in self.polars_schema.items():
            if name not in frame.columns:
                raise DataError(f"missing; the frame has {frame.columns}", source=self.full_name, column=name)
            if frame.schema[name] != dtype:
                got = frame.schema[name]
                raise DataError(
                    f"has type {got}, declared is {dtype}; cast it where the frame is made",
                    source=self.full_name,
                    column=name,
                )
        for name in frame.columns:
            if name not in self.polars_schema:
                raise DataError("is not declared", source=self.full_name, column=name)
        for column in self.columns:
            if not column.nullable and (missing := frame[column.name].null_count()):
                first = int(frame[column.name].is_null().arg_max() or 0) + 1
                raise DataError(
                    f"has {missing} missing values, none is allowed",
                    source=self.full_name,
                    row=first,
                    column=column.name,
                )
            if column.type == "DOUBLE" and (nan := frame[column.name].is_nan()).any():
                reason = "is NaN; a value that is missing is null, one that cannot be computed is an error"
                row = int(nan.arg_max() or 0) + 1
                raise DataError(reason, source=self.full_name, row=row, column=column.name)
        if self.key and (repeated := frame.select(pl.struct(self.key).is_duplicated())).to_series().any():
            row = int(repeated.to_series().arg_max() or 0)
            raise DataError(
                f"key {self.key} repeats: {frame.select(self.key).row(row)}",
                source=self.full_name,
                row=row + 1,
            )
        return frame.select(self.column_names)
