"""What tests of assets share."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from engine.alternative.features import alternative_features
from engine.features.catalogue import CATALOGUE
from engine.features.labels import labels
from engine.market.segments import segments
from engine.market.simulator import MarketSimulator
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


@pytest.fixture(scope="session")
def market_tables() -> Callable[[tuple[str, ...], datetime, int, int], dict[str, pl.DataFrame]]:
    """Simulate hourly bars of symbols from a moment on for days, as the tables of the pipeline hold them.

    The last argument is the horizon of the labels in bars.
    """
    hour = timedelta(hours=1)

    def make(symbols: tuple[str, ...], start: datetime, days: int, horizon: int) -> dict[str, pl.DataFrame]:
        made = MarketSimulator(symbols, hour, 6).simulate(start, 24 * days)
        candles = made.candles.with_columns(segment=segments(made.candles, hour)).with_columns(
            log_return=(pl.col("close") / pl.col("close").shift(1)).log().over("symbol")
        )
        known = alternative_features(candles.select("symbol", "ts"), made.observations, hour)
        beliefs = {"p_trend": 0.2, "p_range": 0.5, "p_panic": 0.3, "regime": pl.lit("RANGE")}
        return {
            "staging.candles": candles,
            "features.matrix": CATALOGUE.compute(
                candles.join(known, on=["symbol", "ts"], maintain_order="left")
            ),
            "regimes.market_regimes": candles.select("symbol", "ts", **beliefs),
            "staging.alternative": made.observations.filter(pl.col("series") == "funding_rate"),
            "features.labels": labels(candles, horizon),
        }

    return make
