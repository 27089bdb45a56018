"""A declared table refuses what does not match and says where."""

from __future__ import annotations

from datetime import datetime

import duckdb
import polars as pl
import pytest

from engine.errors import DataError
from resources.table import Column, Table

TABLE = Table(
    schema="features",
    name="matrix",
    description="-",
    columns=(
        Column("symbol", "VARCHAR", "Market."),
        Column("ts", "TIMESTAMP", "Open of the bar."),
        Column("value", "DOUBLE", "-", nullable=True),
    ),
    key=("symbol", "ts"),
)
MOMENTS = [datetime(2024, 1, number) for number in (1, 2, 3)]
FRAME = pl.DataFrame(
    {"symbol": ["a"] * 3, "ts": MOMENTS, "value": [1.0, None, 3.0]}, schema=TABLE.polars_schema
)


def test_a_frame_that_matches_comes_back_in_declared_order() -> None:
    assert TABLE.check(FRAME.select("value", "ts", "symbol")).equals(FRAME)
    assert TABLE.check(TABLE.empty()).height == 0


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop("value"), "features.matrix, column 'value': missing; the frame has"),
        (FRAME.with_columns(extra=1), "features.matrix, column 'extra': is not declared"),
        (FRAME.cast({"value": pl.Float32}), "column 'value': has type Float32, declared is Float64"),
        (FRAME.cast({"ts": pl.Datetime("ms")}), "column 'ts': has type Datetime"),
        (
            FRAME.with_columns(pl.col("ts").dt.replace_time_zone("UTC")),
            "column 'ts': has type Datetime.*time_zone='UTC'",
        ),
        (
            FRAME.with_columns(symbol=pl.Series(["a", None, "a"])),
            "row 2, column 'symbol': has 1 missing values",
        ),
        (FRAME.with_columns(value=pl.Series([1.0, None, float("nan")])), "row 3, column 'value': is NaN"),
        (FRAME.with_columns(ts=pl.Series([MOMENTS[0], MOMENTS[1], MOMENTS[1]])), "row 2: key .* repeats"),
    ],
)
def test_a_frame_that_does_not_match_is_refused_with_its_place(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TABLE.check(frame)


def test_its_columns_are_taken_from_a_wider_frame_in_their_types() -> None:
    wider = FRAME.with_columns(pl.col("value").cast(pl.Float32), other=1).select(
        reversed([*FRAME.columns, "other"])
    )
    assert TABLE.of(wider).equals(FRAME)
    assert TABLE.of(wider).schema == FRAME.schema
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="value"):
        TABLE.of(FRAME.drop("value"))


def test_a_key_of_some_columns_may_repeat_the_others() -> None:
    repeated = FRAME.with_columns(value=pl.lit(1.0))
    assert TABLE.check(repeated).equals(repeated)


def test_infinity_is_a_value() -> None:
    frame = FRAME.with_columns(value=pl.lit(float("inf")))
    assert TABLE.check(frame).equals(frame)


def test_the_statement_makes_the_declared_columns() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA features")
        connection.execute(TABLE.ddl())
        found = connection.execute(
            "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = 'matrix'"
        ).fetchall()
    assert found == [("symbol", "VARCHAR", False), ("ts", "TIMESTAMP", False), ("value", "DOUBLE", True)]


@pytest.mark.parametrize(
    ("schema", "columns", "key", "message"),
    [
        ("raw", ("a", "b"), ("c",), r"raw\.t: key names unknown columns \['c'\]"),
        ("raw", ("a", "a"), (), "column names repeat"),
        ("raw", ("a", "B c"), (), "'B c' is not a lower-case name"),
        ("raw; drop", ("a",), (), "'raw; drop' is not a lower-case name"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(
    schema: str, columns: tuple[str, ...], key: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Table(schema, "t", "-", tuple(Column(name, "DOUBLE", "-") for name in columns), key)
