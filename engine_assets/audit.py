"""The audit of group ``raw``: every defect of the raw tables, found and counted, repaired nowhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.raw import AUDIT, CANDLES, FINDINGS, OBSERVATIONS
from engine_assets.table_asset import Made, table_asset
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["audit"]

_SHOWN = 40


@table_asset(
    AUDIT.full_name,
    AUDIT,
    deps=[CANDLES.full_name, *(table.full_name for table in OBSERVATIONS.values())],
    group="raw",
    code_version="1",
    kinds={"polars"},
    owner="team:data",
)
def audit(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Gaps with their cause, duplicates, impossible prices, stale volume, outliers, unit jumps, revisions.

    Also what was noticed while reading the source. Severity ``error`` means that rows must not be used;
    nothing is repaired.
    """
    import polars as pl

    from engine.alternative.audit import audit_observations
    from engine.market.audit import audit_candles
    from engine.market.finding import findings_frame

    now = datetime.now(UTC)
    found = [
        findings_frame(
            audit_candles(
                warehouse.frame(f"SELECT * FROM {CANDLES.full_name} ORDER BY symbol, ts"),  # noqa: S608
                settings.bar_duration,
                now,
            )
        )
    ]
    # A recorded market is not stale because it ended, only one that goes on.
    present = now if settings.source == "exchange" else None
    for table in OBSERVATIONS.values():
        rows = warehouse.frame(f"SELECT * FROM {table.full_name}")  # noqa: S608
        noted = findings_frame(audit_observations(rows, present))
        found.append(noted.with_columns(pl.lit(table.full_name).alias("table")))
    read = warehouse.frame(f"SELECT * FROM {FINDINGS.full_name}")  # noqa: S608
    findings = pl.concat([*found, read]).sort("table", "series", "first", "kind")
    counts = findings.group_by("kind", "severity").agg(
        pl.len().alias("findings"), pl.col("count").sum().alias("rows")
    )
    order = pl.col("severity").replace_strict({"error": 0, "warn": 1, "info": 2}, return_dtype=pl.Int8)
    return Made(
        findings,
        figures={
            "errors": findings.filter(pl.col("severity") == "error").height,
            "warnings": findings.filter(pl.col("severity") == "warn").height,
            "by kind": _markdown(counts.sort(order, "rows", descending=[False, True])),
            "worst": _markdown(findings.sort(order, "count", descending=[False, True]).head(_SHOWN)),
        },
    )


def _markdown(frame: pl.DataFrame) -> dg.MetadataValue:
    head = f"| {' | '.join(frame.columns)} |\n|{'---|' * frame.width}\n"
    lines = [f"| {' | '.join(str(v).replace('|', '/') for v in row)} |" for row in frame.iter_rows()]
    return dg.MetadataValue.md(head + "\n".join(lines))
