"""Group ``training``: which agents are champion, and what agents decided on bars they never saw."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.agent_inputs import FOLD_TABLES, with_fold_inputs, with_market_state
from engine_assets.agent_rows import ROW_TABLES, agent_rows
from engine_assets.agents import AGENT_FULL, folds_staying_out
from engine_assets.evidence import ATTEMPTS
from engine_assets.patterns import PATTERN_ENCODER, looked_up, pattern_encoder_bytes
from engine_assets.table_asset import (
    asset_key,
    picture,
    shown_rows,
    stored,
    table_specs,
)
from engine_assets.windows import SPLITS, learning_folds
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.agents.trading_agents import DecidedTape, TradingAgents
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
        *ATTEMPTS.columns,
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
        Column("encoder", "BLOB", "Encoder of patterns that the champion looks through.", nullable=True),
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
            "challenger: the fold's own agents; champion: those in force after the fold's contest.",
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
    "Signs that an agent has collapsed, in its decisions in the test window; none of agents that stay out.",
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
_CODE_VERSION = "4"
_INPUTS = (
    *ROW_TABLES,
    "features.labels",
    PATTERN_ENCODER.full_name,
    *FOLD_TABLES,
    AGENT_FULL.full_name,
    SPLITS.full_name,
)


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

    from engine.evaluation import attempts as ledger

    inputs = warehouse.versions(_INPUTS)
    known = (
        warehouse.frame("SELECT * FROM models.champion_agent ORDER BY number")
        if warehouse.exists(CHAMPION.full_name)
        else CHAMPION.empty()
    )
    contests, decided, health = [CHAMPION.empty()], [DECISIONS.empty()], [HEALTH.empty()]
    facts: dict[Table, dict[str, Any]] = {}
    staying_out = folds_staying_out(warehouse)
    for split in learning_folds(warehouse, settings):
        rows = agent_rows(warehouse, settings, split.calibrate.start, split.test.end)
        challenger = _Side(
            fold_agents(warehouse, split.number), pattern_encoder_bytes(warehouse, split.number)
        )
        walked = challenger.agents.decide(with_fold_inputs(warehouse, split.number, rows))
        held = known.filter(
            (pl.col("fold") == split.number) & (pl.col("challenger") == challenger.agents.content_hash)
        )
        if held.is_empty():
            incumbent = _reigning(context, known)
            seen = None if incumbent is None else incumbent.decide(warehouse, settings, split, rows)
            held = _contest(known, split, (challenger, walked), (incumbent, seen), settings)
            contests.append(held)
            known = pl.concat([known, held])
        last = held.row(-1, named=True)
        context.log.info("fold %s: %s", split.number, last["reason"])
        roles = {CHALLENGER_ROLE: (challenger, walked)}
        champion = _reigning(context, held)
        if champion is not None:
            same = champion.agents.content_hash == challenger.agents.content_hash
            again = walked if same else champion.decide(warehouse, settings, split, rows)
            roles[CHAMPION_ROLE] = (champion, again)
        described = {
            role: _described(tapes, rows, split, role, side.agents.content_hash)
            for role, (side, tapes) in roles.items()
        }
        tested = {
            role: [one.between(split.test.start, split.test.end) for one in tapes]
            for role, (_, tapes) in roles.items()
        }
        # An agent that stays out has not collapsed: it was found to have nothing better to do.
        acting = [] if split.number in staying_out else tested[CHALLENGER_ROLE]
        judged = pl.concat([HEALTH.empty(), *_health(acting, split)])
        decided += described.values()
        health.append(judged)
        facts = {
            CHAMPION: {**_answer(last), "last hash": known["hash"][-1]},
            DECISIONS: {"equity": _equity(tested), **_figures(described[CHALLENGER_ROLE])},
            HEALTH: shown_rows("alarms", judged.filter("alarm")),
        }
    made = {CHAMPION: pl.concat(contests), DECISIONS: pl.concat(decided), HEALTH: pl.concat(health)}
    ledger.verify(known.select(ledger.ATTEMPTS.names()))
    yield from stored(
        context,
        warehouse,
        settings,
        made,
        inputs,
        _CODE_VERSION,
        facts,
        append_only=(CHAMPION,),
    )


@dataclass(frozen=True)
class _Side:
    """Agents and the encoder of patterns through which they look: another fold's means something else."""

    agents: "TradingAgents"
    encoder: bytes

    def decide(
        self, warehouse: Warehouse, settings: Settings, split: "Split", rows: "pl.DataFrame"
    ) -> "list[DecidedTape]":
        """Decide on rows of a fold that is not the agents' own; forecasts mean the same in every fold."""
        from engine.patterns.model import PatternModel

        model = PatternModel.from_bytes(self.encoder)
        found = looked_up(warehouse, settings, model, split.train.start, split.test.end)
        rows = rows.join(found, on=["symbol", "ts"], how="left", maintain_order="left")
        return self.agents.decide(with_market_state(warehouse, split.number, rows))


def _reigning(context: dg.AssetExecutionContext, contests: "pl.DataFrame") -> "_Side | None":
    """Champion after the last contest; None without one, or if its features are of another recipe."""
    from engine.agents.trading_agents import TradingAgents
    from engine.alpha.walk_forward import SCHEMA_HASH
    from engine.errors import DataError

    content = None if contests.is_empty() else contests["content"][-1]
    if content is None:
        return None
    try:
        return _Side(TradingAgents.from_bytes(content, SCHEMA_HASH), contests["encoder"][-1])
    except DataError as error:
        context.log.warning("the champion cannot decide any more and makes way: %s", error)
        return None


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
    challenger: "tuple[_Side, list[DecidedTape]]",
    incumbent: "tuple[_Side | None, list[DecidedTape] | None]",
    settings: Settings,
) -> "pl.DataFrame":
    """Judge both on the calibration window, which neither was trained on; return the row of the contest."""
    import numpy as np
    import polars as pl

    from engine.agents.contest import contest
    from engine.evaluation import attempts as ledger
    from engine.evaluation.promotion_gate import PromotionGate

    start, end = split.calibrate.start, split.calibrate.end
    (new, decided), (old, before) = challenger, incumbent
    chain = known.select(ledger.ATTEMPTS.names())
    held = contest(
        [one.between(start, end) for one in decided],
        None if before is None else [one.between(start, end) for one in before],
        alpha=ledger.next_alpha(chain, _SUBJECT),
        gate=PromotionGate(seed=settings.seed),
    )
    attempt = ledger.attempt_of(
        held.decision,
        moment=datetime.now(UTC).replace(tzinfo=None),
        subject=_SUBJECT,
        sharpes=None if held.sharpe is None else np.array([held.sharpe]),
    )
    champion = new if held.decision.promote else old
    return (
        ledger.append(chain, attempt)
        .tail(1)
        .with_columns(
            fold=pl.lit(split.number, pl.Int64),
            window_start=pl.lit(start, pl.Datetime("us")),
            window_end=pl.lit(end, pl.Datetime("us")),
            challenger=pl.lit(new.agents.content_hash),
            incumbent=pl.lit(None if old is None else old.agents.content_hash, pl.String),
            champion=pl.lit(None if champion is None else champion.agents.content_hash, pl.String),
            content=pl.lit(None if champion is None else champion.agents.to_bytes(), pl.Binary),
            encoder=pl.lit(None if champion is None else champion.encoder, pl.Binary),
        )
        .select(CHAMPION.column_names)
    )


def _answer(held: "dict[str, Any]") -> dict[str, Any]:
    """Say on the asset's page how a contest ended."""
    stays = "the champion stays" if held["champion"] else "there is no champion yet"
    return {"answer": "the challenger is champion" if held["promoted"] else stays, "reason": held["reason"]}


def _equity(tested: "dict[str, list[DecidedTape]]") -> dg.MetadataValue:
    """Draw what the agents of each role earned in the test window."""
    from engine.agents.trading_agents import even_account
    from engine.plots import equity_and_drawdown

    accounts = {role: even_account(tapes) for role, tapes in tested.items()}
    drawn = equity_and_drawdown(
        accounts[CHALLENGER_ROLE]["ts"].to_list(),
        {role: (1.0 + account["net_return"]).cum_prod().to_numpy() for role, account in accounts.items()},
        "Agents in the test window, every symbol the same share, net of costs",
    )
    return picture(drawn)


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
    """Read the alarms; agents that stay out because nothing pays have none."""
    alarms = warehouse.frame(
        "SELECT fold, symbol, name, value, bound, meaning FROM trading.agent_health WHERE alarm ORDER BY ALL"
    )
    return dg.AssetCheckResult(
        passed=alarms.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "alarms": alarms.height,
            "folds that stay out": len(folds_staying_out(warehouse)),
            **shown_rows("what they say", alarms),
        },
    )
