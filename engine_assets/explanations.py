"""Group ``evaluation``: why the strategy entered its trades."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
import dagster as dg

from engine_assets.evaluation import STRATEGY, TRADES
from engine_assets.registry import REGISTRY
from engine_assets.table_asset import Made, table_asset
from engine_assets.training import training_rows
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

__all__ = ["EXPLANATIONS", "explanations"]

EXPLANATIONS = Table(
    "predictions",
    "shap",
    "Why each out-of-sample trade was entered: Shapley values of the direction's log odds at the decision.",
    (
        Column("fold", "BIGINT", "Walk-forward fold whose model decided."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("entry_ts", "TIMESTAMP", "Open of the bar of the trade's first fill, UTC."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("base_value", "DOUBLE", "Log odds before any feature is known."),
        Column("feature", "VARCHAR", "Name of the feature."),
        Column("value", "DOUBLE", "How far the feature moved the log odds."),
    ),
    ("symbol", "entry_ts", "feature"),
)


@table_asset(
    EXPLANATIONS.full_name,
    EXPLANATIONS,
    deps=[TRADES.full_name, REGISTRY.full_name, "predictions.calibrated", "features.matrix"],
    group="evaluation",
    code_version="1",
    kinds={"lightgbm", "shap"},
)
def explanations(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Explain every trade of the strategy by the model that decided it, on the bar before the fill."""
    import polars as pl

    from engine.alpha.boosting import BoostingPredictor
    from engine.features.attribution import attribute
    from engine.plots import bar_chart

    trades = warehouse.frame(
        """
        SELECT p.fold, t.symbol, t.entry_ts, p.ts
        FROM trading.trades AS t JOIN predictions.calibrated AS p
          ON p.symbol = t.symbol AND p.ts = t.entry_ts - to_seconds(?)
        WHERE t.strategy = ? ORDER BY p.fold, p.ts, t.symbol
        """,
        [int(settings.bar_duration.total_seconds()), STRATEGY],
    )
    parts = [EXPLANATIONS.empty()]
    for (fold,), part in trades.group_by("fold", maintain_order=True):
        content = warehouse.frame("SELECT content FROM models.registry WHERE fold = ?", [fold])["content"][0]
        model = BoostingPredictor.from_bytes(content)
        first, last = part.select(first=pl.col("ts").min(), last=pl.col("ts").max()).row(0)
        rows = training_rows(warehouse, settings, first, last + settings.bar_duration)
        rows = part.join(rows, on=["symbol", "ts"], how="inner", maintain_order="left")
        found = attribute(model, rows.select(model.features).to_numpy())
        wide = rows.select("fold", "symbol", "entry_ts", "ts").with_columns(
            pl.Series("base_value", found.base),
            *(pl.Series(name, found.values[:, i]) for i, name in enumerate(model.features)),
        )
        parts.append(
            wide.unpivot(
                index=["fold", "symbol", "entry_ts", "ts", "base_value"], variable_name="feature"
            ).select(EXPLANATIONS.column_names)
        )
    frame = pl.concat(parts)
    if frame.is_empty():
        return Made(frame, figures={"note": "the strategy made no trade"})
    mean = frame.group_by("feature").agg(pl.col("value").abs().mean()).sort("value", descending=True).head(20)
    drawn = bar_chart(
        mean["feature"].to_list(),
        {"mean |phi|": mean["value"].to_numpy()},
        "What moved the trades",
        "log odds",
    )
    return Made(frame, pictures={"mean effect": drawn}, figures={"trades explained": trades.height})
