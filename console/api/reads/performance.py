"""What the live algorithm earned, and what its confidence was worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from console.api.problems import Problem
from console.api.reads.decisions import as_stored
from console.api.reads.health import utc
from console.api.reads.hints import missing
from console.api.schemas.performance import (
    Bin,
    Calibration,
    Estimate,
    Performance,
    Point,
    VersionPerformance,
)
from console.api.schemas.wire import Missing
from engine.calibration.binomial import clopper_pearson
from engine.calibration.calibration_error import bins_of_equal_count, expected_calibration_error
from engine.evaluation.metrics import METRICS, metric_intervals, trade_intervals
from engine.evaluation.metrics import performance as figures_of
from engine.tuning.live_figures import account_curve, daily_returns
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY, LIVE_LEDGER

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["ALL", "TABLES", "performance"]

ALL = "all"
TABLES = (
    LIVE_EQUITY.full_name, LIVE_LEDGER.full_name, LIVE_DECISIONS.full_name, "staging.candles",
)  # fmt: skip
_LIVE = TABLES[:3]

_MOST_POINTS, _MOST_BINS, _TRADES_A_BIN = 1_000, 10, 10
_LEAST_DAYS = 20
"""An interval from fewer days says nothing."""
_UNITS = {
    "annual_return": "per year",
    "volatility": "per year",
    "sharpe": "per year",
    "sortino": "per year",
    "max_drawdown": "fraction",
    "calmar": "ratio",
    "cvar_95": "fraction per day",
    "hit_rate": "share of days",
}
_TRADE_UNITS = {"profit_factor": "ratio", "holding_hours": "hours"}

_LEDGER_SQL = """
SELECT symbol, ts, event, fee, slippage, funding, net_return, decided_ts, entry_ts, version
FROM trading.live_ledger WHERE $symbol IS NULL OR symbol = $symbol ORDER BY ts, symbol
"""
_EQUITY_SQL = """
SELECT symbol, ts, equity, exposure FROM trading.live_equity
WHERE $symbol IS NULL OR symbol = $symbol ORDER BY symbol, ts
"""
_CONFIDENCE_SQL = """
SELECT d.confidence, l.net_return > 0 AS gained
FROM trading.live_ledger AS l
JOIN trading.live_decisions AS d ON d.symbol = l.symbol AND d.ts = l.decided_ts
WHERE l.net_return IS NOT NULL AND d.action = 'enter' AND ($symbol IS NULL OR l.symbol = $symbol)
"""


def performance(desk: Desk, symbol: str) -> Performance:
    """Read the account of a symbol, or of all of them as one.

    Raises
    ------
    Problem
        404 if something is stored, and not this symbol.
    """
    warehouse = desk.warehouse
    stored = warehouse.tables()
    gaps = missing(_LIVE, stored)
    known: set[str] = set()
    for table in ("staging.candles", LIVE_EQUITY.full_name):
        if table in stored:
            known |= set(warehouse.frame(f"SELECT DISTINCT symbol FROM {table}")["symbol"])  # noqa: S608
    name = symbol if symbol == ALL else as_stored(symbol, known)
    if known and name != ALL and name not in known:
        why = f"no bar of {symbol} is stored; stored are {', '.join(sorted(known))}"
        raise Problem(404, "unknown", why, title="No such symbol", symbol=symbol, stored=sorted(known))
    if gaps:
        return _nothing(name, gaps)
    asked = {"symbol": None if name == ALL else name}
    points = warehouse.frame(_EQUITY_SQL, asked)
    if points.is_empty():
        return _nothing(name, [Missing(what=f"{LIVE_EQUITY.full_name} of {name}", hint="run live_loop")])
    ledger = warehouse.frame(_LEDGER_SQL, asked)
    judged = warehouse.frame(_CONFIDENCE_SQL, asked)
    return Performance(
        symbol=name,
        start=utc(_span(points)[0]),
        end=utc(_span(points)[1]),
        equity=_curve(points, one=name != ALL),
        figures=[*_account_figures(points, desk.settings.bar_duration), *_trade_figures(ledger)],
        calibration=_calibration(judged),
        versions=_versions(ledger),
        missing=[],
    )


def _nothing(symbol: str, gaps: list[Missing]) -> Performance:
    return Performance(
        symbol=symbol,
        start=None,
        end=None,
        equity=[],
        figures=[],
        calibration=Calibration(bins=[], trades=0, error=None),
        versions=[],
        missing=gaps,
    )


def _curve(points: pl.DataFrame, *, one: bool) -> list[Point]:
    """Thin the account, whose drawdown is that of all its bars."""
    curve = (
        points.sort("ts") if one else account_curve(points).with_columns(exposure=pl.lit(None, pl.Float64))
    )
    high = pl.max_horizontal(pl.col("equity").cum_max(), pl.lit(1.0))
    curve = curve.with_columns(drawdown=1.0 - pl.col("equity") / high)
    rows = np.linspace(0, curve.height - 1, min(curve.height, _MOST_POINTS)).round().astype(np.int64)
    return [
        Point(
            ts=row["ts"].replace(tzinfo=UTC),
            **{name: row[name] for name in ("equity", "drawdown", "exposure")},
        )
        for row in curve[np.unique(rows)].iter_rows(named=True)
    ]


def _account_figures(points: pl.DataFrame, bar: timedelta) -> list[Estimate]:
    """Figures of the whole days; the newest one counts once it is over."""
    first, last = _span(points)
    start, end = _midnight(first), _midnight(last + bar)
    equity = account_curve(points)["equity"][-1]
    total = Estimate(name="total_return", value=equity - 1.0, low=None, high=None, unit="fraction")
    days = daily_returns(points, start, end) if end > start else np.zeros(0)
    if days.size < 2:
        return [total]
    if days.size < _LEAST_DAYS or not days.any():
        rows = [(name, value, None, None) for name, value in figures_of(days).items()]
    else:
        rows = metric_intervals(days).rows()
    assert set(_UNITS) == set(METRICS)  # noqa: S101  each has its unit
    return [total, *(_estimate(row, _UNITS[row[0]]) for row in rows)]


def _span(rows: pl.DataFrame) -> tuple[datetime, datetime]:
    return tuple(rows.select(pl.col("ts").min(), last=pl.col("ts").max()).row(0))


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _estimate(row: tuple[str, float | None, float | None, float | None], unit: str) -> Estimate:
    name, value, low, high = row
    return Estimate(name=name, value=value, low=low, high=high, unit=unit)


def _trade_figures(ledger: pl.DataFrame) -> list[Estimate]:
    closed = ledger.filter(pl.col("net_return").is_not_null())
    won = int((closed["net_return"] > 0).sum())
    low, high = (float(bound) for bound in clopper_pearson(won, closed.height))
    count = closed.height
    trades = closed.select("entry_ts", exit_ts="ts", net_pnl="net_return")
    more = {row[0]: row for row in trade_intervals(trades).rows()}
    costs = {name: float(ledger[name].sum()) for name in ("fee", "slippage", "funding")}
    return [
        Estimate(name="trades", value=count, low=None, high=None, unit="closed"),
        Estimate(
            name="win_rate",
            value=won / count if count else None,
            low=low if count else None,
            high=high if count else None,
            unit="share of trades",
        ),
        *(_estimate(more[name], unit) for name, unit in _TRADE_UNITS.items()),
        Estimate(name="costs", value=sum(costs.values()), low=None, high=None, unit="of equity, summed"),
        *(
            Estimate(name=name, value=value, low=None, high=None, unit="of equity, summed")
            for name, value in costs.items()
        ),
    ]


def _calibration(judged: pl.DataFrame) -> Calibration:
    """Hold the confidence of entries against what came of them, in bins of about equally many."""
    known = judged.drop_nulls()
    if known.is_empty():
        return Calibration(bins=[], trades=0, error=None)
    stated, gained = known["confidence"].to_numpy(), known["gained"].to_numpy()
    count = min(max(stated.size // _TRADES_A_BIN, 1), _MOST_BINS)
    place = bins_of_equal_count(stated, count)
    bins = []
    for which in np.unique(place):
        mine = place == which
        low, high = (float(bound) for bound in clopper_pearson(gained[mine].sum(), mine.sum()))
        bins.append(
            Bin(
                confidence=float(stated[mine].mean()),
                gained=float(gained[mine].mean()),
                low=low,
                high=high,
                trades=int(mine.sum()),
            )
        )
    error = expected_calibration_error(stated, gained)
    return Calibration(bins=bins, trades=stated.size, error=error)


def _versions(ledger: pl.DataFrame) -> list[VersionPerformance]:
    rows = []
    for (version,), lines in ledger.sort("version").group_by("version", maintain_order=True):
        closed = lines.filter(pl.col("net_return").is_not_null())
        won, count = int((closed["net_return"] > 0).sum()), closed.height
        low, high = (float(bound) for bound in clopper_pearson(won, count))
        first, last = _span(lines)
        rows.append(
            VersionPerformance(
                version=version,
                trades=count,
                win_rate=won / count if count else None,
                low=low if count else None,
                high=high if count else None,
                net_return=float(closed["net_return"].sum()),
                costs=float(lines.select(pl.sum_horizontal("fee", "slippage", "funding").sum()).item()),
                first=first.replace(tzinfo=UTC),
                last=last.replace(tzinfo=UTC),
            )
        )
    return rows
