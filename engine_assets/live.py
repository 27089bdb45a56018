"""Predictions of the bars that came after the last training, so that a rebalance sees today's prices."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.calibration import CALIBRATED, CALIBRATORS
from engine_assets.changepoints import CHANGEPOINTS
from engine_assets.regimes import DETECTORS, MARKET_REGIMES
from engine_assets.registry import REGISTRY
from engine_assets.table_asset import Made, table_asset
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.alpha.new_bars import ModelsInUse

__all__ = ["LIVE", "live", "models_in_use"]

LIVE = Table(
    "predictions",
    "live",
    "Predictions of the bars since the last training, by the models in use.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("fold", "BIGINT", "Fold whose models are in use."),
        Column("regime", "VARCHAR", "Filtered regime at the decision.", nullable=True),
        Column("p_trend", "DOUBLE", "P(TREND), filtered.", nullable=True),
        Column("p_range", "DOUBLE", "P(RANGE), likewise.", nullable=True),
        Column("p_panic", "DOUBLE", "P(PANIC), likewise.", nullable=True),
        Column("direction", "BIGINT", "Side predicted: 1 up, -1 down."),
        Column("raw_confidence", "DOUBLE", "What the model states for that side."),
        Column("confidence", "DOUBLE", "Lower bound of P(side is right); missing if unknown.", nullable=True),
        Column("status", "VARCHAR", "ok, or unknown where the regime has too few outcomes."),
        Column("fear_greed", "DOUBLE", "Index known at the decision.", nullable=True),
        Column("fear_greed_age_hours", "DOUBLE", "Since it was published.", nullable=True),
        Column("features", "DOUBLE[]", "What the model read, in the order of the recipe."),
    ),
    ("symbol", "ts"),
)


def models_in_use(warehouse: Warehouse) -> "ModelsInUse":
    """Load the newest regime detector, forecaster and calibrator.

    Raises
    ------
    WarehouseError
        If nothing was trained yet.
    """
    import json

    from safetensors.numpy import load

    from engine.alpha.boosting import BoostingPredictor
    from engine.alpha.new_bars import ModelsInUse
    from engine.calibration.conformal import ConformalPredictor
    from engine.regimes.detector import RegimeDetector

    detector = warehouse.frame("SELECT content FROM regimes.detectors ORDER BY fitted_until DESC LIMIT 1")
    model = warehouse.frame("SELECT content FROM models.registry ORDER BY fold DESC LIMIT 1")
    calibrator = warehouse.frame("SELECT meta, content FROM models.calibrators ORDER BY fold DESC LIMIT 1")
    beliefs = warehouse.frame(
        "SELECT * FROM regimes.market_regimes WHERE regime IS NOT NULL "
        "QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY ts DESC) = 1"
    )
    return ModelsInUse(
        detector=RegimeDetector.from_dict(json.loads(detector["content"][0])),
        beliefs=beliefs,
        forecaster=BoostingPredictor.from_bytes(model["content"][0]),
        calibrator=ConformalPredictor.from_arrays(
            load(calibrator["content"][0]), json.loads(calibrator["meta"][0])
        ),
    )


@table_asset(
    LIVE.full_name,
    LIVE,
    deps=[
        "staging.candles",
        "staging.alternative",
        CHANGEPOINTS.full_name,
        MARKET_REGIMES.full_name,
        DETECTORS.full_name,
        REGISTRY.full_name,
        CALIBRATORS.full_name,
        CALIBRATED.full_name,
    ],
    group="portfolio",
    code_version="2",
    kinds={"lightgbm", "polars"},
)
def live(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """From fresh prices to calibrated predictions in seconds, with nothing fitted anew.

    Every row equals what the training will state for the same bar, as long as confidences are not calibrated
    anew in between, which they are weekly.
    """
    import polars as pl

    from engine.alpha.new_bars import TAIL, predict_new_bars
    from engine.calibration.changepoints import CHANGE_MEMORY

    bar = settings.bar_duration
    done = warehouse.frame("SELECT max(ts) AS ts, max(fold) AS fold FROM predictions.calibrated")
    after, fold = done["ts"][0], done["fold"][0]
    candles = warehouse.frame(
        "SELECT * FROM staging.candles WHERE ts > ? ORDER BY symbol, ts", [after - TAIL * bar]
    )
    newest = candles["ts"].max()
    if newest == after:
        return Made(LIVE.empty(), figures={"note": "the training has seen every bar"})
    observations = warehouse.frame(
        "SELECT series, symbol, ts, available_at, value FROM staging.alternative WHERE available_at <= ?",
        [newest + bar],  # type: ignore[operator]
    )
    changepoints = warehouse.frame(
        "SELECT symbol, ts, p_changepoint FROM regimes.changepoints WHERE ts > ?", [after - CHANGE_MEMORY]
    )
    models = models_in_use(warehouse)
    frame = predict_new_bars(candles, observations, changepoints, models, after, bar, settings.horizon_bars)
    frame = frame.with_columns(fold=pl.lit(fold, pl.Int64)).select(LIVE.column_names)
    return Made(frame, figures={"new bars": frame["ts"].n_unique()})
