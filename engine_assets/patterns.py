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

    from engine.patterns.memory import MemoryStore
    from engine.patterns.model import PatternModel
    from engine.patterns.windows import PatternWindows

__all__ = [
    "OUTCOMES",
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
"""Coordinates of an embedding that are kept."""

PATTERN_ENCODER = Table(
    "models",
    "pattern_encoder",
    "Encoders of windows of thirty candles, taught by the training window of their fold without labels.",
    REGISTRY.columns,
    ("model_id",),
)
_OUTCOMES = (
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
)
OUTCOMES = tuple(column.name for column in _OUTCOMES)
"""What followed the neighbours."""
PATTERN_MEMORY = Table(
    "features",
    "pattern_memory",
    "What followed the windows of the past that look like each bar's; of bars of the learning folds.",
    (
        Column("fold", "BIGINT", "Walk-forward fold whose encoder looked."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the last bar of the window, UTC."),
        *_OUTCOMES,
        *(
            Column(f"pattern_{k}", "DOUBLE", "Coordinate of the window's embedding.", nullable=True)
            for k in range(COORDINATES)
        ),
    ),
    ("fold", "symbol", "ts"),
)
TABLES = (PATTERN_ENCODER, PATTERN_MEMORY)
_CODE_VERSION = "1"
_NEIGHBOURS = 5
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
    from engine.patterns.features import pattern_features

    _, windows, memory = _remembered(warehouse, settings, model, start, end)
    return pattern_features(model, windows, memory)


def _remembered(
    warehouse: Warehouse, settings: Settings, model: "PatternModel", start: datetime, end: datetime
) -> "tuple[pl.DataFrame, PatternWindows, MemoryStore]":
    """Rows of the matrix from start to end, their windows, and these with what followed."""
    from engine.patterns.features import remember

    rows, labels = (warehouse.frame(sql, [start, end]) for sql in (_ROWS_SQL, _LABELS_SQL))
    windows = model.windows(rows, settings.bar_duration)
    return rows, windows, remember(model, windows, labels)


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
    from engine.patterns.features import STRIDE
    from engine.patterns.model import train_pattern_model
    from engine.patterns.pattern_plots import embedding_picture, learning_curve

    config = ContrastiveConfig(steps=settings.work.pattern_updates, horizon=settings.horizon_bars)
    inputs = warehouse.versions(["features.matrix", SPLITS.full_name])
    models, pictures = [], {}
    for split in learning_folds(warehouse, settings):
        rows = warehouse.frame(_ROWS_SQL, [split.train.start, split.train.end])
        model, report = train_pattern_model(
            rows, split.train, settings.bar_duration, config, compact=COORDINATES, seed=settings.seed
        )
        context.log.info("fold %s: best after %s updates", split.number, report.best_step)
        windows = model.windows(rows, settings.bar_duration)
        embedding = model.encoder.encode_all(windows, windows.every(STRIDE))
        pictures["loss"] = learning_curve(report, f"Encoder of fold {split.number}")
        pictures["embedding"] = embedding_picture(embedding, f"Embeddings of fold {split.number}")
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

    from engine.patterns.features import pattern_features

    parts = [PATTERN_MEMORY.empty()]
    pictures: dict[str, bytes] = {}
    for split in learning_folds(warehouse, settings):
        model = read_pattern_model(warehouse, split.number)
        rows, windows, memory = _remembered(warehouse, settings, model, split.train.start, split.test.end)
        found = pattern_features(model, windows, memory)
        pictures |= _picture_of_newest(rows, model, windows, memory)
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
        pictures=pictures,
    )


def _picture_of_newest(
    rows: "pl.DataFrame", model: "PatternModel", windows: "PatternWindows", memory: "MemoryStore"
) -> dict[str, bytes]:
    """Draw the newest window over those of the past that look alike, where there is one."""
    from engine.patterns.alike import newest_alike
    from engine.patterns.pattern_plots import neighbours_picture

    # The matrix has no prices, and of a price that is drawn from its decision on the returns are enough.
    prices = rows["return_1"].fill_null(0.0).cum_sum().exp().to_numpy()
    found = newest_alike(model, windows, memory, prices, _NEIGHBOURS)
    if found is None:
        return {}
    distances = [match.distance for match in found.matches]
    title = f"{found.symbol}, {found.ts:%Y-%m-%d %H:%M} UTC"
    return {"neighbours": neighbours_picture(found.query, found.neighbours, distances, title)}
