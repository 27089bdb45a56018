"""What agents of a fold look at beside the bars themselves: what was alike, and how the market stands."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from engine.agents.market_columns import MARKET_COLUMNS
from engine.regimes.names import REGIME_COLUMNS
from engine_assets.market_state import MARKET_STATE
from engine_assets.patterns import OUTCOMES, PATTERN_MEMORY
from engine_assets.training import strongest_features
from resources.table import Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "FOLD_COLUMNS",
    "FOLD_TABLES",
    "STRONGEST",
    "agent_features",
    "with_fold_inputs",
    "with_market_state",
]

STRONGEST = 12
"""Features of the recipe that agents look at: each more is one more to fit noise with."""
FOLD_TABLES = (PATTERN_MEMORY.full_name, MARKET_STATE.full_name)
FOLD_COLUMNS = (*OUTCOMES, *MARKET_COLUMNS)
"""What agents look at that is different in each fold."""


def agent_features(warehouse: Warehouse, fold: int) -> tuple[str, ...]:
    """Name what agents of a fold see: the strongest features, what followed the like, how the market stands.

    The probabilities of the regimes reach every policy in any case.
    """
    kept = (name for name in strongest_features(warehouse, fold) if name not in REGIME_COLUMNS)
    return (*islice(kept, STRONGEST), *FOLD_COLUMNS)


def with_fold_inputs(warehouse: Warehouse, fold: int, rows: pl.DataFrame) -> pl.DataFrame:
    """Add what the memory of a fold says of each bar, and how the market stands by its forecasts."""
    found = _of_fold(warehouse, PATTERN_MEMORY, fold)
    rows = rows.join(found, on=["symbol", "ts"], how="left", maintain_order="left")
    return with_market_state(warehouse, fold, rows)


def with_market_state(warehouse: Warehouse, fold: int, rows: pl.DataFrame) -> pl.DataFrame:
    """Add how the market stands on each bar by the forecasts of a fold."""
    return rows.join(_of_fold(warehouse, MARKET_STATE, fold), on="ts", how="left", maintain_order="left")


def _of_fold(warehouse: Warehouse, table: Table, fold: int) -> pl.DataFrame:
    sql = f"SELECT * EXCLUDE (fold) FROM {table.full_name} WHERE fold = ?"  # noqa: S608
    return warehouse.frame(sql, [fold])
