"""The market as the live algorithm sees it: the newest bars with the warm-up that determines their states."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from engine_assets.tuning_inputs import capital_of, costs_of
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.tuning.market_state import StateTape

__all__ = ["live_inputs", "live_tape"]

_CANDLES_SQL = """
SELECT symbol, ts, open, high, low, close, volume FROM staging.candles
WHERE ts >= $since AND (len($symbols) = 0 OR symbol IN (SELECT unnest($symbols))) ORDER BY symbol, ts
"""
_OBSERVATIONS_SQL = """
SELECT series, symbol, ts, available_at, value FROM staging.alternative
WHERE ts >= ?
AND (series IN ('social_score', 'news_score') OR (series = 'funding_rate' AND value IS NOT NULL))
"""


def live_inputs(
    warehouse: Warehouse, settings: Settings, since: datetime, symbols: Collection[str] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read candles and observations that the states of bars from `since` on are made of."""
    from engine.alternative.declared import LOOKBACK
    from engine.tuning.market_state import WARMUP

    begin = since - WARMUP - settings.bar_duration
    candles = warehouse.frame(_CANDLES_SQL, {"since": begin, "symbols": sorted(symbols)})
    return candles, warehouse.frame(_OBSERVATIONS_SQL, [begin - LOOKBACK])


def live_tape(
    warehouse: Warehouse, settings: Settings, since: datetime, symbols: Collection[str] = ()
) -> StateTape | None:
    """Lay out the bars from `since` on, of all symbols by default; None where there are none.

    States are the same as with the whole history. What is older than the warm-up is not read.
    """
    from engine.tuning.market_state import state_tape

    candles, observations = live_inputs(warehouse, settings, since, symbols)
    if not (candles["ts"] >= since).any():
        return None
    return state_tape(
        candles,
        observations,
        settings.bar_duration,
        costs_of(settings),
        capital=capital_of(warehouse, settings),
    )
