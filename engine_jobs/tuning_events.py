"""What calls for a training of the parameters: each event by a key that stays the same while it lasts."""

from __future__ import annotations

from datetime import datetime, timedelta

from engine.tuning.recommender import THRESHOLDS
from engine_assets.changepoints import ALERTS
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY
from engine_assets.tuning_inputs import live_drawdown, weekly_confidence
from resources.warehouse import Warehouse

__all__ = ["NotMadeError", "market_events", "performance_drops", "regime_shifts"]

FEAR, GREED = 10.0, 90.0
"""Values of the Fear & Greed index at which sentiment is extreme."""
LEAN = 0.8
"""How far the news must lean, from 0 to 1, to be a burst: at least nine of ten items are of one kind."""
FALL = 0.05
"""How far the mean confidence of a week must have fallen from that of the week before."""
RECENT = timedelta(days=2)
"""What came to light longer ago, by the newest data, is history."""

_ALTERNATIVE = "alternative.alternative_features"
_SENTIMENT_SQL = """
SELECT fear_greed FROM alternative.alternative_features WHERE fear_greed IS NOT NULL ORDER BY ts DESC LIMIT 1
"""
# An event begins with the first bar on which it stands: while it goes on, it keeps its key.
_BEGUN_SQL = """
WITH rows AS (
    SELECT symbol, ts, coalesce({stands}, false) AS stands FROM alternative.alternative_features
    WHERE ts > (SELECT max(ts) FROM alternative.alternative_features) - $window
),
begun AS (
    SELECT *, stands AND NOT coalesce(lag(stands) OVER (PARTITION BY symbol ORDER BY ts), false) AS begins
    FROM rows
)
SELECT symbol, ts FROM begun
WHERE begins AND ts > (SELECT max(ts) FROM rows) - $recent ORDER BY ts, symbol
"""
_ALERTS_SQL = """
SELECT symbol, ts, action FROM regimes.changepoint_alerts
WHERE known_at > (SELECT max(known_at) FROM regimes.changepoint_alerts) - ? ORDER BY known_at, symbol
"""


class NotMadeError(Exception):
    """A table that is watched is not there yet."""


def _need(warehouse: Warehouse, name: str) -> None:
    if not warehouse.exists(name):
        raise NotMadeError(f"{name} was not made yet")


def performance_drops(warehouse: Warehouse) -> list[str]:
    """Find out if the live account is deep below its high, or its decisions have lost confidence."""
    _need(warehouse, LIVE_DECISIONS.full_name)
    _need(warehouse, LIVE_EQUITY.full_name)
    events = []
    drawdown = live_drawdown(warehouse)
    if drawdown is not None and drawdown >= THRESHOLDS.most_drawdown:
        events.append("drawdown")
    now, before = weekly_confidence(warehouse)
    if now is None or before is None:
        return events
    if now < THRESHOLDS.least_confidence and before - now >= FALL:
        events.append("falling confidence")
    return events


def market_events(warehouse: Warehouse) -> list[str]:
    """Find extreme sentiment, forced sales that feed on each other, and news all of one kind."""
    from engine.alternative.cascades import STANDS

    _need(warehouse, _ALTERNATIVE)
    events = []
    newest = warehouse.frame(_SENTIMENT_SQL)["fear_greed"].to_list()
    if newest and newest[0] <= FEAR:
        events.append("extreme fear")
    if newest and newest[0] >= GREED:
        events.append("extreme greed")
    for name, stands in (
        ("liquidation cascade", f"liquidation_cascade >= {STANDS}"),
        ("news burst", f"abs(2 * news_score - 1) >= {LEAN}"),
    ):
        rows = warehouse.frame(_BEGUN_SQL.format(stands=stands), {"window": 2 * RECENT, "recent": RECENT})
        events += [_named(name, symbol, ts) for symbol, ts in rows.iter_rows()]
    return events


def regime_shifts(warehouse: Warehouse) -> list[str]:
    """List where the change-point detector has asked for less risk of late."""
    _need(warehouse, ALERTS.full_name)
    rows = warehouse.frame(_ALERTS_SQL, [RECENT]).iter_rows()
    return [_named(f"regime shift ({action})", symbol, ts) for symbol, ts, action in rows]


def _named(what: str, symbol: str, ts: datetime) -> str:
    return f"{what} {symbol} {ts:%Y-%m-%dT%H:%M}"
