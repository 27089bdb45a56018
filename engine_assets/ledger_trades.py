"""Trades of an experiment, as the lines of the live ledger tell of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ledger_trades"]

# What a position had made when it ended lacks funding that was heard of later: that has lines of its own.
_TRADES_SQL = """
WITH trades AS (
    SELECT
        symbol, decided_ts, any_value(arm) AS arm, any_value(side) AS side, any_value(size) AS size,
        max(price) FILTER (event = 'entry') AS entry_price,
        max(price) FILTER (net_return IS NOT NULL) AS exit_price,
        max(ts) FILTER (net_return IS NOT NULL) AS ended,
        sum(fee + slippage + funding ORDER BY ts, event) AS paid
    FROM trading.live_ledger
    WHERE experiment = $experiment AND entry_ts IS NOT NULL AND ts <= coalesce($until, TIMESTAMP 'infinity')
    GROUP BY symbol, decided_ts
), closes AS (
    SELECT symbol, max(bar.ts) AS ts, arg_max(bar.close, bar.ts) AS close
    FROM staging.candles AS bar JOIN trading.live_accounts AS account USING (symbol)
    WHERE bar.ts <= least(account.ts, $until) GROUP BY symbol
)
SELECT symbol, decided_ts, coalesce(ended, closes.ts) AS ts, arm,
    side * size * (coalesce(exit_price, close) / entry_price - 1) - paid AS net_return
FROM trades LEFT JOIN closes USING (symbol) ORDER BY symbol, decided_ts
"""


def ledger_trades(warehouse: Warehouse, experiment: str, until: datetime | None = None) -> pl.DataFrame:
    """Make up the trades of an experiment from all that was paid for them, whenever it became known.

    Parameters
    ----------
    warehouse : Warehouse
    experiment : str
    until : datetime, optional
        Open of the last bar that counts; by default the last that each account has walked. Trades that are
        open at its close are marked to it.

    Returns
    -------
    DataFrame
        ``symbol``; ``decided_ts``; ``ts``, of the bar that it ended in or was marked at; ``arm``;
        ``net_return``, of the equity at the entry.
    """
    return warehouse.frame(_TRADES_SQL, {"experiment": experiment, "until": until})
