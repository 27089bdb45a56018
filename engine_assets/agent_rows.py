"""Bars as agents see them, from the warehouse."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.evaluation.splits import Window

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


def fold_synthetic_rows(warehouse: Warehouse, settings: Settings, fold: int, part: Window) -> pl.DataFrame:
    """Synthetic bars that a fold may train on.

    They take the place of bars of `part`, which is what is learned from: context and neighbours are real.

    Raises
    ------
    NotEnoughDataError
        If the fold has no synthetic window, or there is no real one that it could take the place of.
    """
    from engine.agents.synthetic_rows import synthetic_rows
    from engine.errors import NotEnoughDataError

    windows = warehouse.frame(_WINDOWS_SQL, [fold])
    if windows.is_empty():
        raise NotEnoughDataError("no synthetic window passed its tests")
    span = part.start, part.end
    bars = _with_funding(warehouse, settings, *span, warehouse.frame(_INPUTS_SQL, [*span]))
    return synthetic_rows(windows, bars, seed=settings.seed)


def _with_funding(
    warehouse: Warehouse, settings: Settings, start: datetime, end: datetime, rows: pl.DataFrame
) -> pl.DataFrame:
    import polars as pl

    from engine.agents.market_rows import SCALE, funding_due

    due = funding_due(rows, warehouse.frame(_FUNDING_SQL, [start, end]), settings.bar_duration)
    rows = rows.join(due, on=["symbol", "ts"], how="left", maintain_order="left")
    return rows.with_columns(volatility=pl.col(SCALE)) if SCALE in rows.columns else rows
