"""Group ``features``: the matrix of features, and the labels that models are fitted on."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from engine_assets.table_asset import Made, table_asset, time_window
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

__all__ = ["INPUTS_SQL", "LABELS", "labels", "matrix_asset", "matrix_table"]

LABELS = Table(
    "features",
    "labels",
    "Forward returns from the open after the decision; only where the whole span is free of gaps.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("horizon", "BIGINT", "Bars that the position is held."),
        Column("label", "DOUBLE", "ln(open[t+1+h] / open[t+1])."),
        Column("direction", "BIGINT", "Sign of the label: 1, 0 or -1."),
        Column("label_end", "TIMESTAMP", "When the label is known: open of bar t+1+h, UTC."),
    ),
    ("symbol", "ts"),
)


def matrix_table() -> Table:
    """Declare ``features.matrix`` with the columns of the recipe."""
    from engine.features.catalogue import CATALOGUE

    return Table(
        "features",
        "matrix",
        "Unscaled features of each bar; a value that its window does not allow is missing.",
        (
            Column("symbol", "VARCHAR", "Pair."),
            Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
            *(
                Column(f.name, "DOUBLE", f"{f.description} Unit: {f.unit}.", nullable=True)
                for f in CATALOGUE.features
            ),
        ),
        ("symbol", "ts"),
    )


# Bars with the alternative data as known at their close: what the recipe is computed over.
INPUTS_SQL = """
    SELECT c.*, a.* EXCLUDE (symbol, ts)
    FROM staging.candles AS c JOIN alternative.alternative_features AS a USING (symbol, ts)
    WHERE ts >= ? AND ts < ? ORDER BY symbol, ts
"""


def matrix_asset(partitions_def: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """Build the asset ``features.matrix``, partitioned by month."""

    @table_asset(
        "features.matrix",
        matrix_table,
        deps=["staging.candles", "alternative.alternative_features"],
        group="features",
        code_version="1",
        kinds={"polars"},
        partitions_def=partitions_def,
    )
    def matrix(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
        """About fifty features of each bar, from one recipe for a single new bar and for ten years."""
        import polars as pl

        from engine.features.catalogue import CATALOGUE
        from engine.features.completeness import row_loss

        start, end = time_window(context)
        # Twice the warm-up: a segment may begin within it, and its age decides where features start.
        history = start - 2 * CATALOGUE.warmup * settings.bar_duration
        frame = warehouse.frame(INPUTS_SQL, [history, end])
        computed = CATALOGUE.compute(frame).filter(pl.col("ts") >= start)
        worst = row_loss(computed).head(12)
        rows = [dg.TableRecord({k: str(v) for k, v in row.items()}) for row in worst.iter_rows(named=True)]
        figures = {
            "features": len(CATALOGUE.columns),
            "schema": CATALOGUE.schema_hash()[:12],
            "rows lost": dg.MetadataValue.table(rows),
        }
        return Made(computed, figures=figures)

    return matrix


@table_asset(
    LABELS.full_name,
    LABELS,
    deps=["staging.candles"],
    group="features",
    code_version="1",
    kinds={"polars"},
)
def labels(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Log return from the open after the decision to the open `horizon` bars later."""
    from engine.features.labels import labels as label
    from engine.plots import histogram

    candles = warehouse.frame("SELECT symbol, ts, open, segment FROM staging.candles ORDER BY symbol, ts")
    frame = label(candles, settings.horizon_bars)
    hours = settings.horizon_bars * settings.bar_duration / timedelta(hours=1)
    return Made(
        frame,
        pictures={
            "distribution": histogram(frame["label"], f"Return over the next {hours:g} h", "log return")
        },
        figures={
            "share that rose": float((frame["direction"] > 0).to_numpy().mean()),
            "unlabelled bars": candles.height - frame.height,
        },
    )
