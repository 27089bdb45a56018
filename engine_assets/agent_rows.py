"""Bars as agents see them, from the warehouse."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.evaluation.splits import Split

__all__ = ["ROW_TABLES", "agent_rows", "fold_synthetic_rows"]

ROW_TABLES = ("staging.candles", "features.matrix", "regimes.market_regimes", "staging.alternative")

_ROWS_SQL = """
    SELECT c.*, m.* EXCLUDE (symbol, ts), r.p_trend, r.p_range, r.p_panic, r.regime
    FROM staging.candles AS c
    JOIN features.matrix AS m USING (symbol, ts)
    LEFT JOIN regimes.market_regimes AS r USING (symbol, ts)
    WHERE ts >= ? AND ts < ? ORDER BY symbol, ts
"""
_INPUTS_SQL = """
    SELECT c.*, a.* EXCLUDE (symbol, ts), r.p_trend, r.p_range, r.p_panic, r.regime
    FROM staging.candles AS c
    JOIN alternative.alternative_features AS a USING (symbol, ts)
    LEFT JOIN regimes.market_regimes AS r USING (symbol, ts)
    WHERE ts >= ? AND ts < ? ORDER BY symbol, ts
"""
_FUNDING_SQL = """
    SELECT * FROM staging.alternative
    WHERE series = 'funding_rate' AND value IS NOT NULL AND ts >= ? - INTERVAL 1 DAY AND ts < ?
"""
_WINDOWS_SQL = """
    SELECT "window", step, open, high, low, close, volume FROM synthetic.synthetic_panic
    WHERE fold = ? ORDER BY "window", step
"""


def agent_rows(warehouse: Warehouse, settings: Settings, start: datetime, end: datetime) -> pl.DataFrame:
    """Candles, features, filtered regimes and the funding due at each open, of bars from start to end.

    ``volatility`` is the expected size of a bar's return.
    """
    return _with_funding(warehouse, settings, start, end, warehouse.frame(_ROWS_SQL, [start, end]))


def fold_synthetic_rows(
    warehouse: Warehouse, settings: Settings, split: Split, before: int
) -> pl.DataFrame | None:
    """Synthetic bars that a fold may train on, and so many real ones before each window; None without any."""
    from engine.agents.synthetic_rows import synthetic_rows

    windows = warehouse.frame(_WINDOWS_SQL, [split.number])
    if windows.is_empty():
        return None
    start, end = split.train.start, split.train.end
    bars = _with_funding(warehouse, settings, start, end, warehouse.frame(_INPUTS_SQL, [start, end]))
    return synthetic_rows(windows, bars, before=before, seed=settings.seed)


def _with_funding(
    warehouse: Warehouse, settings: Settings, start: datetime, end: datetime, rows: pl.DataFrame
) -> pl.DataFrame:
    import polars as pl

    from engine.agents.market_rows import SCALE, funding_due

    due = funding_due(rows, warehouse.frame(_FUNDING_SQL, [start, end]), settings.bar_duration)
    rows = rows.join(due, on=["symbol", "ts"], how="left", maintain_order="left")
    return rows.with_columns(volatility=pl.col(SCALE)) if SCALE in rows.columns else rows
