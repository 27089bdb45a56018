"""Group ``changepoints``: whether the market has just changed, within hours, by every new bar."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.table_asset import picture, shown_rows, stored, table_specs
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.regimes.bocd import BOCDRegimeDetector

__all__ = ["ALERTS", "CHANGEPOINTS", "STATES", "TABLES", "changepoints"]

CHANGEPOINTS = Table(
    "regimes",
    "changepoints",
    "Whether a new segment has just begun, by Bayesian online change-point detection.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        Column("p_mean", "DOUBLE", "P(the mean return has just changed); missing if unknown.", nullable=True),
        Column("p_volatility", "DOUBLE", "P(the volatility has just changed), likewise.", nullable=True),
        Column("p_changepoint", "DOUBLE", "The larger of both.", nullable=True),
        Column("run_length_mean", "BIGINT", "Most probable bars since the mean changed.", nullable=True),
        Column("run_length_volatility", "BIGINT", "The same of the volatility.", nullable=True),
        Column("action", "VARCHAR", "hold, reduce or exit, with hysteresis."),
    ),
    ("symbol", "ts"),
)
ALERTS = Table(
    "regimes",
    "changepoint_alerts",
    "Each time that the detector asked for less risk.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the bar that raised it, UTC."),
        Column("known_at", "TIMESTAMP", "Close of that bar, UTC."),
        Column("action", "VARCHAR", "reduce or exit."),
        Column("p_changepoint", "DOUBLE", "Probability that raised it; missing without data.", nullable=True),
        Column("p_mean", "DOUBLE", "Of the mean return.", nullable=True),
        Column("p_volatility", "DOUBLE", "Of the volatility.", nullable=True),
        Column("changed_at", "TIMESTAMP", "Open of the bar with which it probably began.", nullable=True),
    ),
    ("symbol", "ts"),
)
STATES = Table(
    "regimes",
    "changepoint_states",
    "The detector's state after the newest bar, from which the next one continues.",
    (
        Column("seen_until", "TIMESTAMP", "Open of the newest bar seen, UTC."),
        Column("format", "VARCHAR", "How content is written: safetensors."),
        Column("meta", "VARCHAR", "JSON: configuration and symbols."),
        Column("content", "BLOB", "The arrays."),
    ),
    ("seen_until",),
)
TABLES = (CHANGEPOINTS, ALERTS, STATES)
_CODE_VERSION = "2"
_INPUTS = ("staging.candles",)
_DRAWN_BARS = 1_000
RETURNS_SQL = "SELECT symbol, ts, close, log_return FROM staging.candles ORDER BY symbol, ts"


@dg.multi_asset(
    name="changepoints",
    specs=table_specs(
        TABLES, deps=_INPUTS, group="changepoints", code_version=_CODE_VERSION, kinds={"numba", "polars"}
    ),
)
def changepoints(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Ask after every bar whether the mean or the volatility of its symbol's returns has just changed.

    Nothing is fitted: the detector's settings are fixed and each bar sees what came before it. The whole
    history takes a second, so it is walked anew and cannot disagree with what a restart would have seen.
    """
    import json

    import polars as pl
    from safetensors.numpy import save

    from engine.regimes.bocd import BOCDRegimeDetector
    from engine.regimes.changepoint_alerts import changepoint_alerts

    inputs = warehouse.versions(_INPUTS)
    candles = warehouse.frame(RETURNS_SQL)
    detector = BOCDRegimeDetector()
    rows = detector.detect(candles)
    alerts = changepoint_alerts(rows, settings.bar_duration)
    arrays, meta = detector.to_arrays()
    state = (candles["ts"].max(), "safetensors", json.dumps(meta), save(arrays))
    made = {
        CHANGEPOINTS: rows,
        ALERTS: alerts,
        STATES: pl.DataFrame([state], STATES.polars_schema, orient="row"),
    }
    actions = rows["action"].to_numpy()
    facts: dict[Table, dict[str, Any]] = {
        CHANGEPOINTS: {f"share of bars on {a}": float((actions == a).mean()) for a in ("reduce", "exit")},
        ALERTS: {
            "alerts per 1,000 bars": 1_000 * alerts.height / max(rows.height, 1),
            "run lengths": picture(_drawn(detector, candles, alerts)),
            **shown_rows("newest", alerts.tail(10).reverse().drop("p_mean", "p_volatility")),
        },
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


def _drawn(detector: "BOCDRegimeDetector", candles: "pl.DataFrame", alerts: "pl.DataFrame") -> bytes:
    """Price, alerts and run lengths of the first market in its newest weeks, from the exact recursion."""
    import polars as pl

    from engine.regimes.changepoint_plots import run_length_picture
    from engine.regimes.run_length_exact import run_length_matrix

    symbol = candles["symbol"][0]
    rows = candles.filter(pl.col("symbol") == symbol).drop_nulls("log_return").tail(_DRAWN_BARS)
    scale = rows["log_return"].abs().median()
    sizes = rows.select((pl.col("log_return").abs() / scale).clip(0, 30)).to_series()
    raised = alerts.filter((pl.col("symbol") == symbol) & (pl.col("ts") >= rows["ts"][0]))
    config = detector.config
    return run_length_picture(
        rows["ts"].to_list(),
        rows["close"].to_numpy(),
        run_length_matrix(sizes.to_numpy(), config.volatility_prior, config.hazard),
        list(raised.select("ts", "action").iter_rows()),
        f"{symbol}: alerts, and bars since its volatility changed",
    )
