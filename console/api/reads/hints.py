"""What makes the tables that the views rest on."""

from __future__ import annotations

from collections.abc import Iterable

from console.api.schemas.wire import Missing
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY, LIVE_LEDGER

__all__ = ["missing"]

_HINTS = {
    "staging.candles": "run ingest",
    "models.registry": "run nightly_retraining",
    "models.champion_agent": "run nightly_retraining",
    **dict.fromkeys((one.full_name for one in (LIVE_DECISIONS, LIVE_EQUITY, LIVE_LEDGER)), "run live_loop"),
}


def missing(wanted: Iterable[str], stored: Iterable[str]) -> list[Missing]:
    """Return the tables that are wanted and not stored, with the job that makes each."""
    there = set(stored)
    return [Missing(what=name, hint=_HINTS[name]) for name in wanted if name not in there]
