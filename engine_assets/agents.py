"""Group ``training``: agents, one asset for each stage of their curriculum."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
import json
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.agent_inputs import FOLD_COLUMNS, FOLD_TABLES, agent_features, with_fold_inputs
from engine_assets.agent_pipeline import training_pipeline
from engine_assets.agent_rows import ROW_TABLES, agent_rows, fold_synthetic_rows
from engine_assets.registry import REGISTRY, registry_row
from engine_assets.table_asset import Made, asset_key, table_asset
from engine_assets.training import SHARES
from engine_assets.windows import SPLITS, learning_folds
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.agents.pipeline import RLTrainingPipeline
    from engine.agents.training import Progress, TrainedAgent, Training
    from engine.agents.training_data import TrainingData
    from engine.agents.training_update import TrainingUpdate
    from engine.evaluation.splits import Split, Window

__all__ = [
    "AGENT_FULL",
    "TABLES",
    "agent_assets",
    "fold_data",
    "folds_staying_out",
]

_COLUMNS = (
    *REGISTRY.columns,
    Column("symbol", "VARCHAR", "Symbol it was tuned for; missing where it trades all.", nullable=True),
    Column("content_hash", "VARCHAR", "SHA-256 of content, by which a child names its parent."),
    Column(
        "training",
        "BLOB",
        "Optimiser, replay and curriculum, to go on from; arrays, never a pickle.",
        nullable=True,
    ),
    Column("report", "VARCHAR", "JSON: one entry per evaluation on the validation part."),
)


def _table(name: str, stage: str) -> Table:
    return Table(
        "models",
        name,
        f"Agents after the stage {stage} of their curriculum, a row for each fold.",
        _COLUMNS,
        ("model_id",),
    )


_STAGES = {
    stage: _table(f"agent_{name}", stage)
    for stage, name in {"TREND": "trend", "RANGE": "range", "PANIC": "panic", "ALL": "full"}.items()
}
AGENT_FULL = _STAGES["ALL"]
TABLES = tuple(_STAGES.values())
_CODE_VERSION = "5"
_INPUTS = (
    *ROW_TABLES,
    "alternative.alternative_features",
    "synthetic.synthetic_panic",
    SPLITS.full_name,
    SHARES.full_name,
    *FOLD_TABLES,
)


def folds_staying_out(warehouse: Warehouse) -> frozenset[int]:
    """Folds whose agents stay out of the market, as their training found nothing that pays."""
    from engine.agents.training import STAYS_OUT

    kept = "SELECT fold FROM models.agent_full WHERE symbol IS NULL AND (metrics ->> 'kept') = ?"
    return frozenset(warehouse.frame(kept, [STAYS_OUT])["fold"])


def fold_data(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings, split: "Split"
) -> "TrainingData":
    """Training window of a fold, laid out for agents, with the synthetic windows that it may train on."""
    from engine.agents.training_data import published_features
    from engine.errors import NotEnoughDataError

    window, fold = split.train, split.number
    pipeline = training_pipeline(settings)
    part = pipeline.learning_part(window)
    rows = with_fold_inputs(warehouse, fold, agent_rows(warehouse, settings, window.start, window.end))
    features = published_features(rows, agent_features(warehouse, fold), part)
    try:
        synthetic = _synthetic(warehouse, settings, fold, part)
    except NotEnoughDataError as error:
        context.log.info("fold %s: nothing synthetic: %s", fold, error)
        synthetic = None
    return pipeline.prepare(rows, features, window, split.purge, synthetic)


def _synthetic(warehouse: Warehouse, settings: Settings, fold: int, part: "Window") -> "pl.DataFrame":
    """Synthetic bars with what agents look at, but for what followed the like, and what the market did."""
    import polars as pl

    rows = fold_synthetic_rows(warehouse, settings, fold, part)
    return rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in FOLD_COLUMNS)


def agent_assets() -> list[dg.AssetsDefinition]:
    """Build one asset for each stage, each going on where the one before it stopped."""
    stages = list(_STAGES)
    return [_stage_asset(stage, before) for before, stage in zip([None, *stages], stages, strict=False)]


def _stage_asset(stage: str, before: str | None) -> dg.AssetsDefinition:
    table = _STAGES[stage]
    earlier = () if before is None else (_STAGES[before].full_name,)

    @table_asset(
        table.full_name,
        table,
        deps=(*_INPUTS, *earlier),
        group="training",
        code_version=_CODE_VERSION,
        kinds={"pytorch"},
        pool="train",
    )
    def trained(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
        """Train the agents of the newest folds through this stage of their curriculum.

        Each goes on from where the stage before stopped, with its optimiser, its replay and its schedule.
        Only the training window is seen; its end tells when the stage is mastered and, in the last
        stage, which weights to keep and when to stop.
        """
        import polars as pl

        from engine.agents.agent_plots import learning_curves
        from engine.agents.resume import pack_training, resume_training

        pipeline = training_pipeline(settings)
        inputs = warehouse.versions([*_INPUTS, *earlier])
        rows, report, kept = [], pl.DataFrame(), stage
        for split in learning_folds(warehouse, settings):
            data = fold_data(context, warehouse, settings, split)
            parent = None if before is None else _stored(warehouse, before, split.number)
            training = (
                pipeline.begin(data)
                if parent is None
                else resume_training(pipeline, data, parent["training"])
            )
            if training.stage == stage:
                pipeline.train_stage(training, data, _streaming(context, table, split.number))
            else:
                context.log.info("fold %s: too few bars for the stage %s, passed over", split.number, stage)
            if before is None and training.warm_up is not None:
                reward = training.warm_up.reward
                context.log.info("fold %s: warmed up to a reward of %.4f in validation", split.number, reward)
            last = stage == "ALL"
            agent = pipeline.finish(training, data) if last else pipeline.so_far(training, data, stage)
            report, kept = agent.report, agent.kept
            context.log.info("fold %s: the agent has %s", split.number, _origin(kept))
            rows.append(
                {
                    **_described(agent, split, stage, inputs),
                    "parent": None if parent is None else parent["content_hash"],
                    "training": None if last else pack_training(training),
                }
            )
            if last and settings.work.agent_tuning_evaluations:
                rows += _fine_tuned(context, pipeline, agent, split, inputs)
        frame = pl.DataFrame(rows, schema=table.polars_schema)
        return Made(
            frame,
            pictures={"learning curves": learning_curves(report)},
            figures={
                "agents": frame.height,
                "updates": int(report["update"].to_numpy().max()),
                "the newest agent has": _origin(kept),
            },
        )

    return trained


def _origin(kept: str) -> str:
    """Say in words where the weights of a trained agent are from."""
    from engine.agents.training import STAYS_OUT, WARM_UP

    named = {
        STAYS_OUT: "learned nothing that pays: it stays out",
        WARM_UP: "the weights of its warm-up: no later ones are shown to be better",
    }
    return named.get(kept, f"weights of the stage {kept}")


def _streaming(context: dg.AssetExecutionContext, table: Table, fold: int) -> "Progress":
    """Say how training goes: in the log, and as observations that the asset's page draws as curves."""

    def say(training: "Training", update: "TrainingUpdate") -> None:
        figures = {
            "update": update.update,
            "reward": update.reward,
            "entropy": update.losses.entropy,
            "turnover": update.turnover,
            "learning rate": update.learning_rate,
        }
        context.log.info("fold %s, %s: %s", fold, training.stage, figures)
        context.log_event(dg.AssetObservation(asset_key(table.full_name), metadata=figures))

    return say


def _stored(warehouse: Warehouse, stage: str, fold: int) -> dict[str, Any]:
    """Row of the pooled agent of a fold after a stage."""
    name = _STAGES[stage].full_name
    return warehouse.frame(
        f"SELECT content_hash, training FROM {name} WHERE fold = ? AND symbol IS NULL",  # noqa: S608
        [fold],
    ).row(0, named=True)


def _described(
    trained: "TrainedAgent",
    split: "Split",
    stage: str,
    inputs: dict[str, str],
    symbol: str | None = None,
) -> dict[str, Any]:
    """Row of an agent but for its parent and its training."""
    from engine.alpha.walk_forward import SCHEMA_HASH

    checkpoint = trained.agent.checkpoint(scaler=trained.data.scaler, schema=SCHEMA_HASH)
    last = trained.report.row(-1, named=True) if trained.report.height else {}
    row = registry_row(
        split,
        name=_STAGES[stage].name.replace("_", "-"),
        kind=checkpoint.policy,
        code_version=_CODE_VERSION,
        inputs=inputs,
        features=checkpoint.features,
        parameters=checkpoint.config,
        metrics={**last, "kept": trained.kept},
        content=checkpoint.to_bytes(),
    )
    return {
        **row,
        "model_id": row["model_id"] + (f"-{symbol}" if symbol else ""),
        "symbol": symbol,
        "content_hash": checkpoint.content_hash,
        "training": None,
        "report": json.dumps(trained.report.to_dicts()),
    }


def _fine_tuned(
    context: dg.AssetExecutionContext,
    pipeline: "RLTrainingPipeline",
    pooled: "TrainedAgent",
    split: "Split",
    inputs: dict[str, str],
) -> list[dict[str, Any]]:
    """Agents tuned for one symbol each, where that was better on the symbol's validation part."""
    rows = []
    parent = pooled.agent.checkpoint(scaler=pooled.data.scaler).content_hash
    for symbol in pooled.data.validation.symbols:
        tuned = pipeline.fine_tune(pooled, symbol)
        if tuned is None:
            context.log.info("fold %s: the pooled agent stays the best for %s", split.number, symbol)
            continue
        rows.append({**_described(tuned, split, "ALL", inputs, symbol), "parent": parent})
    return rows
