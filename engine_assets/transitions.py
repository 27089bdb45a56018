"""Group ``regimes``: how likely each market is to change its regime soon."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.changepoints import CHANGEPOINTS
from engine_assets.regimes import MARKET_REGIMES
from engine_assets.table_asset import picture, stored, table_specs
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.evaluation.skill import Estimate
    from engine.regimes.anticipator import TransitionHistory

__all__ = [
    "ANTICIPATORS",
    "SKILL",
    "TABLES",
    "TRANSITION_RISK",
    "TRANSITION_WARMUP",
    "transition_inputs",
    "transitions",
    "walk_risks",
]

TRANSITION_RISK = Table(
    "regimes",
    "transition_risk",
    "Calibrated probabilities that the regime is left, and that PANIC is entered, within a horizon.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        Column("horizon", "BIGINT", "Bars in which it may happen."),
        Column("p_transition", "DOUBLE", "P(the regime is left); missing if unknown.", nullable=True),
        Column("p_panic_entry", "DOUBLE", "P(PANIC is entered); missing in PANIC too.", nullable=True),
        Column("status", "VARCHAR", "ok, or unknown: no model yet, or an input is missing."),
    ),
    ("symbol", "ts"),
)
SKILL = Table(
    "regimes",
    "transition_skill",
    "Whether the transition risk is right, out of sample, with 95 % intervals.",
    (
        Column("outcome", "VARCHAR", "leaves, or panic_entry."),
        Column("measure", "VARCHAR", "What is measured."),
        Column("value", "DOUBLE", "What was measured.", nullable=True),
        Column("low", "DOUBLE", "Lower end of its interval.", nullable=True),
        Column("high", "DOUBLE", "Upper end of its interval.", nullable=True),
        Column("count", "BIGINT", "Risks judged."),
    ),
    ("outcome", "measure"),
)
ANTICIPATORS = Table(
    "regimes",
    "anticipators",
    "The model in use at the end of the history.",
    (
        Column("fitted_until", "TIMESTAMP", "Open of the newest bar in the history, UTC."),
        Column("format", "VARCHAR", "How content is written: safetensors."),
        Column("meta", "VARCHAR", "JSON: configuration and sources."),
        Column("content", "BLOB", "The arrays."),
    ),
    ("fitted_until",),
)
TABLES = (TRANSITION_RISK, SKILL, ANTICIPATORS)
_CODE_VERSION = "1"
_INPUTS = (
    MARKET_REGIMES.full_name,
    CHANGEPOINTS.full_name,
    "staging.candles",
    "alternative.alternative_features",
)
TRANSITION_WARMUP = timedelta(days=120)
_LOOKBACK = timedelta(days=365)
_INPUTS_SQL = {
    "regimes": "SELECT * FROM regimes.market_regimes {where} ORDER BY symbol, ts",
    "changepoints": "SELECT * FROM regimes.changepoints {where} ORDER BY symbol, ts",
    "observed": "SELECT symbol, ts, log_return FROM staging.candles {where} ORDER BY symbol, ts",
    "alternative": "SELECT * FROM alternative.alternative_features {where} ORDER BY symbol, ts",
}
_TITLES = {"leaves": "regime left", "panic_entry": "PANIC entered"}


def walk_risks(
    regimes: "pl.DataFrame",
    changepoints: "pl.DataFrame",
    observed: "pl.DataFrame",
    alternative: "pl.DataFrame",
    settings: Settings,
) -> "TransitionHistory":
    """State the risk of every bar by models that are refitted as often as the profile says."""
    from engine.regimes.anticipator import walk_forward_transitions
    from engine.regimes.transition_features import transition_features

    return walk_forward_transitions(
        transition_features(regimes, changepoints, observed, alternative),
        settings.bar_duration,
        refit=timedelta(days=settings.work.regime_refit_days),
        warmup=TRANSITION_WARMUP,
        lookback=_LOOKBACK,
    )


def transition_inputs(warehouse: Warehouse, before: timedelta | None = None) -> "dict[str, pl.DataFrame]":
    """Read what `walk_risks` takes: the whole history, or its first stretch."""
    where = "WHERE ts < (SELECT min(ts) FROM staging.candles) + ?" if before else ""
    return {
        name: warehouse.frame(sql.format(where=where), [before] if before else [])
        for name, sql in _INPUTS_SQL.items()
    }


@dg.multi_asset(
    name="transitions",
    specs=table_specs(
        TABLES, deps=_INPUTS, group="regimes", code_version=_CODE_VERSION, kinds={"scikitlearn", "polars"}
    ),
)
def transitions(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Combine the regime's own course, change points and early warnings into a risk with a horizon.

    Fitted and calibrated on schedule on labels known by then. The reliability diagram shows what came of the
    risks stated: a risk of 30 % should come true 30 % of the time.
    """
    import json

    import polars as pl
    from safetensors.numpy import save

    inputs = warehouse.versions(_INPUTS)
    read = transition_inputs(warehouse)
    history = walk_risks(**read, settings=settings)
    anticipators = ANTICIPATORS.empty()
    if history.anticipator.fitted:
        arrays, meta = history.anticipator.to_arrays()
        model = (history.rows["ts"].max(), "safetensors", json.dumps(meta), save(arrays))
        anticipators = pl.DataFrame([model], ANTICIPATORS.polars_schema, orient="row")
    judged, reliability = _judged(history, read["regimes"], settings)
    lines = [
        (outcome, measure, *vars(estimate).values())
        for outcome, estimates in judged.items()
        for measure, estimate in estimates.items()
    ]
    made = {
        TRANSITION_RISK: history.rows,
        SKILL: pl.DataFrame(lines, schema=SKILL.polars_schema, orient="row"),
        ANTICIPATORS: anticipators,
    }
    facts: dict[Table, dict[str, Any]] = {TRANSITION_RISK: _drawn(warehouse, history.rows, read["regimes"])}
    if reliability:
        from engine.regimes.transition_plots import risk_reliability

        title = "Transition risk: stated against what came"
        facts[TRANSITION_RISK]["reliability"] = picture(risk_reliability(reliability, title))
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


def _judged(
    history: "TransitionHistory", regimes: "pl.DataFrame", settings: Settings
) -> "tuple[dict[str, dict[str, Estimate]], dict[str, pl.DataFrame]]":
    """Skill and reliability of each risk, where enough of them were stated."""
    from engine.errors import NotEnoughDataError
    from engine.regimes.transition_skill import (
        RISKS,
        judged_risks,
        transition_reliability,
        transition_skill,
    )

    estimates, tables = {}, {}
    config = history.anticipator.config
    for outcome in RISKS:
        judged = judged_risks(history.rows, regimes, outcome, settings.bar_duration, config.hold)
        try:
            estimates[outcome] = transition_skill(
                judged, draws=settings.work.bootstrap_draws, seed=settings.seed
            )
        except NotEnoughDataError:
            continue
        tables[_TITLES[outcome]] = transition_reliability(judged, config.horizon)
    return estimates, tables


def _drawn(warehouse: Warehouse, risks: "pl.DataFrame", regimes: "pl.DataFrame") -> dict[str, Any]:
    """Price, regimes and risks of the first market in its last year."""
    import polars as pl

    from engine.regimes.transition_plots import risk_over_time

    symbol = risks["symbol"][0]
    closes = warehouse.frame("SELECT symbol, ts, close FROM staging.candles WHERE symbol = ?", [symbol])
    rows = (
        closes.join(regimes.select("symbol", "ts", "regime"), on=["symbol", "ts"])
        .join(risks, on=["symbol", "ts"])
        .sort("ts")
        .filter(pl.col("ts") >= pl.col("ts").max() - pl.duration(days=365))
    )
    drawn = risk_over_time(
        rows["ts"].to_list(),
        rows["close"].to_numpy(),
        rows["regime"].to_list(),
        rows,
        f"{symbol}: price, PANIC, and the risk of a transition",
    )
    return {"risk over time": picture(drawn)}
