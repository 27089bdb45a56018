"""Group ``alternative``: what was known of funding, flows, sentiment and the rest when each bar closed."""

from __future__ import annotations

from typing import Any

import dagster as dg

from engine_assets.table_asset import Made, table_asset, time_window
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

__all__ = ["features_asset", "features_table"]


def features_table() -> Table:
    """Declare ``alternative.alternative_features`` with the columns that the collector offers."""
    from engine.alternative.features import ALTERNATIVE_COLUMNS

    return Table(
        "alternative",
        "alternative_features",
        "Alternative data as known at the close of each bar.",
        (
            Column("symbol", "VARCHAR", "Pair."),
            Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
            *(Column(name, "DOUBLE", text, nullable=True) for name, text in ALTERNATIVE_COLUMNS.items()),
        ),
        ("symbol", "ts"),
    )


def features_asset(partitions_def: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """Build the asset ``alternative.alternative_features``, partitioned by month."""

    @table_asset(
        "alternative.alternative_features",
        features_table,
        deps=["staging.candles", "staging.alternative"],
        group="alternative",
        code_version="2",
        kinds={"polars"},
        partitions_def=partitions_def,
    )
    def features(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
        """Alternative data joined to each bar as of its close, by when each value became known.

        A revision counts from the moment it was published; a value older than its limit counts as missing.
        """
        from engine.alternative.features import LOOKBACK, alternative_features

        start, end = time_window(context)
        bars = warehouse.frame(
            "SELECT symbol, ts FROM staging.candles WHERE ts >= ? AND ts < ? ORDER BY symbol, ts",
            [start, end],
        )
        observations = warehouse.frame(
            "SELECT series, symbol, ts, available_at, value FROM staging.alternative "
            "WHERE available_at <= ? AND ts > ?",
            [end, start - LOOKBACK],
        )
        wide = alternative_features(bars, observations, settings.bar_duration)
        return Made(wide, figures=_missing(wide))

    return features


def _missing(wide: Any) -> dict[str, Any]:
    """Share of bars without a known value, by feature."""
    if wide.is_empty():
        return {}
    values = [name for name in wide.columns[2:] if not name.endswith("_age_hours")]
    shares = {name: wide[name].null_count() / wide.height for name in values}
    rows = [
        dg.TableRecord({"feature": name, "missing": f"{share:.1%}"})
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    return {"missing by feature": dg.MetadataValue.table(rows)}
