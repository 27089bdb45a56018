"""What tests of assets share."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from resources.table import Column, SqlType, Table
from resources.warehouse import Warehouse

_SQL: dict[Any, SqlType] = {
    pl.String(): "VARCHAR", pl.Datetime("us"): "TIMESTAMP", pl.Int64(): "BIGINT", pl.Float64(): "DOUBLE"
}  # fmt: skip


@pytest.fixture(scope="session")
def store() -> Callable[[Warehouse, str, pl.DataFrame, tuple[str, ...]], None]:
    """Keep a frame as a table that is declared elsewhere by SQL; the last argument is its key."""

    def keep(warehouse: Warehouse, name: str, frame: pl.DataFrame, key: tuple[str, ...]) -> None:
        integers = [column for column, dtype in frame.schema.items() if dtype.is_integer()]
        frame = frame.with_columns(pl.col(integers).cast(pl.Int64), pl.col(pl.Float64).fill_nan(None))
        columns = [
            Column(c, _SQL[dtype], "A column.", nullable=c not in key) for c, dtype in frame.schema.items()
        ]
        schema, table = name.split(".")
        warehouse.replace(Table(schema, table, "What the asset reads.", tuple(columns), key), frame)

    return keep
