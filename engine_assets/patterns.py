"""Group ``patterns``: an encoder of the last thirty candles, and what followed windows like each bar's."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.registry import REGISTRY, registry_row
from engine_assets.table_asset import Made, table_asset
from engine_assets.windows import SPLITS, learning_folds
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.patterns.model import PatternModel

__all__ = [
    "PATTERN_ENCODER",
    "PATTERN_MEMORY",
    "TABLES",
    "looked_up",
    "pattern_encoder",
    "pattern_encoder_bytes",
    "pattern_memory",
    "read_pattern_model",
]

COORDINATES = 16
"""Coordinates of an embedding that agents look at."""

PATTERN_ENCODER = Table(
    "models",
    "pattern_encoder",
    "Encoders of windows of thirty candles, taught by the training window of their fold without labels.",
    REGISTRY.columns,
    ("model_id",),
)
PATTERN_MEMORY = Table(
    "features",
    "pattern_memory",
    "What followed the windows of the past that look like each bar's; of bars of the learning folds.",
    (
        Column("fold", "BIGINT", "Walk-forward fold whose encoder looked."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the last bar of the window, UTC."),
        Column("pattern_mean", "DOUBLE", "Mean log return that followed the neighbours.", nullable=True),
        Column("pattern_sd", "DOUBLE", "Standard deviation of those returns.", nullable=True),
        Column(
            "pattern_up",
            "DOUBLE",
            "Share of the neighbours that rose, a half where one did not move.",
            nullable=True,
        ),
        Column(
            "pattern_distance",
            "DOUBLE",
            "Mean distance to the neighbours: large where the past has nothing alike.",
            nullable=True,
        ),
        Column("pattern_count", "BIGINT", "Neighbours found.", nullable=True),
        *(
            Column(f"pattern_{k}", "DOUBLE", "Coordinate of the window's embedding.", nullable=True)
            for k in range(COORDINATES)
        ),
    ),
    ("fold", "symbol", "ts"),
)
TABLES = (PATTERN_ENCODER, PATTERN_MEMORY)
_CODE_VERSION = "1"
_LABELS_SQL = """
    SELECT symbol, ts, horizon, label, label_end FROM features.labels
    WHERE ts >= ? AND ts < ? ORDER BY symbol, ts
"""
_ROWS_SQL = "SELECT * FROM features.matrix WHERE ts >= ? AND ts < ? ORDER BY symbol, ts"


def pattern_encoder_bytes(warehouse: Warehouse, fold: int) -> bytes:
    """Read the encoder of a fold as it is stored."""
    stored = warehouse.frame("SELECT content FROM models.pattern_encoder WHERE fold = ?", [fold])
    content: bytes = stored["content"][0]
    return content


def read_pattern_model(warehouse: Warehouse, fold: int) -> "PatternModel":
    """Read the encoder of a fold with its scaler and projection."""
    from engine.patterns.model import PatternModel

    return PatternModel.from_bytes(pattern_encoder_bytes(warehouse, fold))


def looked_up(
    warehouse: Warehouse, settings: Settings, model: "PatternModel", start: datetime, end: datetime
) -> "pl.DataFrame":
    """Look every bar from start to end up in the past of that stretch; the table's columns but `fold`."""
    from engine.patterns.features import pattern_features, remember

    windows = model.windows(warehouse.frame(_ROWS_SQL, [start, end]), settings.bar_duration)
    labels = warehouse.frame(_LABELS_SQL, [start, end])
    return pattern_features(model, windows, remember(model, windows, labels))


@table_asset(
    PATTERN_ENCODER.full_name,
    PATTERN_ENCODER,
    deps=["features.matrix", SPLITS.full_name],
    group="patterns",
    code_version=_CODE_VERSION,
    kinds={"pytorch"},
    pool="train",
)
def pattern_encoder(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Teach a transformer to tell windows of thirty candles apart, without any label."""
    from dataclasses import asdict

    import polars as pl

    from engine.patterns.contrastive import ContrastiveConfig
    from engine.patterns.model import train_pattern_model
    from engine.patterns.pattern_plots import learning_curve

    config = ContrastiveConfig(steps=settings.work.pattern_updates, horizon=settings.horizon_bars)
    inputs = warehouse.versions(["features.matrix", SPLITS.full_name])
    models, pictures = [], {}
    for split in learning_folds(warehouse, settings):
        rows = warehouse.frame(_ROWS_SQL, [split.train.start, split.train.end])
        model, report = train_pattern_model(
            rows, split.train, settings.bar_duration, config, compact=COORDINATES, seed=settings.seed
        )
        context.log.info("fold %s: best after %s updates", split.number, report.best_step)
        pictures["loss"] = learning_curve(report, f"Encoder of fold {split.number}")
        models.append(
            registry_row(
                split,
                name="pattern-encoder",
                kind="embedding of thirty candles",
                code_version=_CODE_VERSION,
                inputs=inputs,
                features=model.scaler.columns,
                parameters={**asdict(config), "seed": settings.seed},
                metrics=dict(model.metadata),
                content=model.to_bytes(),
            )
        )
    return Made(pl.DataFrame(models, schema=PATTERN_ENCODER.polars_schema), pictures=pictures)


@table_asset(
    PATTERN_MEMORY.full_name,
    PATTERN_MEMORY,
    deps=[PATTERN_ENCODER.full_name, "features.matrix", "features.labels", SPLITS.full_name],
    group="patterns",
    code_version=_CODE_VERSION,
    kinds={"pytorch", "faiss"},
    pool="train",
)
def pattern_memory(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Embed every bar once and find what followed the windows of its past that look alike."""
    import polars as pl

    parts = [PATTERN_MEMORY.empty()]
    for split in learning_folds(warehouse, settings):
        model = read_pattern_model(warehouse, split.number)
        found = looked_up(warehouse, settings, model, split.train.start, split.test.end)
        parts.append(PATTERN_MEMORY.of(found.with_columns(fold=split.number)))
        context.log.info("fold %s: %s bars looked up", split.number, found.height)
    frame = pl.concat(parts)
    judged = frame.drop_nulls("pattern_mean").join(
        warehouse.frame("SELECT symbol, ts, label FROM features.labels"), on=["symbol", "ts"]
    )
    agreement = (
        judged.select(pl.corr("pattern_mean", "label", method="spearman")).item() if judged.height else None
    )
    return Made(
        frame,
        figures={
            "bars with neighbours": judged.height,
            "rank correlation of what followed the neighbours with what came": float(agreement or 0.0),
        },
    )
