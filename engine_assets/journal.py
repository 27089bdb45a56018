"""The decision journal: what each decision saw, what decided it, and enough to compute it once more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from engine.regimes.names import REGIME_COLUMNS
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.portfolio.decide import DecisionConfig
    from engine.portfolio.paper_trading import Book, TradingDay

__all__ = [
    "ARTIFACTS",
    "BOOKS",
    "CURRENT_BOOK",
    "DECISIONS",
    "SWITCHES",
    "LastDecision",
    "artifacts",
    "book_name",
    "last_decision",
    "line_hash",
    "lines",
    "next_open",
    "switched",
]

DECISIONS = Table(
    "trading",
    "decisions",
    "The journal: a line for each decision, chained by hashes, with all that it can be computed from again.",
    (
        Column("book", "VARCHAR", "Paper account."),
        Column("number", "BIGINT", "Line of the book's journal, from 1."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("decided_at", "TIMESTAMP", "Close of the decision bar, UTC."),
        Column("run_id", "VARCHAR", "Dagster run that decided."),
        Column("fold", "BIGINT", "Fold whose models predicted."),
        Column("model", "VARCHAR", "SHA-256 of the forecaster in models.artifacts."),
        Column("calibrator", "VARCHAR", "SHA-256 of the calibrator in models.artifacts."),
        Column("data_versions", "VARCHAR", "JSON: content version of each table that was read."),
        Column("signals", "VARCHAR", "JSON: symbol, regime probabilities and raw confidence as predicted."),
        Column("features", "BLOB", "What the model read: safetensors, symbols of `signals` x feature_names."),
        Column("feature_names", "VARCHAR", "JSON: names in the order of `features`."),
        Column("config", "VARCHAR", "JSON: every threshold in force."),
        Column("inputs", "VARCHAR", "JSON: account and views of the symbols."),
        Column("returns", "BLOB", "Daily returns that covariances came from: safetensors, days x views."),
        Column("state", "VARCHAR", "JSON: what the decision before handed on."),
        Column("weights", "VARCHAR", "JSON: what was decided."),
        Column("book_after", "VARCHAR", "JSON: account and state with the orders placed."),
        Column("ledger_lines", "BIGINT", "Lines of the ledger so far."),
        Column("switch_orders", "BIGINT", "Orders to the kill switch that were applied so far."),
        Column("previous", "VARCHAR", "Hash of the line before; empty for the first."),
        Column("hash", "VARCHAR", "SHA-256 over this line and the hash before."),
    ),
    ("book", "number"),
)
BOOKS = Table(
    "trading",
    "books",
    "Which paper account each run traded; the newest line is the book in use.",
    (
        Column("run_id", "VARCHAR", "Dagster run."),
        Column("book", "VARCHAR", "Paper account."),
        Column("used_at", "TIMESTAMP", "When, UTC."),
    ),
    ("run_id",),
)
SWITCHES = Table(
    "trading",
    "kill_switch",
    "Orders of a person to stop trading a book, or to take it up again, from the next decision on.",
    (
        Column("book", "VARCHAR", "Paper account."),
        Column("number", "BIGINT", "From 1."),
        Column("stop", "BOOLEAN", "Whether trading stops or is taken up again."),
        Column("actor", "VARCHAR", "Who asked for it."),
        Column("reason", "VARCHAR", "Why."),
        Column("at", "TIMESTAMP", "When, UTC."),
    ),
    ("book", "number"),
)
ARTIFACTS = Table(
    "models",
    "artifacts",
    "Models that decisions were made with, kept for good under the hash of their content.",
    (
        Column("sha256", "VARCHAR", "Of meta and content."),
        Column("kind", "VARCHAR", "forecaster or calibrator."),
        Column("meta", "VARCHAR", "JSON that belongs to the content; empty for a forecaster."),
        Column("content", "BLOB", "As stored in models.registry or models.calibrators."),
    ),
    ("sha256",),
)

CURRENT_BOOK = "(SELECT arg_max(book, used_at) FROM trading.books)"
"""SQL for the name of the book in use."""


@dataclass(frozen=True)
class LastDecision:
    """Where a book stands."""

    number: int
    ts: datetime
    book: Book
    ledger_lines: int
    switch_orders: int
    hash: str


def book_name(warehouse: Warehouse, settings: Settings, code_version: str) -> str:
    """Name of the paper account of these settings.

    A live market has one account that goes on. A replay has another wherever settings or code could decide
    otherwise: what an older version once decided is kept, but not continued.
    """
    if settings.source == "exchange":
        return "live"
    made = warehouse.frame(
        "SELECT asset, code_version FROM meta.materializations WHERE asset IN "
        "('features.matrix', 'regimes.market_regimes', 'models.registry', 'predictions.calibrated') "
        "QUALIFY row_number() OVER (PARTITION BY asset ORDER BY written_at DESC) = 1 ORDER BY asset"
    )
    # Where the data end decides nothing: a book goes on when more of them come.
    settled = settings.model_copy(update={"end": None}).fingerprint()
    text = json.dumps([settled, code_version, made.rows()])
    return f"{settings.source}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def next_open(now: datetime, bar: timedelta) -> datetime:
    """First open of a bar at or after a moment."""
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return start + -((start - now) // bar) * bar


def last_decision(warehouse: Warehouse, name: str) -> LastDecision | None:
    """Newest line of a book's journal, if it has one."""
    from engine.portfolio.paper_trading import Book

    if not warehouse.exists(DECISIONS.full_name):
        return None
    rows = warehouse.frame(
        "SELECT number, ts, book_after, ledger_lines, switch_orders, hash FROM trading.decisions "
        "WHERE book = ? ORDER BY number DESC LIMIT 1",
        [name],
    )
    if rows.is_empty():
        return None
    number, ts, after, ledger_lines, switch_orders, digest = rows.row(0)
    return LastDecision(number, ts, Book.from_json(after), ledger_lines, switch_orders, digest)


def switched(warehouse: Warehouse, name: str, book: Book, applied: int, day: datetime) -> tuple[Book, int]:
    """Apply what persons have asked of the kill switch; also return how many orders there were so far.

    Parameters
    ----------
    warehouse, name, book
    applied : int
        Orders that earlier decisions have applied.
    day : datetime
        Of the next decision.
    """
    if not warehouse.exists(SWITCHES.full_name):
        return book, 0
    asked = warehouse.frame("SELECT * FROM trading.kill_switch WHERE book = ? ORDER BY number", [name])
    risk = book.state.risk
    for row in asked.slice(applied).iter_rows(named=True):
        if row["stop"]:
            risk = risk.kill(row["actor"], row["reason"], day.date().isoformat())
        elif risk.killed:
            risk = risk.lift(row["actor"], row["reason"], day.date().isoformat())
    return replace(book, state=replace(book.state, risk=risk)), asked.height


def _sha256(meta: str, content: bytes) -> str:
    return hashlib.sha256(meta.encode() + content).hexdigest()


def artifacts(warehouse: Warehouse, folds: Sequence[int]) -> pl.DataFrame:
    """Forecasters and calibrators of some folds, by the hash of their content."""
    import polars as pl

    rows = warehouse.frame(
        """
        SELECT 'forecaster' AS kind, '' AS meta, content FROM models.registry WHERE fold IN (SELECT unnest(?))
        UNION ALL
        SELECT 'calibrator', meta, content FROM models.calibrators WHERE fold IN (SELECT unnest(?))
        """,
        [list(folds), list(folds)],
    )
    hashes = [_sha256(meta, content) for meta, content in rows.select("meta", "content").iter_rows()]
    return rows.with_columns(pl.Series("sha256", hashes)).unique("sha256").select(ARTIFACTS.column_names)


def lines(
    days: Sequence[TradingDay],
    signals: pl.DataFrame,
    name: str,
    last: LastDecision | None,
    config: DecisionConfig,
    inputs: Mapping[str, str],
    run_id: str,
    switch_orders: int,
    warehouse: Warehouse,
) -> pl.DataFrame:
    """Lines of the journal for days that were just decided, chained to the last one."""
    import numpy as np
    import polars as pl
    from safetensors.numpy import save

    from engine.alpha.walk_forward import FEATURES

    models = {
        kind: {fold: _sha256(meta, content) for fold, meta, content in rows.iter_rows()}
        for kind, rows in (
            ("model", warehouse.frame("SELECT fold, '' AS meta, content FROM models.registry")),
            ("calibrator", warehouse.frame("SELECT fold, meta, content FROM models.calibrators")),
        )
    }
    seen = {moment: part for (moment,), part in signals.group_by("decided_at", maintain_order=True)}
    number, digest = (last.number, last.hash) if last else (0, "")
    ledger_lines = last.ledger_lines if last else 0
    written = json.dumps(config.to_dict())
    made = []
    for day in days:
        part = seen[day.decided_at]
        fold = part["fold"][0]
        number, ledger_lines = number + 1, ledger_lines + len(day.events)
        features = part["features"].list.to_array(part["features"].list.len()[0]).to_numpy()
        line = {
            "book": name,
            "number": number,
            "ts": part["ts"][0],
            "decided_at": day.decided_at,
            "run_id": run_id,
            "fold": fold,
            "model": models["model"][fold],
            "calibrator": models["calibrator"][fold],
            "data_versions": json.dumps(inputs, sort_keys=True),
            "signals": json.dumps(part.select(_SIGNALS).to_dicts()),
            "features": save({"features": np.ascontiguousarray(features, dtype=np.float64)}),
            "feature_names": json.dumps(FEATURES),
            "config": written,
            "inputs": json.dumps(day.inputs.to_dict()),
            "returns": save({"returns": np.ascontiguousarray(day.returns)}),
            "state": json.dumps(day.before.state.to_dict()),
            "weights": json.dumps(day.decision.weights),
            "book_after": day.after.to_json(),
            "ledger_lines": ledger_lines,
            "switch_orders": switch_orders,
            "previous": digest,
        }
        digest = line_hash(line)
        made.append({**line, "hash": digest})
    return pl.DataFrame(made, schema=DECISIONS.polars_schema)


_SIGNALS = ("symbol", "direction", "raw_confidence", "confidence", *REGIME_COLUMNS)


def line_hash(line: Mapping[str, object]) -> str:
    """Hash of a line of the journal, over everything in it but the hash itself."""
    digest = hashlib.sha256()
    for column in DECISIONS.column_names:
        if column != "hash":
            value = line[column]
            digest.update(value if isinstance(value, bytes) else str(value).encode())
            digest.update(b"\x1f")
    return digest.hexdigest()
