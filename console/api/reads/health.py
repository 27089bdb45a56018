"""Whether data, models, orchestrator and history are well; looked at now and then, never waited for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from console.api.reads.hints import missing
from console.api.reads.kept import Kept
from console.api.schemas.status import (
    ChainHealth,
    DagsterHealth,
    DataHealth,
    Health,
    ModelHealth,
    Verification,
)
from console.api.schemas.wire import Missing
from engine_assets.live_tables import LIVE_DECISIONS
from resources.warehouse import Warehouse, WarehouseError

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["Watch", "utc", "verification"]

_TABLES = ("staging.candles", LIVE_DECISIONS.full_name, "models.registry", "models.champion_agent")
_VERIFIED_EVERY_S, _PATIENCE_S = 60.0, 1.0
_STALE_AFTER_BARS = 3
_BUSY = Missing(what="the warehouse", hint="a step writes to it; wait")


@dataclass(frozen=True)
class _Facts:
    """What the warehouse holds."""

    newest_bar: datetime | None = None
    known_at: datetime | None = None
    symbols: int = 0
    newest_decision: datetime | None = None
    models: int = 0
    newest_window_end: datetime | None = None
    champion: str | None = None
    champion_reason: str | None = None
    missing: tuple[Missing, ...] = ()


class Watch:
    """Looks at what takes too long for a view to wait for.

    Parameters
    ----------
    desk : Desk
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._facts = Kept(
            lambda: _facts(desk.warehouse), desk.answers.slow_pool, version=lambda: desk.versions.of(_TABLES)
        )
        self._chain = Kept(
            lambda: verification(desk, None), desk.answers.slow_pool, fresh_s=_VERIFIED_EVERY_S
        )

    def health(self) -> tuple[Health, list[Missing]]:
        """Return what is known, and what is missing for it to be well."""
        desk = self._desk
        try:
            facts = self._facts.soon(0.0) or self._facts.soon(_PATIENCE_S)
        except WarehouseError:
            facts = None
        seen, chain = desk.runs.seen(), self._chain.soon(0.0)
        models = ModelHealth(count=0, newest_window_end=None, champion=None, champion_reason=None)
        if facts is not None:
            models = ModelHealth(
                count=facts.models,
                newest_window_end=facts.newest_window_end,
                champion=facts.champion,
                champion_reason=facts.champion_reason,
            )
        health = Health(
            data=self._data(facts or _Facts()),
            models=models,
            dagster=DagsterHealth(reachable=seen.reachable, url=desk.runs.url, detail=seen.detail),
            chain=ChainHealth(
                intact=None if chain is None else chain.intact,
                rows=0 if chain is None else chain.rows,
                checked_at=None if chain is None else chain.checked_at,
            ),
        )
        return health, [_BUSY] if facts is None else list(facts.missing)

    def _data(self, facts: _Facts) -> DataHealth:
        settings = self._desk.settings
        bar, age = settings.bar_duration, None
        # The time of recorded and simulated markets is not ours.
        if settings.source == "exchange" and facts.known_at is not None:
            age = datetime.now(UTC) - facts.known_at
        return DataHealth(
            newest_bar=facts.newest_bar,
            known_at=facts.known_at,
            bar_s=bar.total_seconds(),
            age_s=None if age is None else age.total_seconds(),
            stale=age is not None and age > _STALE_AFTER_BARS * bar,
            symbols=facts.symbols,
            newest_decision=facts.newest_decision,
        )


def verification(desk: Desk, head: str | None) -> Verification:
    """Walk along the history."""
    report = desk.store.verify(head)
    return Verification(
        intact=report.intact,
        rows=report.rows,
        head=report.head,
        broken_row=report.broken_row,
        reason=report.reason,
        checked_at=datetime.now(UTC),
    )


def utc(moment: datetime | None) -> datetime | None:
    """Say of a moment of the warehouse that it is UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def _facts(warehouse: Warehouse) -> _Facts:
    stored = set(warehouse.tables())
    found: dict[str, object] = {}
    if "staging.candles" in stored:
        bar, known_at, symbols = warehouse.frame(
            "SELECT max(ts), max(known_at), count(DISTINCT symbol) FROM staging.candles"
        ).row(0)
        found |= {"newest_bar": utc(bar), "known_at": utc(known_at), "symbols": symbols}
    if LIVE_DECISIONS.full_name in stored:
        newest = warehouse.frame("SELECT max(ts) FROM trading.live_decisions").item()
        found["newest_decision"] = utc(newest)
    if "models.registry" in stored:
        count, end = warehouse.frame("SELECT count(*), max(train_end) FROM models.registry").row(0)
        found |= {"models": count, "newest_window_end": utc(end)}
    if "models.champion_agent" in stored:
        last = warehouse.frame(
            "SELECT champion, reason FROM models.champion_agent ORDER BY number DESC LIMIT 1"
        )
        if last.height:
            found["champion"], found["champion_reason"] = last.row(0)
    gaps = missing(("staging.candles", LIVE_DECISIONS.full_name, "models.registry"), stored)
    return _Facts(**found, missing=tuple(gaps))  # type: ignore[arg-type]
