"""Group ``portfolio``: target weights inside the risk budget, for every day and for tomorrow."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.table_asset import Made, table_asset
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CLOSES_SQL", "SIGNALS_SQL", "WEIGHTS", "allocate", "weights"]

WEIGHTS = Table(
    "portfolio",
    "weights",
    "Target weights of each day: decided at its close, to be filled at the next open.",
    (
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("decided_at", "TIMESTAMP", "Close of the decision bar, UTC."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("direction", "BIGINT", "Side that is predicted: 1 up, -1 down, 0 none."),
        Column("confidence", "DOUBLE", "Calibrated lower bound of P(direction is right).", nullable=True),
        Column("weight", "DOUBLE", "Fraction of equity to hold; negative is short."),
        Column("risk_share", "DOUBLE", "Share of the portfolio's variance.", nullable=True),
        Column("trade", "DOUBLE", "Change from what is held, fraction of equity."),
        Column("method", "VARCHAR", "Step of the fallback chain that gave the weights."),
        Column("reasons", "VARCHAR", "What kept, cut or dropped it."),
    ),
    ("ts", "symbol"),
)

SIGNALS_SQL = "SELECT symbol, ts, direction, confidence FROM predictions.calibrated ORDER BY ts, symbol"
CLOSES_SQL = "SELECT symbol, ts, close FROM staging.candles ORDER BY symbol, ts"


def allocate(signals: "pl.DataFrame", candles: "pl.DataFrame", settings: Settings) -> "pl.DataFrame":
    """Allocate at every midnight that has signals, with the costs of the settings."""
    from engine.portfolio.allocation import PortfolioConfig
    from engine.portfolio.walk_forward import daily_closes, walk_allocations

    bar = settings.bar_duration
    config = PortfolioConfig(cost_bps=settings.costs.fee_bps + settings.costs.half_spread_bps)
    return walk_allocations(signals, daily_closes(candles, bar), bar, config)


@table_asset(
    WEIGHTS.full_name,
    WEIGHTS,
    deps=["predictions.calibrated", "staging.candles"],
    group="portfolio",
    code_version="1",
    kinds={"skfolio", "polars"},
)
def weights(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Risk budgets tilted by calibrated confidence, under correlation limit, caps and trading costs.

    A symbol whose confidence is unknown, or not better than a coin's, gets no risk; the rest stays in cash.
    """
    import polars as pl

    from engine.plots import risk_contributions

    frame = allocate(warehouse.frame(SIGNALS_SQL), warehouse.frame(CLOSES_SQL), settings)
    if frame.is_empty():
        return Made(frame, figures={"note": "no decision: no signal falls on a midnight"})
    newest = frame.filter(pl.col("ts") == pl.col("ts").max()).sort(pl.col("weight").abs(), descending=True)
    exposure = frame.group_by("ts").agg(pl.col("weight").abs().sum())
    return Made(
        frame,
        pictures={
            "newest weights": risk_contributions(
                newest["symbol"].to_list(),
                newest["weight"].to_numpy(),
                newest["risk_share"].fill_null(0.0).to_numpy(),
                f"Target weights, decided at {newest['decided_at'][0]:%Y-%m-%d %H:%M} UTC",
            )
        },
        figures={
            "decisions": exposure.height,
            "mean exposure": float(exposure["weight"].to_numpy().mean()),
            "days in cash": float((exposure["weight"] == 0).to_numpy().mean()),
            "methods": str(dict(frame.unique("ts")["method"].value_counts().iter_rows())),
        },
    )
