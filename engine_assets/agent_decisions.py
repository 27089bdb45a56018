"""Group ``training``: which agents are champion, and what agents decided on bars they never saw."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.agent_rows import ROW_TABLES, agent_rows
from engine_assets.agents import AGENT_FULL, with_patterns
from engine_assets.patterns import PATTERN_MEMORY, learning_folds
from engine_assets.table_asset import (
    asset_key,
    picture,
    shown_rows,
    stored,
    table_specs,
)
from engine_assets.windows import SPLITS
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.agents.trading_agents import DecidedTape, TradingAgents
    from engine.evaluation.decision import Decision
    from engine.evaluation.splits import Split

__all__ = [
    "CHAMPION",
    "DECISIONS",
    "HEALTH",
    "TABLES",
    "champions",
    "fold_agents",
    "not_collapsed",
]

CHALLENGER_ROLE, CHAMPION_ROLE = "challenger", "champion"

CHAMPION = Table(
    "models",
    "champion_agent",
    "Every contest for champion, chained by hashes, with the agents that were champion after it.",
    (
        Column("number", "BIGINT", "Place in the chain, from 1."),
        Column("moment", "TIMESTAMP", "When it was decided, UTC."),
        Column("subject", "VARCHAR", "What would have been replaced."),
        Column("kind", "VARCHAR", "search, manual or failed."),
        Column("searched", "BIGINT", "Candidates looked at."),
        Column("statistic", "DOUBLE", "Improvement of the challenger in standard errors.", nullable=True),
        Column("p_value", "DOUBLE", "Of no improvement.", nullable=True),
        Column("alpha", "DOUBLE", "Level it was tested at."),
        Column("promoted", "BOOLEAN", "Whether the challenger became champion."),
        Column("reason", "VARCHAR", "Why, in words."),
        Column("sharpe_mean", "DOUBLE", "Mean of the candidates' Sharpe ratios a bar.", nullable=True),
        Column("sharpe_variance", "DOUBLE", "Their variance.", nullable=True),
        Column("previous_hash", "VARCHAR", "Of the row before."),
        Column("hash", "VARCHAR", "Of this row."),
        Column("fold", "BIGINT", "Walk-forward fold of the challenger."),
        Column("window_start", "TIMESTAMP", "Start of the bars on which both were judged, UTC."),
        Column("window_end", "TIMESTAMP", "End of them."),
        Column("challenger", "VARCHAR", "SHA-256 of the challenger's agents."),
        Column(
            "incumbent",
            "VARCHAR",
            "Of the champion's until then; missing where there was none.",
            nullable=True,
        ),
        Column("champion", "VARCHAR", "Of the champion's since; missing where there is none.", nullable=True),
        Column("content", "BLOB", "The champion's agents; arrays, never a pickle.", nullable=True),
    ),
    ("number",),
)
DECISIONS = Table(
    "trading",
    "agent_decisions",
    "What agents decided on bars after their training: in the window of the contest, and in the test window.",
    (
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column(
            "role",
            "VARCHAR",
            "challenger: the fold's own agents; champion: those in force since.",
        ),
        Column(
            "part", "VARCHAR", "Window it lies in: calibrate or test; missing between them.", nullable=True
        ),
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("regime", "VARCHAR", "Filtered regime at the decision.", nullable=True),
        Column("level", "BIGINT", "Target position, counted from the shortest."),
        Column("position", "DOUBLE", "Target position, fraction of the symbol's share of equity."),
        Column("confidence", "DOUBLE", "Probability that the policy gave it; raw."),
        Column("value", "DOUBLE", "Discounted reward that the critic expects."),
        Column("option", "VARCHAR", "Option that acted, where the policy has options.", nullable=True),
        Column("agents", "VARCHAR", "SHA-256 of the agents that decided."),
    ),
    ("fold", "role", "symbol", "ts"),
)
HEALTH = Table(
    "trading",
    "agent_health",
    "Signs that an agent has collapsed, in its decisions in the test window.",
    (
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("name", "VARCHAR", "Figure."),
        Column("value", "DOUBLE", "What it is.", nullable=True),
        Column("bound", "DOUBLE", "What it must keep."),
        Column("alarm", "BOOLEAN", "Whether it does not."),
        Column("meaning", "VARCHAR", "What that would mean."),
    ),
    ("fold", "symbol", "name"),
)
TABLES = (CHAMPION, DECISIONS, HEALTH)
_SUBJECT = "champion agent"
_CODE_VERSION = "1"
_INPUTS = (*ROW_TABLES, PATTERN_MEMORY.full_name, AGENT_FULL.full_name, SPLITS.full_name)


@dg.multi_asset(
    name="champion_and_decisions",
    specs=table_specs(TABLES, deps=_INPUTS, group="training", code_version=_CODE_VERSION, kinds={"pytorch"}),
    pool="train",
)
def champions(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Let the newest agents contest for champion on bars that nobody was trained on, and decide onward.

    The challenger must beat the champion, or plain holding where there is none yet, net of costs and with
    95 % confidence; every contest lowers the level of the next. A contest that was held is not held again.
    """
    import polars as pl

    from engine.agents.trading_agents import TradingAgents, even_account
    from engine.alpha.walk_forward import SCHEMA_HASH
    from engine.evaluation import attempts as ledger
    from engine.plots import equity_and_drawdown

    inputs = warehouse.versions(_INPUTS)
    known = (
        warehouse.frame("SELECT * FROM models.champion_agent ORDER BY number")
        if warehouse.exists(CHAMPION.full_name)
        else CHAMPION.empty()
    )
    contests, decided, health = [CHAMPION.empty()], [DECISIONS.empty()], [HEALTH.empty()]
    facts: dict[Table, dict[str, Any]] = {}
    for split in learning_folds(warehouse, settings):
        rows = with_patterns(
            warehouse, split.number, agent_rows(warehouse, settings, split.calibrate.start, split.test.end)
        )
        challenger = fold_agents(warehouse, split.number)
        tapes = challenger.decide(rows)
        held = known.filter(
            (pl.col("fold") == split.number) & (pl.col("challenger") == challenger.content_hash)
        )
        if held.is_empty():
            content = None if known.is_empty() else known["content"][-1]
            incumbent = None if content is None else TradingAgents.from_bytes(content, SCHEMA_HASH)
            row = _contest(known, split, rows, (challenger, tapes), incumbent, settings)
            contests.append(row)
            known = pl.concat([known, row])
            held = row
        last = held.row(-1, named=True)
        context.log.info("fold %s: %s", split.number, last["reason"])
        facts[CHAMPION] = {
            "answer": "the challenger is champion"
            if last["promoted"]
            else "the champion stays, if there is one",
            "reason": last["reason"],
            "last hash": known["hash"][-1],
        }
        roles = {CHALLENGER_ROLE: (challenger, tapes)}
        if last["content"] is not None:
            champion = TradingAgents.from_bytes(last["content"], SCHEMA_HASH)
            same = champion.content_hash == challenger.content_hash
            roles[CHAMPION_ROLE] = (champion, tapes if same else champion.decide(rows))
        curves = {}
        for role, (agents, walked) in roles.items():
            decided.append(_described(walked, rows, split, role, agents.content_hash))
            curves[role] = even_account([one.between(split.test.start, split.test.end) for one in walked])
        health += _health([one.between(split.test.start, split.test.end) for one in tapes], split)
        days = curves[CHALLENGER_ROLE]["ts"].to_list()
        drawn = equity_and_drawdown(
            days,
            {role: (1.0 + curve["net_return"]).cum_prod().to_numpy() for role, curve in curves.items()},
            "Agents in the test window, every symbol the same share, net of costs",
        )
        facts[DECISIONS] = {"equity": picture(drawn), **_figures(decided[1])}
        facts[HEALTH] = shown_rows("alarms", health[-1].filter("alarm"))
    made = {CHAMPION: pl.concat(contests), DECISIONS: pl.concat(decided), HEALTH: pl.concat(health)}
    ledger.verify(known.select(ledger.ATTEMPTS.names()))
    yield from stored(
        context,
        warehouse,
        settings,
        made,
        inputs,
        _CODE_VERSION,
        lambda table: facts.get(table, {}),
        append_only=(CHAMPION,),
    )


def fold_agents(warehouse: Warehouse, fold: int) -> "TradingAgents":
    """Read the agents of a fold: the pooled one, and those tuned for a symbol."""
    from engine.agents.checkpoint import Checkpoint
    from engine.agents.trading_agents import TradingAgents
    from engine.alpha.walk_forward import SCHEMA_HASH

    rows = warehouse.frame("SELECT symbol, content FROM models.agent_full WHERE fold = ?", [fold])
    read = {symbol: Checkpoint.from_bytes(content, SCHEMA_HASH) for symbol, content in rows.iter_rows()}
    return TradingAgents(read.pop(None), read)


def _contest(
    known: "pl.DataFrame",
    split: "Split",
    rows: "pl.DataFrame",
    candidate: "tuple[TradingAgents, list[DecidedTape]]",
    incumbent: "TradingAgents | None",
    settings: Settings,
) -> "pl.DataFrame":
    """Judge both on the calibration window, which neither was trained on; return the row of the contest."""
    import numpy as np
    import polars as pl

    from engine.agents.trading_agents import even_account
    from engine.evaluation import attempts as ledger

    start, end = split.calibrate.start, split.calibrate.end
    challenger, decided = candidate
    new = [one.between(start, end) for one in decided]
    returns = even_account(new)
    before = (
        even_account(new, held=1.0)["net_return"]
        if incumbent is None
        else even_account(incumbent.decide(rows.filter(split.calibrate.mask())))["net_return"]
    )
    chain = known.select(ledger.ATTEMPTS.names())
    decision = _asked(returns, before, new, ledger.next_alpha(chain, _SUBJECT), settings)
    bars = returns["net_return"].to_numpy()
    attempt = ledger.attempt_of(
        decision,
        moment=datetime.now(UTC).replace(tzinfo=None),
        subject=_SUBJECT,
        sharpes=np.array([bars.mean() / bars.std()]) if bars.std() > 0 else None,
    )
    champion = challenger if decision.promote else incumbent
    return (
        ledger.append(chain, attempt)
        .tail(1)
        .with_columns(
            fold=pl.lit(split.number, pl.Int64),
            window_start=pl.lit(start, pl.Datetime("us")),
            window_end=pl.lit(end, pl.Datetime("us")),
            challenger=pl.lit(challenger.content_hash),
            incumbent=pl.lit(None if incumbent is None else incumbent.content_hash, pl.String),
            champion=pl.lit(None if champion is None else champion.content_hash, pl.String),
            content=pl.lit(None if champion is None else champion.to_bytes(), pl.Binary),
        )
        .select(CHAMPION.column_names)
    )


def _asked(
    returns: "pl.DataFrame",
    before: "pl.Series",
    decided: "list[DecidedTape]",
    alpha: float,
    settings: Settings,
) -> "Decision":
    """Ask the promotion gate, on returns bar by bar."""
    from engine.evaluation.promotion_gate import PromotionGate

    trades = sum(int((one.outcomes.turnover > 0).sum()) for one in decided)
    return PromotionGate(seed=settings.seed).decide(
        before.to_numpy(),
        {CHALLENGER_ROLE: returns["net_return"].to_numpy()},
        alpha=alpha,
        trades={CHALLENGER_ROLE: trades},
    )


def _described(
    decided: "list[DecidedTape]", rows: "pl.DataFrame", split: "Split", role: str, agents: str
) -> "pl.DataFrame":
    """Rows of `DECISIONS`."""
    import polars as pl

    part = (
        pl.when(split.calibrate.mask()).then(pl.lit("calibrate")).when(split.test.mask()).then(pl.lit("test"))
    )
    frame = pl.concat(one.frame() for one in decided).join(
        rows.select("symbol", "ts", "regime"), on=["symbol", "ts"], how="left", maintain_order="left"
    )
    return frame.with_columns(
        fold=pl.lit(split.number, pl.Int64), role=pl.lit(role), part=part, agents=pl.lit(agents)
    ).select(DECISIONS.column_names)


def _health(decided: "list[DecidedTape]", split: "Split") -> "list[pl.DataFrame]":
    """Rows of `HEALTH`; none for a symbol with too few bars to judge by."""
    import polars as pl

    from engine.agents.collapse import findings_frame
    from engine.errors import NotEnoughDataError

    found = []
    for one in decided:
        try:
            frame = findings_frame(one.health())
        except NotEnoughDataError:
            continue
        described = frame.with_columns(
            fold=pl.lit(split.number, pl.Int64), symbol=pl.lit(one.tape.symbols[0])
        )
        found.append(described.select(HEALTH.column_names))
    return found


def _figures(decisions: "pl.DataFrame") -> dict[str, Any]:
    """Figures of a challenger's decisions in the test window."""
    import polars as pl

    test = decisions.filter(pl.col("part") == "test")
    change = (pl.col("position") - pl.col("position").shift(1)).abs().over("symbol")
    return {
        "mean position": float(test["position"].mean() or 0.0),  # type: ignore[arg-type]
        "mean change of position per bar": float(test.select(change.mean()).item() or 0.0),
        "positions": dg.MetadataValue.json(
            {str(k): v for k, v in test["position"].value_counts(normalize=True).sort("position").iter_rows()}
        ),
    }


@dg.asset_check(
    asset=asset_key(HEALTH.full_name),
    name="not_collapsed",
    description="Agents act in more than one way, change neither always nor never, and do not just hold.",
)
def not_collapsed(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Read the alarms. A market with nothing to earn makes an agent stay flat, and then two of them sound."""
    alarms = warehouse.frame(
        "SELECT fold, symbol, name, value, bound, meaning FROM trading.agent_health WHERE alarm ORDER BY ALL"
    )
    return dg.AssetCheckResult(
        passed=alarms.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"alarms": alarms.height, **shown_rows("what they say", alarms)},
    )
