"""Group ``training``: models of each fold, and what they forecast for the windows that they never saw."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.registry import REGISTRY, registry_row
from engine_assets.table_asset import Made, stored, table_asset, table_specs
from engine_assets.windows import SPLITS, read_splits
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.alpha.boosting import BoostingConfig
    from engine.evaluation.splits import Split

__all__ = [
    "FORECASTS",
    "SHARES",
    "SKILL",
    "TABLES",
    "boosting_config",
    "forecasts",
    "kept_features",
    "shap_shares",
    "skill",
    "strongest_features",
    "training_rows",
]

FORECASTS = Table(
    "predictions",
    "out_of_sample",
    "Forecasts of each fold for its calibration and test windows, as the model states them.",
    (
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column("part", "VARCHAR", "Window it lies in: calibrate or test."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("regime", "VARCHAR", "Filtered regime at the decision.", nullable=True),
        Column("base", "DOUBLE", "Share of rises in the training window."),
        Column("p_up", "DOUBLE", "P(label > 0) as the model states it."),
        Column("q10", "DOUBLE", "10 % quantile of the label, log return.", nullable=True),
        Column("q50", "DOUBLE", "Median of the label.", nullable=True),
        Column("q90", "DOUBLE", "90 % quantile of the label.", nullable=True),
        Column("scale", "DOUBLE", "Expected size of the label, log return.", nullable=True),
    ),
    ("fold", "symbol", "ts"),
)
SKILL = Table(
    "predictions",
    "skill",
    "Out-of-sample skill against the base rate, with 95 % intervals over blocks of days.",
    (
        Column("position", "BIGINT", "Order in which people look at them."),
        Column("measure", "VARCHAR", "Figure, and the regime where it is not all."),
        Column("value", "DOUBLE", "Point estimate.", nullable=True),
        Column("low", "DOUBLE", "Lower end of the interval.", nullable=True),
        Column("high", "DOUBLE", "Upper end of the interval.", nullable=True),
        Column("count", "BIGINT", "Forecasts."),
    ),
    ("measure",),
)
SHARES = Table(
    "models",
    "shap_shares",
    "Share of each feature in the Shapley values of each regime, and which features are kept.",
    (
        Column("fold", "BIGINT", "Walk-forward fold; measured inside its training window."),
        Column("regime", "VARCHAR", "Filtered regime of the rows explained."),
        Column("feature", "VARCHAR", "Name of the feature."),
        Column("share", "DOUBLE", "mean |phi| over the sum of all features'."),
        Column("group", "BIGINT", "Features that move together have the same number."),
        Column("group_share", "DOUBLE", "Share of the group's summed phi."),
        Column("worth", "DOUBLE", "Correlation of phi with the outcome, out of sample.", nullable=True),
        Column("rows", "BIGINT", "Rows explained."),
        Column("kept", "BOOLEAN", "Whether the fold's models read it."),
    ),
    ("fold", "regime", "feature"),
)
TABLES = (SPLITS, SHARES, REGISTRY, FORECASTS, SKILL)

ROWS_SQL = """
    SELECT m.*, r.regime, r.p_trend, r.p_range, r.p_panic, l.label, l.label_end
    FROM features.matrix AS m
    LEFT JOIN regimes.market_regimes AS r USING (symbol, ts)
    LEFT JOIN features.labels AS l USING (symbol, ts)
    WHERE ts >= ? AND ts < ? ORDER BY ts, symbol
"""
_CODE_VERSION = "1"
# Each fold learns on one thread; two at a time keep memory small.
_FOLDS_AT_A_TIME = 2
_INPUTS = ("features.matrix", "features.labels", "regimes.market_regimes", "models.splits")
_FORECAST_INPUTS = (*_INPUTS, SHARES.full_name)


def training_rows(warehouse: Warehouse, settings: Settings, start: datetime, end: datetime) -> "pl.DataFrame":
    """Features, regimes and labels of the bars from start to end."""
    from engine.alpha.walk_forward import with_scale

    return with_scale(warehouse.frame(ROWS_SQL, [start, end]), settings.horizon_bars)


@table_asset(
    SHARES.full_name,
    SHARES,
    deps=_INPUTS,
    group="training",
    code_version="1",
    kinds={"lightgbm", "shap"},
    pool="train",
)
def shap_shares(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Which features earn their place, per regime, judged and retested inside each training window.

    A feature is dropped if it is noise in every regime or a copy of a stronger one, and dropping it did not
    raise the loss on later days of the same window.
    """
    import polars as pl

    from engine.alpha.walk_forward import prune_fold
    from engine.plots import bar_chart

    def judged(split: "Split") -> "pl.DataFrame":
        rows = training_rows(warehouse, settings, split.train.start, split.train.end)
        pruning = prune_fold(rows, split.train, boosting_config(settings))
        return pruning.report.shares.with_columns(
            fold=pl.lit(split.number, pl.Int64), kept=pl.col("feature").is_in(pruning.kept)
        )

    with ThreadPoolExecutor(_FOLDS_AT_A_TIME) as pool:
        parts = list(pool.map(judged, read_splits(warehouse)))
    frame = SHARES.of(pl.concat(parts))
    newest = frame.filter(pl.col("fold") == pl.col("fold").max())
    wide = newest.pivot(on="regime", index="feature", values="share").sort(
        pl.max_horizontal(pl.exclude("feature")), descending=True
    )
    top = wide.head(20)
    shown = {name: top[name].to_numpy() for name in top.columns[1:]}
    kept = newest.filter("kept")["feature"].n_unique()
    return Made(
        frame,
        pictures={
            "shares": bar_chart(
                top["feature"].to_list(), shown, "Share of Shapley values, newest fold", "share"
            )
        },
        figures={"kept in the newest fold": kept, "of": newest["feature"].n_unique()},
    )


def boosting_config(settings: Settings) -> "BoostingConfig":
    """Learner of the run: as many trees as the profile allows, seeded by the settings."""
    from engine.alpha.boosting import BoostingConfig

    work = settings.work
    return BoostingConfig(rounds=work.boosting_rounds, row_stride=work.row_stride, seed=settings.seed)


def kept_features(warehouse: Warehouse, fold: int) -> tuple[str, ...]:
    """Features that a fold's models read, in the order of the recipe."""
    from engine.alpha.walk_forward import FEATURES

    kept = warehouse.frame("SELECT DISTINCT feature FROM models.shap_shares WHERE kept AND fold = ?", [fold])
    return tuple(name for name in FEATURES if name in set(kept["feature"]))


def strongest_features(warehouse: Warehouse, fold: int) -> tuple[str, ...]:
    """Features that a fold's models read, those with the largest share over all regimes first."""
    sql = """
        SELECT feature FROM models.shap_shares WHERE kept AND fold = ?
        GROUP BY feature ORDER BY avg(share) DESC, feature
    """
    return tuple(warehouse.frame(sql, [fold])["feature"])


@dg.multi_asset(
    name="forecasts",
    specs=table_specs(
        (REGISTRY, FORECASTS),
        deps=_FORECAST_INPUTS,
        group="training",
        code_version=_CODE_VERSION,
        kinds={"lightgbm"},
    ),
    pool="train",
)
def forecasts(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Fit LightGBM models of direction and quantiles for each fold, and state what they expect."""
    from dataclasses import asdict

    import polars as pl

    from engine.alpha.walk_forward import forecast_fold

    inputs = warehouse.versions(_FORECAST_INPUTS)
    config = boosting_config(settings)
    models, stated = [], []
    for split in read_splits(warehouse):
        rows = training_rows(warehouse, settings, split.train.start, split.test.end)
        fold = forecast_fold(rows, split, kept_features(warehouse, split.number), config)
        stated.append(fold.forecasts.with_columns(fold=pl.lit(split.number, pl.Int64)))
        models.append(
            registry_row(
                split,
                name="direction",
                kind="direction and quantiles of the forward return",
                code_version=_CODE_VERSION,
                inputs=inputs,
                features=fold.model.features,
                parameters=asdict(config),
                metrics={"base rate": fold.base_rate, "trees": fold.model.booster.num_trees()},
                content=fold.model.to_bytes(),
                format="json of lightgbm text",
            )
        )
        context.log.info("fold %s: %s trees", split.number, fold.model.booster.num_trees())
    made = {
        REGISTRY: pl.DataFrame(models, schema=REGISTRY.polars_schema),
        FORECASTS: pl.concat(stated).select(FORECASTS.column_names),
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION)


@table_asset(
    SKILL.full_name,
    SKILL,
    deps=[FORECASTS.full_name, "features.labels"],
    group="training",
    code_version="1",
    kinds={"polars"},
)
def skill(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Log loss, Brier score and AUC of the test windows against the base rate, in all and per regime."""
    import polars as pl

    from engine.errors import NotEnoughDataError
    from engine.evaluation.skill import skill as judge
    from engine.plots import histogram
    from engine.regimes.names import REGIMES

    rows = warehouse.frame(
        """
        SELECT p.ts, p.regime, p.p_up AS p, p.base, l.label > 0 AS outcome
        FROM predictions.out_of_sample AS p JOIN features.labels AS l USING (symbol, ts)
        WHERE p.part = 'test' ORDER BY ts, symbol
        """
    )
    lines: list[dict[str, object]] = []
    for name in ("all", *REGIMES):
        part = rows if name == "all" else rows.filter(pl.col("regime") == name)
        try:
            judged = judge(part, draws=settings.work.bootstrap_draws, seed=settings.seed)
        except NotEnoughDataError as error:
            context.log.info("%s: %s", name, error)
            continue
        for measure, estimate in judged.items():
            if name == "all" or measure in ("gain in log loss", "AUC"):
                label = measure if name == "all" else f"{measure}, {name}"
                lines.append({"position": len(lines), "measure": label, **vars(estimate)})
    return Made(
        pl.DataFrame(lines, schema=SKILL.polars_schema),
        pictures={"stated": histogram(rows["p"], "P(up) as stated in the test windows", "P(up)")},
    )
