"""How the lookahead check is declared: cut the future off, change it, recompute, compare."""

# No postponed annotations here: Dagster wants the classes of the resources themselves, not their names.
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.table_asset import asset_key
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.features.lookahead import LookaheadReport

__all__ = ["lookahead_check", "recent"]

_DESCRIPTION = "Recomputed without the future, and with another future, every past row stays the same."

Recomputed = Callable[[Warehouse, Settings], "LookaheadReport"]


def recent(warehouse: Warehouse, span: timedelta) -> datetime:
    """Tell the moment so long before the newest candle."""
    newest: datetime = warehouse.frame("SELECT max(ts) AS ts FROM staging.candles")["ts"][0]
    return newest - span


def lookahead_check(table: str, *, reads: Iterable[str]) -> Callable[[Recomputed], dg.AssetChecksDefinition]:
    """Make a check that blocks on a leak of a function that recomputes a table from the tables it reads."""

    def declare(recomputed: Recomputed) -> dg.AssetChecksDefinition:
        @dg.asset_check(
            asset=asset_key(table),
            additional_deps=[asset_key(name) for name in reads],
            name="no_lookahead",
            blocking=True,
            description=_DESCRIPTION,
        )
        def check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
            report = recomputed(warehouse, settings)
            return dg.AssetCheckResult(
                passed=report.passed,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata={
                    "finding": dg.MetadataValue.md(f"```\n{report.describe()}\n```"),
                    "columns that changed": ", ".join(report.guilty) or "none",
                    "rows compared": report.rows_compared,
                    "cuts": ", ".join(f"{cut:%Y-%m-%d %H:%M}" for cut in report.cuts),
                },
            )

        return check

    return declare
