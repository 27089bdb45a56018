"""What a daily decision looks at: predictions, regimes, volatility and sentiment, known at midnight."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SIGNAL_TABLES", "closes", "signals", "views"]

SIGNAL_TABLES = (
    "predictions.calibrated",
    "predictions.live",
    "features.matrix",
    "regimes.market_regimes",
    "regimes.changepoints",
    "alternative.alternative_features",
)

# Bars that the training has seen come from its tables, newer ones from the predictions of new bars. A change
# point is seen for a few bars and a decision is made once a day, so it looks at the whole day since the last.
_SIGNALS_SQL = """
WITH regime AS (
    SELECT symbol, ts, p_trend, p_range, p_panic FROM regimes.market_regimes WHERE ts >= $since
    UNION ALL
    SELECT symbol, ts, p_trend, p_range, p_panic FROM predictions.live
    WHERE ts > (SELECT max(ts) FROM regimes.market_regimes)
), changed AS (
    SELECT symbol, ts, max(p_changepoint) OVER day AS p_changepoint
    FROM regimes.changepoints WHERE ts >= $since
    WINDOW day AS (
        PARTITION BY symbol ORDER BY ts
        RANGE BETWEEN INTERVAL 1 DAY - to_seconds($bar) PRECEDING AND CURRENT ROW
    )
), stated AS (
    SELECT symbol, ts, fold, direction, raw_confidence, confidence FROM predictions.calibrated
    UNION ALL
    SELECT symbol, ts, fold, direction, raw_confidence, confidence FROM predictions.live
    WHERE ts > (SELECT max(ts) FROM predictions.calibrated)
)
SELECT s.*, s.ts + to_seconds($bar) AS decided_at, r.p_trend, r.p_range, r.p_panic,
    c.p_changepoint
FROM stated AS s
LEFT JOIN regime AS r ON r.symbol = s.symbol AND r.ts = s.ts
LEFT JOIN changed AS c ON c.symbol = s.symbol AND c.ts = s.ts
WHERE s.ts > $after AND date_trunc('day', s.ts + to_seconds($bar)) = s.ts + to_seconds($bar)
ORDER BY decided_at, s.symbol
"""
_SEEN_SQL = """
SELECT m.*, a.fear_greed AS index_value, a.fear_greed_age_hours AS index_age
FROM features.matrix AS m LEFT JOIN alternative.alternative_features AS a USING (symbol, ts)
WHERE ts > $after AND date_trunc('day', ts + to_seconds($bar)) = ts + to_seconds($bar)
"""
_LIVE_SQL = """
SELECT symbol, ts, fear_greed, fear_greed_age_hours, features FROM predictions.live WHERE ts > $after
"""
_CLOSES_SQL = """
SELECT symbol, ts, close FROM staging.candles
WHERE ts > ? AND date_trunc('day', ts + to_seconds(?)) = ts + to_seconds(?) ORDER BY symbol, ts
"""


def signals(
    warehouse: Warehouse, settings: Settings, after: datetime, now: datetime | None = None
) -> pl.DataFrame:
    """Everything known at each midnight after a moment, one row for each symbol that had a bar.

    Columns ``symbol, ts, decided_at, fold, direction, raw_confidence, confidence, p_trend, p_range, p_panic,
    p_changepoint, volatility`` (annualised), ``cost_bps, data_age_hours, fear_greed, fear_greed_age_hours,
    features`` (what the model read, in the order of the recipe). Data age by `now`, the time of day where the
    market is live; a replayed decision is made when its bar closes.
    """
    import polars as pl

    from engine.alpha.walk_forward import FEATURES

    bar = int(settings.bar_duration.total_seconds())
    parameters = {"after": after, "bar": bar}
    rows = warehouse.frame(_SIGNALS_SQL, {**parameters, "since": after - timedelta(days=2)})
    regimes = [name for name in FEATURES if name in rows.columns]
    seen = warehouse.frame(_SEEN_SQL, parameters).join(
        rows.select("symbol", "ts", *regimes), on=["symbol", "ts"]
    )
    read = pl.concat(
        [
            seen.select(
                "symbol",
                "ts",
                fear_greed="index_value",
                fear_greed_age_hours="index_age",
                features=pl.concat_list(pl.col(FEATURES)),
            ),
            warehouse.frame(_LIVE_SQL, {"after": after}),
        ]
    ).unique(["symbol", "ts"], keep="first")
    rows = rows.join(read, on=["symbol", "ts"], how="left", maintain_order="left")
    bars_a_year = timedelta(days=365) / settings.bar_duration
    return rows.with_columns(
        volatility=pl.col("features").list.get(FEATURES.index("volatility_168")) * bars_a_year**0.5,
        cost_bps=pl.lit(settings.costs.fill_bps),
        data_age_hours=(pl.lit(now, pl.Datetime("us")) - pl.col("decided_at")).dt.total_seconds() / 3600.0
        if now
        else pl.lit(0.0),
    )


def views(rows: pl.DataFrame) -> pl.DataFrame:
    """Select the columns of `signals` that a decision looks at."""
    return rows.drop("ts", "fold", "raw_confidence", "features")


def closes(warehouse: Warehouse, settings: Settings, after: datetime) -> pl.DataFrame:
    """Daily closes after a moment, as `engine.portfolio.daily_closes.daily_closes` gives them."""
    from engine.portfolio.daily_closes import daily_closes

    bar = int(settings.bar_duration.total_seconds())
    return daily_closes(warehouse.frame(_CLOSES_SQL, [after, bar, bar]), settings.bar_duration)
