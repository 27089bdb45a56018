"""Tables of the live algorithm: what it decided, what happened to its account, and where that stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from engine.tuning.live_account import LiveAccount
    from engine.tuning.live_walk import LiveWalk

__all__ = [
    "LIVE_ACCOUNTS",
    "LIVE_DECISIONS",
    "LIVE_EQUITY",
    "LIVE_LEDGER",
    "TABLES",
    "live_frames",
    "stored_accounts",
]

_SYMBOL = Column("symbol", "VARCHAR", "Pair.")
_KIND = "NEWS, BREAKOUT or REVERT"
_VERSION = "Version of the parameters that the entry was decided with; 0: the defaults."
_EXPERIMENT = Column("experiment", "VARCHAR", "A/B test that it belongs to.", nullable=True)
_ARM = Column("arm", "VARCHAR", "Which of the test's sets decided: live or candidate.", nullable=True)

LIVE_DECISIONS = Table(
    "trading",
    "live_decisions",
    "What the live algorithm decided at the close of each bar, with the parameters that it decided with.",
    (
        _SYMBOL,
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("action", "VARCHAR", "enter, hold or none."),
        Column("kind", "VARCHAR", f"{_KIND}: of the entry or of what is held.", nullable=True),
        Column("side", "BIGINT", "1 long, -1 short, 0 neither."),
        Column("size", "DOUBLE", "Value of the position, fraction of the symbol's equity."),
        Column("stop", "DOUBLE", "Distance from the price of the fill, a fraction of it."),
        Column("target", "DOUBLE", "Likewise."),
        Column("confidence", "DOUBLE", "Of an entry, 0 to 1; no probability."),
        Column("reasons", "VARCHAR[]", "With the figures judged by."),
        Column("version", "BIGINT", "Version of the parameters in force; 0: the defaults."),
        Column("scope", "VARCHAR", "Scope of that version; missing: the defaults.", nullable=True),
        Column("parameters_hash", "VARCHAR", "SHA-256 of the values that decided."),
        Column("overridden", "VARCHAR[]", "Parameters whose value a person holds."),
        Column("held_values", "DOUBLE[]", "Those values, in the same order."),
        Column("waits", "VARCHAR[]", "Changes that wait until the open position is closed."),
        _EXPERIMENT,
        _ARM,
    ),
    ("symbol", "ts"),
)
LIVE_LEDGER = Table(
    "trading",
    "live_ledger",
    "What happened to the paper account of the live algorithm: fills, stops, targets, funding, fees.",
    (
        _SYMBOL,
        Column("ts", "TIMESTAMP", "Open of the bar that it happened in or was due at, UTC."),
        Column(
            "event",
            "VARCHAR",
            "entry, funding, late funding (known once its bar was walked), stop, target, delisted, ruined; "
            "lapsed: never filled.",
        ),
        Column("kind", "VARCHAR", f"{_KIND}."),
        Column("side", "BIGINT", "1 long, -1 short."),
        Column("size", "DOUBLE", "Value at the entry, fraction of the symbol's equity."),
        Column("price", "DOUBLE", "Before costs; missing where nothing was filled.", nullable=True),
        Column("fee", "DOUBLE", "Fraction of the equity at the entry."),
        Column("slippage", "DOUBLE", "Half the spread and impact, likewise."),
        Column("funding", "DOUBLE", "Paid, likewise; negative where it was received."),
        Column("net_return", "DOUBLE", "Of a position that ended, likewise, all taken off.", nullable=True),
        Column("equity", "DOUBLE", "After it, over the start; open positions are not marked."),
        Column("decided_ts", "TIMESTAMP", "Open of the bar that the entry was decided on, UTC."),
        Column("entry_ts", "TIMESTAMP", "Open of the bar of the entry; missing: lapsed.", nullable=True),
        Column("version", "BIGINT", _VERSION),
        _EXPERIMENT,
        _ARM,
    ),
    ("symbol", "ts", "event"),
)
LIVE_EQUITY = Table(
    "trading",
    "live_equity",
    "The paper account of the live algorithm at the close of each bar, one account a symbol.",
    (
        _SYMBOL,
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        Column("equity", "DOUBLE", "Marked to the close, over what the account began with."),
        Column("exposure", "DOUBLE", "Size of the position with its side; 0: flat."),
    ),
    ("symbol", "ts"),
)
LIVE_ACCOUNTS = Table(
    "trading",
    "live_accounts",
    "Where each account of the live algorithm stands: what the next bar goes on from.",
    (
        _SYMBOL,
        Column("ts", "TIMESTAMP", "Open of the last bar walked, UTC."),
        Column("settings", "VARCHAR", "Of the market that it was walked in."),
        Column("content", "VARCHAR", "JSON: equity, order, position and the parameters of its entry."),
    ),
    ("symbol",),
)
TABLES = (LIVE_DECISIONS, LIVE_LEDGER, LIVE_EQUITY, LIVE_ACCOUNTS)


def stored_accounts(warehouse: Warehouse, settings: str | None = None) -> dict[str, LiveAccount]:
    """Read where the accounts stand, by symbol; only those of some settings where they are named."""
    from engine.tuning.live_account import LiveAccount

    if not warehouse.exists(LIVE_ACCOUNTS.full_name):
        return {}
    rows = warehouse.frame("SELECT settings, content FROM trading.live_accounts ORDER BY symbol")
    accounts = [
        LiveAccount.from_dict(json.loads(content)) for of, content in rows.rows() if settings in (None, of)
    ]
    return {account.symbol: account for account in accounts}


def live_frames(walk: LiveWalk, settings: str) -> Mapping[Table, pl.DataFrame]:
    """Rows of what a walk found."""
    decisions = [
        {
            "symbol": one.symbol,
            "ts": one.ts,
            **vars(one.made),
            "reasons": list(one.made.reasons),
            "version": one.under.version,
            "scope": one.under.scope,
            "parameters_hash": one.under.parameters.content_hash,
            "overridden": list(one.under.held),
            "held_values": list(one.under.held.values()),
            "waits": list(one.waits),
            "experiment": one.under.experiment,
            "arm": one.under.arm,
        }
        for one in walk.decisions
    ]
    ledger = [
        {
            **{name: value for name, value in line._asdict().items() if name not in ("order", "under")},
            **{name: getattr(line.order, name) for name in ("kind", "side", "size")},
            "entry_ts": getattr(line.order, "ts", None),
            **{name: getattr(line.under, name) for name in ("version", "experiment", "arm")},
        }
        for line in walk.ledger
    ]
    accounts = [
        {"symbol": a.symbol, "ts": a.ts, "settings": settings, "content": json.dumps(a.to_dict())}
        for a in walk.accounts.values()
    ]
    equity = [point._asdict() for point in walk.equity]
    return {
        table: _frame(table, rows)
        for table, rows in zip(TABLES, (decisions, ledger, equity, accounts), strict=True)
    }


def _frame(table: Table, rows: list[dict[str, object]]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(rows, schema=table.polars_schema)
