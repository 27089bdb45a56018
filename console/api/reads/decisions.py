"""Decisions of the live algorithm, and the symbols that there are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from console.api.problems import Problem
from console.api.reads.health import utc
from console.api.reads.hints import missing
from console.api.schemas.performance import DecisionRow, SymbolRow, Symbols
from console.api.schemas.wire import Page
from engine_assets.live_tables import LIVE_DECISIONS
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["SYMBOL_TABLES", "TABLES", "as_stored", "decisions", "newest_decisions", "symbols"]

TABLES = (LIVE_DECISIONS.full_name,)
SYMBOL_TABLES = ("staging.candles", LIVE_DECISIONS.full_name)

_COLUMNS = ", ".join(DecisionRow.model_fields)
# Two symbols share a moment: the place of a row is both.
_PAGE_SQL = f"""
SELECT {_COLUMNS} FROM trading.live_decisions
WHERE ($symbol IS NULL OR symbol = $symbol) AND ($action IS NULL OR action = $action)
  AND ($ts IS NULL OR ts < $ts OR (ts = $ts AND symbol > $after))
ORDER BY ts DESC, symbol LIMIT $limit
"""  # noqa: S608
_NEWEST_SQL = f"""
SELECT {_COLUMNS} FROM trading.live_decisions
QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY ts DESC) = 1 ORDER BY symbol
"""  # noqa: S608
_SYMBOLS_SQL = """
SELECT symbol, count(*) AS bars, min(ts) AS first, max(ts) AS last FROM staging.candles
GROUP BY symbol ORDER BY symbol
"""


def decisions(
    warehouse: Warehouse, symbol: str | None, action: str | None, limit: int, before: str | None
) -> Page[DecisionRow]:
    """Read a page of decisions."""
    ts, after = _place(before)
    stored = warehouse.tables()
    if LIVE_DECISIONS.full_name not in stored:
        return Page(items=[], next=None, missing=missing(TABLES, stored))
    if symbol is not None:
        symbol = as_stored(symbol, _decided(warehouse))
    asked = {"symbol": symbol, "action": action, "ts": ts, "after": after, "limit": limit + 1}
    rows = [_row(row) for row in warehouse.frame(_PAGE_SQL, asked).iter_rows(named=True)]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(
        items=rows[:limit],
        next=None if last is None else f"{last.ts.replace(tzinfo=None).isoformat()}~{last.symbol}",
    )


def newest_decisions(warehouse: Warehouse) -> list[DecisionRow]:
    """Read the newest decision on each symbol."""
    if not warehouse.exists(LIVE_DECISIONS.full_name):
        return []
    return [_row(row) for row in warehouse.frame(_NEWEST_SQL).iter_rows(named=True)]


def symbols(desk: Desk) -> Symbols:
    """Read the symbols that are stored."""
    stored = desk.warehouse.tables()
    gaps = missing(SYMBOL_TABLES, stored)
    if "staging.candles" not in stored:
        return Symbols(items=[], missing=gaps)
    live = set(_decided(desk.warehouse)) if LIVE_DECISIONS.full_name in stored else set()
    rows = []
    for row in desk.warehouse.frame(_SYMBOLS_SQL).iter_rows(named=True):
        symbol, scope = row["symbol"], f"symbol:{row['symbol']}"
        own = str(desk.store.baseline(scope).scope) == scope
        rows.append(
            SymbolRow(
                symbol=symbol,
                bars=row["bars"],
                first=row["first"].replace(tzinfo=UTC),
                last=row["last"].replace(tzinfo=UTC),
                live=symbol in live,
                own_parameters=own,
            )
        )
    return Symbols(items=rows, missing=gaps)


def as_stored(symbol: str, known: Iterable[str]) -> str:
    """Return the name that a symbol is stored under: BTC-USDT of an address may be BTC/USDT."""
    names = set(known)
    if symbol in names:
        return symbol
    return next((name for name in sorted(names) if name.replace("/", "-") == symbol), symbol)


def _decided(warehouse: Warehouse) -> list[str]:
    rows = warehouse.frame("SELECT DISTINCT symbol FROM trading.live_decisions ORDER BY symbol")
    return rows["symbol"].to_list()


def _row(row: dict[str, Any]) -> DecisionRow:
    return DecisionRow(**{**row, "ts": utc(row["ts"])})


def _place(before: str | None) -> tuple[datetime | None, str | None]:
    if before is None:
        return None, None
    moment, sign, symbol = before.partition("~")
    try:
        ts = datetime.fromisoformat(moment)
    except ValueError:
        ts, sign = datetime.min, ""  # noqa: DTZ901  never used
    if not sign or ts.tzinfo is not None:
        raise Problem(
            422,
            "invalid-request",
            f"before = {before!r} must be what the page before gave as next",
            title="Not possible as asked for",
            parameter="before",
        )
    return ts, symbol
