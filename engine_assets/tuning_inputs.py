"""What a training of the parameters works on: the market, its mode, and how the live algorithm has done."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from engine.errors import NotEnoughDataError
from engine.tuning.recommender import Figures
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY
from engine_assets.regimes import MARKET_REGIMES
from resources.parameter_store import ParameterStore
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.evaluation.costs import Costs
    from engine.tuning.evidence import EvidenceWindows
    from engine.tuning.market_mode import MarketView
    from engine.tuning.market_state import StateTape

__all__ = [
    "INPUTS",
    "capital_of",
    "costs_of",
    "evidence_windows",
    "live_drawdown",
    "live_figures",
    "market_now",
    "open_store",
    "stored_versions",
    "tape_of",
    "weekly_confidence",
]

INPUTS = ("staging.candles", "staging.alternative")

_WEEK = timedelta(days=7)
_LONGEST_EVIDENCE, _SHORTEST_EVIDENCE = timedelta(days=365), timedelta(days=250)
_CANDLES_SQL = """
SELECT symbol, ts, open, high, low, close, volume FROM staging.candles
WHERE len($symbols) = 0 OR symbol IN (SELECT unnest($symbols)) ORDER BY symbol, ts
"""
_OBSERVATIONS_SQL = """
SELECT series, symbol, ts, available_at, value FROM staging.alternative
WHERE series IN ('social_score', 'news_score') OR (series = 'funding_rate' AND value IS NOT NULL)
ORDER BY series, symbol, ts, available_at
"""
# Of a day that is not over the sum would be of some of its hours.
_DAYS_SQL = """
WITH days AS (
    SELECT symbol, date_trunc('day', ts) AS day, sum(log_return) AS day_return
    FROM staging.candles
    WHERE ts < (SELECT date_trunc('day', max(known_at)) FROM staging.candles) GROUP BY ALL
)
SELECT avg(day_return) AS day_return FROM days GROUP BY day ORDER BY day
"""

_CONFIDENCE_SQL = """
WITH entries AS (
    SELECT confidence, (SELECT max(ts) FROM trading.live_decisions) - ts AS age
    FROM trading.live_decisions WHERE action = 'enter'
)
SELECT avg(confidence) FILTER (age < $week), avg(confidence) FILTER (age >= $week AND age < 2 * $week)
FROM entries
"""
_DRAWDOWN_SQL = """
WITH account AS (SELECT ts, avg(equity) AS equity FROM trading.live_equity GROUP BY ts)
SELECT 1 - arg_max(equity, ts) / greatest(max(equity), 1) FROM account
"""


def open_store(settings: Settings) -> ParameterStore:
    """Open the store of the live parameters."""
    return ParameterStore(settings.parameter_store)


def stored_versions(warehouse: Warehouse, names: Iterable[str]) -> dict[str, str]:
    """Return the content versions of those tables that are stored."""
    known = set(names) & set(warehouse.tables())
    return warehouse.versions(sorted(known)) if known else {}


def costs_of(settings: Settings) -> Costs:
    """Return what a fill costs by the settings."""
    from engine.evaluation.costs import Costs

    price = settings.costs
    return Costs(price.fee_bps, price.half_spread_bps, price.impact_bps)


def capital_of(warehouse: Warehouse, settings: Settings) -> float:
    """Return the quote units of one symbol's account: every symbol that is stored has the same share."""
    count = warehouse.frame("SELECT count(DISTINCT symbol) FROM staging.candles").item()
    return settings.costs.capital / max(count, 1)


def tape_of(
    warehouse: Warehouse, settings: Settings, symbols: tuple[str, ...] = (), regime: str | None = None
) -> StateTape:
    """Lay the market out for the live algorithm.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    symbols : tuple of str
        All that are stored by default.
    regime : str, optional
        Nothing is entered on bars of another regime, by what was known of it at their close.

    Raises
    ------
    NotEnoughDataError
        If a symbol is not stored, or nothing is.
    """
    from engine.tuning.market_state import state_tape

    if not warehouse.exists("staging.candles"):
        raise NotEnoughDataError("staging.candles was not made yet; run ingest first")
    candles = warehouse.frame(_CANDLES_SQL, {"symbols": list(symbols)})
    stored = set(candles["symbol"].unique())
    missing = [symbol for symbol in symbols if symbol not in stored]
    if missing or not stored:
        raise NotEnoughDataError(f"staging.candles has no bar of {', '.join(missing) or 'any symbol'}")
    observations = warehouse.frame(_OBSERVATIONS_SQL)
    tape = state_tape(
        candles,
        observations,
        settings.bar_duration,
        costs_of(settings),
        capital=capital_of(warehouse, settings),
    )
    return tape if regime is None else _only_in(tape, warehouse, regime)


def _only_in(tape: StateTape, warehouse: Warehouse, regime: str) -> StateTape:
    """Leave the expected cost of a fill unknown wherever the regime was another: nothing is entered there."""
    from dataclasses import replace

    import numpy as np
    import polars as pl

    if not warehouse.exists(MARKET_REGIMES.full_name):
        raise NotEnoughDataError(f"{MARKET_REGIMES.full_name} was not made yet; run nightly_retraining first")
    known = warehouse.frame(
        "SELECT symbol, ts, true AS inside FROM regimes.market_regimes WHERE regime = ?", [regime]
    )
    names = pl.Series("symbol", tape.symbols, dtype=pl.String).gather(tape.symbol)
    rows = pl.DataFrame({"symbol": names, "ts": tape.ts})
    inside = rows.join(known, on=["symbol", "ts"], how="left", maintain_order="left")["inside"]
    kept = inside.fill_null(value=False).to_numpy()
    return replace(tape, expected_cost_bps=np.where(kept, tape.expected_cost_bps, np.nan))


def evidence_windows(tape: StateTape) -> EvidenceWindows:
    """Keep the newer half of a tape as evidence, from 250 to 365 days of it, and search the rest.

    Raises
    ------
    NotEnoughDataError
        If nothing is left to search.
    """
    from engine.tuning.evidence import EvidenceWindows
    from engine.tuning.market_state import WARMUP

    span = tape.ts.max().item() + tape.bar - tape.ts.min().item()
    half = timedelta(days=((span - WARMUP) / 2).days)
    return EvidenceWindows.latest(tape, evidence=min(max(half, _SHORTEST_EVIDENCE), _LONGEST_EVIDENCE))


def market_now(warehouse: Warehouse) -> MarketView | None:
    """Judge the market by its whole days; None while there are too few."""
    from engine.tuning.market_mode import market_view

    if not warehouse.exists("staging.candles"):
        return None
    days = warehouse.frame(_DAYS_SQL)["day_return"].cast(float).fill_null(float("nan")).to_numpy()
    try:
        return market_view(days)
    except NotEnoughDataError:
        return None


def live_figures(warehouse: Warehouse) -> Figures:
    """Read the figures that a scenario is recommended by; what is not known is None."""
    view = market_now(warehouse)
    return Figures(
        confidence=weekly_confidence(warehouse)[0],
        drawdown=live_drawdown(warehouse),
        volatility_percentile=None if view is None else view.volatility_percentile,
        history_days=_live_days(warehouse),
    )


def weekly_confidence(warehouse: Warehouse) -> tuple[float | None, float | None]:
    """Return the mean confidence of the entries of the newest week, and of the week before."""
    if not warehouse.exists(LIVE_DECISIONS.full_name):
        return None, None
    now, before = warehouse.frame(_CONFIDENCE_SQL, {"week": _WEEK}).row(0)
    return now, before


def live_drawdown(warehouse: Warehouse) -> float | None:
    """Return how far the live account, the mean over its symbols, lies below its high."""
    if not warehouse.exists(LIVE_EQUITY.full_name):
        return None
    fall = warehouse.frame(_DRAWDOWN_SQL).item()
    return None if fall is None else min(max(fall, 0.0), 1.0)


def _live_days(warehouse: Warehouse) -> float:
    if not warehouse.exists(LIVE_DECISIONS.full_name):
        return 0.0
    days = warehouse.frame("SELECT epoch(max(ts) - min(ts)) / 86400 FROM trading.live_decisions").item()
    return days or 0.0
