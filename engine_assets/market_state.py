"""Group ``training``: how the market as a whole stands, for agents: what trees expect of it, how it moves."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine.agents.market_columns import MARKET_COLUMNS
from engine_assets.agent_pipeline import training_pipeline
from engine_assets.agent_rows import ROW_TABLES, agent_rows
from engine_assets.registry import REGISTRY, registry_row
from engine_assets.table_asset import stored, table_specs
from engine_assets.training import SHARES, boosting_config, kept_features
from engine_assets.windows import SPLITS, learning_folds
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.alpha.cross_fitting import Forecaster

__all__ = ["MARKET_FORECASTER", "MARKET_STATE", "TABLES", "market_forecaster", "market_states"]

MARKET_FORECASTER = Table(
    "models",
    "market_forecaster",
    "Trees that state what agents see of the future after the part of the training window they learn from.",
    REGISTRY.columns,
    ("model_id",),
)
MARKET_STATE = Table(
    "features",
    "market_state",
    "How all symbols together stand on each bar of the learning folds; forecasts by models not fitted on it.",
    (
        Column("fold", "BIGINT", "Walk-forward fold whose models forecast."),
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        *(Column(name, "DOUBLE", meaning, nullable=True) for name, meaning in MARKET_COLUMNS.items()),
    ),
    ("fold", "ts"),
)
TABLES = (MARKET_FORECASTER, MARKET_STATE)
_CODE_VERSION = "1"
_INPUTS = (*ROW_TABLES, "features.labels", SPLITS.full_name, SHARES.full_name)
_LABELS_SQL = """
    SELECT symbol, ts, label, label_end FROM features.labels WHERE ts >= ? AND ts < ? ORDER BY symbol, ts
"""


def market_forecaster(warehouse: Warehouse, fold: int) -> "Forecaster":
    """Read the trees that forecast the bars after what a fold learns from."""
    from engine.alpha.boosting import BoostingPredictor
    from engine.alpha.cross_fitting import Forecaster

    sql = "SELECT content, (metrics ->> 'base rate')::DOUBLE FROM models.market_forecaster WHERE fold = ?"
    content, base_rate = warehouse.frame(sql, [fold]).row(0)
    return Forecaster(BoostingPredictor.from_bytes(content), base_rate)


@dg.multi_asset(
    name="market_states",
    specs=table_specs(TABLES, deps=_INPUTS, group="training", code_version=_CODE_VERSION, kinds={"lightgbm"}),
    pool="train",
)
def market_states(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Say how the market as a whole stands on each bar of the newest folds.

    Whatever agents learn from is forecast by models of other stretches of time, so that a forecast is worth
    there what it will be worth later.
    """
    from dataclasses import asdict, replace

    import polars as pl

    from engine.agents.market_state import market_state
    from engine.alpha.cross_fitting import cross_fitted
    from engine.alpha.walk_forward import with_scale

    inputs = warehouse.versions(_INPUTS)
    config = boosting_config(settings)
    models, states, worth = [], [MARKET_STATE.empty()], float("nan")
    for split in learning_folds(warehouse, settings):
        span = split.train.start, split.test.end
        labels = warehouse.frame(_LABELS_SQL, [*span])
        rows = agent_rows(warehouse, settings, *span).join(
            labels, on=["symbol", "ts"], how="left", maintain_order="left"
        )
        learned = training_pipeline(settings).learning_part(split.train)
        forecasts, forecaster = cross_fitted(
            with_scale(rows, settings.horizon_bars), learned, kept_features(warehouse, split.number), config
        )
        known = rows.join(forecasts, on=["symbol", "ts"], how="left", maintain_order="left")
        worth = _worth(known.filter(pl.col("ts") >= learned.end))
        state = market_state(known, settings.bar_duration)
        states.append(MARKET_STATE.of(state.with_columns(fold=pl.lit(split.number, pl.Int64))))
        models.append(
            registry_row(
                replace(split, train=learned),
                name="market-forecaster",
                kind="direction of the forward return, for agents",
                code_version=_CODE_VERSION,
                inputs=inputs,
                features=forecaster.model.features,
                parameters=asdict(config),
                metrics={"base rate": forecaster.base_rate, "rank correlation afterwards": worth},
                content=forecaster.model.to_bytes(),
                format="json of lightgbm text",
            )
        )
        context.log.info(
            "fold %s: rank correlation of forecast and outcome afterwards %.3f", split.number, worth
        )
    made = {
        MARKET_FORECASTER: pl.DataFrame(models, schema=MARKET_FORECASTER.polars_schema),
        MARKET_STATE: pl.concat(states),
    }
    facts: dict[Table, dict[str, Any]] = {
        MARKET_STATE: {"rank correlation of the newest forecasts with what came": worth}
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


def _worth(rows: "pl.DataFrame") -> float:
    """Rank correlation of forecasts with outcomes; 0 where there is none."""
    import math

    import polars as pl

    known = rows.drop_nulls("label")
    found = known.select(pl.corr("forecast", "label", method="spearman")).item() if known.height else None
    return found if found is not None and math.isfinite(found) else 0.0
