"""Group ``alpha``: rules, memory and agent as engines, and the bandit that learns which to follow when."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.agent_decisions import DECISIONS
from engine_assets.agent_rows import ROW_TABLES, agent_rows
from engine_assets.patterns import PATTERN_MEMORY
from engine_assets.table_asset import picture, shown_rows, stored, table_specs
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ENGINE_BANDIT", "ENGINE_COMPARISON", "ENGINE_POSTERIORS", "TABLES", "engine_bandit"]

ENGINE_BANDIT = Table(
    "trading",
    "engine_bandit",
    "Trades of the engine that the bandit followed, each credited to the regime in which it was entered.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("regime", "VARCHAR", "Filtered regime at the decision."),
        Column("engine", "VARCHAR", "Engine that was followed."),
        Column("entry_ts", "TIMESTAMP", "Open of the bar of the entry, UTC."),
        Column("exit_ts", "TIMESTAMP", "Open of the bar of the exit, UTC."),
        Column("direction", "BIGINT", "1 long, -1 short."),
        Column("gross", "DOUBLE", "Return before costs, fraction of the value at entry."),
        Column("funding", "DOUBLE", "Paid, likewise; negative is received."),
        Column("cost", "DOUBLE", "Fees and half spread of entry and exit, likewise."),
        Column("net", "DOUBLE", "Return after all costs."),
        Column("reward", "DOUBLE", "In 0..1, what the bandit learned; missing if cut short.", nullable=True),
    ),
    ("symbol", "ts"),
)
ENGINE_POSTERIORS = Table(
    "trading",
    "engine_posteriors",
    "What the bandit believed of each engine in each regime, day by day.",
    (
        Column("ts", "TIMESTAMP", "Moment, UTC."),
        Column("engine", "VARCHAR", "Engine."),
        Column("regime", "VARCHAR", "Regime at entry."),
        Column("wins", "DOUBLE", "First parameter of its Beta law."),
        Column("losses", "DOUBLE", "Second parameter."),
        Column("mean", "DOUBLE", "Expected reward; one half breaks even."),
        Column("low", "DOUBLE", "Lower end of its 95 % interval."),
        Column("high", "DOUBLE", "Upper end."),
    ),
    ("ts", "engine", "regime"),
)
ENGINE_COMPARISON = Table(
    "trading",
    "engine_comparison",
    "The bandit less every other way to choose, over the same bars, with 95 % intervals over days.",
    (
        Column("policy", "VARCHAR", "The other way to choose."),
        Column("metric", "VARCHAR", "Figure, annualised."),
        Column("value", "DOUBLE", "Difference.", nullable=True),
        Column("low", "DOUBLE", "Lower end of the interval.", nullable=True),
        Column("high", "DOUBLE", "Upper end.", nullable=True),
    ),
    ("policy", "metric"),
)
TABLES = (ENGINE_BANDIT, ENGINE_POSTERIORS, ENGINE_COMPARISON)
_CODE_VERSION = "1"
_INPUTS = (*ROW_TABLES, PATTERN_MEMORY.full_name, DECISIONS.full_name)
# Of each bar what the newest fold that saw it says; a champion's decision before a challenger's.
_MEMORY_SQL = """
    SELECT * EXCLUDE (fold) FROM features.pattern_memory
    QUALIFY row_number() OVER (PARTITION BY symbol, ts ORDER BY fold) = 1
"""
_AGENT_SQL = """
    SELECT symbol, ts, position AS agent_position, confidence AS agent_confidence
    FROM trading.agent_decisions
    QUALIFY row_number() OVER (PARTITION BY symbol, ts ORDER BY fold DESC, role) = 1
"""


@dg.multi_asset(
    name="engine_bandit",
    specs=table_specs(TABLES, deps=_INPUTS, group="alpha", code_version=_CODE_VERSION, kinds={"numba"}),
)
def engine_bandit(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Walk the bandit through the history: follow an engine, close after its horizon, learn, go on.

    Only the engine that acted is credited, when its trade is closed, in the regime of its entry. The agent
    speaks on bars after its training alone.
    """
    import polars as pl

    from engine.alpha.bandit_plots import choices_picture, posteriors_picture
    from engine.alpha.bandit_scores import compare
    from engine.alpha.coordinator import default_engines
    from engine.alpha.trade_outcomes import TradeOutcomes

    inputs = warehouse.versions(_INPUTS)
    engines = default_engines()
    outcomes = TradeOutcomes.from_frame(
        _rows(warehouse, settings),
        engines,
        cost=settings.costs.fill_bps / 1e4,
    )
    compared = compare(outcomes, seed=settings.seed, draws=settings.work.bootstrap_draws)
    walk = compared.walk
    frames = {
        ENGINE_BANDIT: walk.trades,
        ENGINE_POSTERIORS: walk.posteriors,
        ENGINE_COMPARISON: compared.differences,
    }
    made = {table: table.of(frame) for table, frame in frames.items()}
    names = [engine.name for engine in engines]
    used = walk.trades["engine"].value_counts(normalize=True).sort("engine")
    facts: dict[Table, dict[str, Any]] = {
        ENGINE_BANDIT: {
            "choices": picture(choices_picture(walk.choices, names, "Engines followed, by month")),
            "share of trades": dg.MetadataValue.json(dict(used.iter_rows())),
            "mean net return of a trade": float(walk.trades["net"].mean() or 0.0),  # type: ignore[arg-type]
        },
        ENGINE_POSTERIORS: {
            "expected reward": picture(posteriors_picture(walk.posteriors, "Expected reward by regime"))
        },
        ENGINE_COMPARISON: {
            "best single engine, in hindsight": compared.best_engine,
            **shown_rows("figures", compared.figures),
            **shown_rows("differences", made[ENGINE_COMPARISON].filter(pl.col("metric") == "annual_return")),
        },
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


def _rows(warehouse: Warehouse, settings: Settings) -> "pl.DataFrame":
    """Bars with everything that an engine reads; what a bar's position will pay stands on the bar itself."""
    import polars as pl

    rows = agent_rows(warehouse, settings, settings.first_moment, datetime.max)  # noqa: DTZ901  all there is
    for sql in (_MEMORY_SQL, _AGENT_SQL):
        rows = rows.join(warehouse.frame(sql), on=["symbol", "ts"], how="left", maintain_order="left")
    later = pl.col("funding").shift(-2).over("symbol", "segment")
    return rows.with_columns(later.fill_null(0.0))
