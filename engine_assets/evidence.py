"""Group ``evaluation``: whether there is a better way to decide, and how much of what was found is luck."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.portfolio import decision_config, market, prices_and_funding
from engine_assets.signals import SIGNAL_TABLES, closes, signals, views
from engine_assets.table_asset import Made, picture, stored, table_asset, table_specs
from engine_assets.training import boosting_config, training_rows
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.evaluation.decision import Decision
    from engine.portfolio.decide import DecisionConfig

__all__ = [
    "ATTEMPTS",
    "CANDIDATES",
    "CROSS_VALIDATION",
    "IN_FORCE",
    "OVERFITTING",
    "TABLES",
    "cross_validation",
    "evidence",
]

IN_FORCE = "in force"

CANDIDATES = Table(
    "trading",
    "candidate_returns",
    "Daily net returns of the way to decide that is in force, and of every alternative that was searched.",
    (
        Column("candidate", "VARCHAR", "Name of the alternative."),
        Column("day", "TIMESTAMP", "Midnight at which the day ended, UTC."),
        Column("net_return", "DOUBLE", "Return of the account after all costs."),
        Column("orders", "BIGINT", "Orders placed at the end of the day."),
    ),
    ("candidate", "day"),
)
OVERFITTING = Table(
    "trading",
    "overfitting_report",
    "How much of the best result is selection: deflated Sharpe ratio, probability of backtest overfitting.",
    (
        Column("position", "BIGINT", "Order in which people look at them."),
        Column("measure", "VARCHAR", "Name."),
        Column("value", "DOUBLE", "Figure; missing where it cannot be computed.", nullable=True),
        Column("reading", "VARCHAR", "What it says."),
    ),
    ("measure",),
)
ATTEMPTS = Table(
    "trading",
    "attempt_ledger",
    "Every attempt to replace what is in force, chained by hashes; it sets the level of the next attempt.",
    (
        Column("number", "BIGINT", "Place in the chain, from 1."),
        Column("moment", "TIMESTAMP", "When it was decided, UTC."),
        Column("subject", "VARCHAR", "What would have been replaced."),
        Column("kind", "VARCHAR", "search, manual or failed."),
        Column("searched", "BIGINT", "Candidates looked at."),
        Column("statistic", "DOUBLE", "Improvement of the best in standard errors.", nullable=True),
        Column(
            "p_value", "DOUBLE", "Of no improvement, adjusted for all candidates searched.", nullable=True
        ),
        Column("alpha", "DOUBLE", "Level it was tested at."),
        Column("promoted", "BOOLEAN", "Whether one passed the gate."),
        Column("reason", "VARCHAR", "Why, in words."),
        Column("sharpe_mean", "DOUBLE", "Mean of the candidates' Sharpe ratios a period.", nullable=True),
        Column("sharpe_variance", "DOUBLE", "Their variance.", nullable=True),
        Column("previous_hash", "VARCHAR", "Of the row before."),
        Column("hash", "VARCHAR", "Of this row."),
    ),
    ("number",),
)
CROSS_VALIDATION = Table(
    "predictions",
    "cross_validation",
    "Skill of the direction model along each path of combinatorial purged cross-validation.",
    (
        Column("path", "BIGINT", "One way to put the test groups together."),
        Column("gain", "DOUBLE", "In log loss over the base rate of all rows."),
        Column("auc", "DOUBLE", "Area under the ROC curve."),
    ),
    ("path",),
)
TABLES = (CANDIDATES, OVERFITTING, ATTEMPTS, CROSS_VALIDATION)
_DECIDED_TOGETHER = (CANDIDATES, OVERFITTING, ATTEMPTS)
_SUBJECT = "daily decision"
_CODE_VERSION = "1"
_INPUTS = (
    *SIGNAL_TABLES,
    "portfolio.target_positions",
    "staging.candles",
    "staging.alternative",
)


@dg.multi_asset(
    name="evidence",
    specs=table_specs(
        _DECIDED_TOGETHER, deps=_INPUTS, group="evaluation", code_version=_CODE_VERSION, kinds={"numba"}
    ),
)
def evidence(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Replay every alternative over the same days and ask the promotion gate.

    The gate advises: what is in force changes by the settings alone, by hand. Every attempt is entered in the
    ledger, also one that finds nothing, and lowers the level of the next.
    """
    import numpy as np
    import polars as pl

    from engine.evaluation import attempts as ledger
    from engine.evaluation.overfitting_report import overfitting_report
    from engine.portfolio.alternatives import alternatives

    inputs = warehouse.versions(_INPUTS)
    config = decision_config(settings)
    returns = _replayed(warehouse, settings, {IN_FORCE: config, **alternatives(config)})
    known = (
        warehouse.frame("SELECT * FROM trading.attempt_ledger ORDER BY number")
        if warehouse.exists(ATTEMPTS.full_name)
        else ledger.empty()
    )
    made: dict[Table, pl.DataFrame] = {CANDIDATES: returns, ATTEMPTS: ATTEMPTS.empty()}
    facts: dict[Table, dict[str, Any]] = {}
    wide = returns.pivot(on="candidate", index="day", values="net_return", maintain_order=True).sort("day")
    if wide.height > 1:
        decision = _asked(wide, returns, ledger.next_alpha(known, _SUBJECT), settings)
        candidates = wide.drop("day", IN_FORCE).to_numpy()
        spread = candidates.std(axis=0)
        sharpes = candidates.mean(axis=0)[spread > 0] / spread[spread > 0]
        attempt = ledger.attempt_of(
            decision,
            moment=datetime.now(UTC).replace(tzinfo=None),
            subject=_SUBJECT,
            sharpes=sharpes if sharpes.size else None,
        )
        known = ledger.append(known, attempt)
        made[ATTEMPTS] = known.tail(1)
        # Kept here too: a ledger cut off at its end has a whole chain, but another last hash.
        facts[ATTEMPTS] = {**_verdict(decision), "last hash": ledger.head(known)}
        facts[CANDIDATES] = {"equity": picture(_drawn(wide))}
    made[OVERFITTING] = overfitting_report(
        wide[IN_FORCE].to_numpy() if wide.height else np.empty(0),
        wide.drop("day").to_numpy(),
        ledger.trials(known, _SUBJECT),
    )
    made = {table: table.of(made[table]) for table in _DECIDED_TOGETHER}
    yield from stored(
        context,
        warehouse,
        settings,
        made,
        inputs,
        _CODE_VERSION,
        facts,
        append_only=(ATTEMPTS,),
    )


def _replayed(
    warehouse: Warehouse, settings: Settings, configs: "dict[str, DecisionConfig]"
) -> "pl.DataFrame":
    """Daily net returns of an account under each way to decide, side by side on the same days."""
    import polars as pl

    from engine.portfolio.alternatives import replay

    rows = signals(warehouse, settings, settings.first_moment)
    if rows.is_empty():
        return CANDIDATES.empty()
    first: datetime = rows["decided_at"].min()  # type: ignore[assignment]
    window = max(config.portfolio.window for config in configs.values())
    history = closes(warehouse, settings, first - timedelta(days=window + 2))
    venue = market(*prices_and_funding(warehouse, first - timedelta(days=1)), settings)
    capital = settings.costs.capital
    return pl.concat(
        replay(views(rows), history, venue, config, capital).with_columns(candidate=pl.lit(name))
        for name, config in configs.items()
    ).select(CANDIDATES.column_names)


def _asked(wide: "pl.DataFrame", returns: "pl.DataFrame", alpha: float, settings: Settings) -> "Decision":
    """Ask the promotion gate."""
    from engine.evaluation.promotion_gate import PromotionGate

    names = [name for name in wide.columns if name not in ("day", IN_FORCE)]
    orders = {name: int(part["orders"].sum()) for (name,), part in returns.group_by("candidate")}
    gate = PromotionGate(seed=settings.seed)
    return gate.decide(
        wide[IN_FORCE].to_numpy(),
        {name: wide[name].to_numpy() for name in names},
        alpha=alpha,
        trades={name: orders[name] for name in names},
    )


def _verdict(decision: "Decision") -> dict[str, Any]:
    """Put what the gate said on the asset's page."""
    columns = ("candidate", "improvement", "low", "high", "p_value", "refused_because")
    rows = [
        dg.TableRecord({name: "" if row[name] is None else str(row[name]) for name in columns})
        for row in decision.candidates.iter_rows(named=True)
    ]
    return {
        "answer": f"promote {decision.chosen}" if decision.promote else "keep what is in force",
        "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
        "candidates": dg.MetadataValue.table(rows),
    }


def _drawn(wide: "pl.DataFrame") -> bytes:
    from engine.plots import equity_and_drawdown

    curves = {name: (1.0 + wide[name]).cum_prod().to_numpy() for name in wide.columns if name != "day"}
    return equity_and_drawdown(wide["day"].to_list(), curves, "Ways to decide, net of all costs")


@table_asset(
    CROSS_VALIDATION.full_name,
    CROSS_VALIDATION,
    deps=["features.matrix", "features.labels", "regimes.market_regimes"],
    group="evaluation",
    code_version="1",
    kinds={"lightgbm", "skfolio"},
    pool="train",
)
def cross_validation(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Forecast every stretch of the history by models fitted on others, with purge and embargo.

    It shows how much the skill depends on the history that happened to come; a walk forward shows one path.
    """
    from engine.alpha.cross_validation import cross_validate
    from engine.features.catalogue import CATALOGUE
    from engine.plots import bar_chart

    bar = settings.bar_duration
    rows = training_rows(warehouse, settings, settings.first_moment, datetime.max)  # noqa: DTZ901  all there is
    embargo = CATALOGUE.warmup * bar
    frame = cross_validate(rows, boosting_config(settings), bar, embargo=embargo)
    drawn = bar_chart(
        [f"path {path}" for path in frame["path"]],
        {"gain": frame["gain"].to_numpy()},
        "Gain in log loss over the base rate, by path",
        "nats",
    )
    figures = {
        "median gain": float(frame["gain"].median()),  # type: ignore[arg-type]
        "worst path": float(frame["gain"].min()),  # type: ignore[arg-type]
        "median AUC": float(frame["auc"].median()),  # type: ignore[arg-type]
    }
    return Made(frame, pictures={"paths": drawn}, figures=figures)
