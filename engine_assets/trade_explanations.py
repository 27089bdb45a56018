"""Group ``training``: why agents changed their positions."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.agent_decisions import DECISIONS, fold_agents
from engine_assets.agent_inputs import FOLD_TABLES, with_fold_inputs
from engine_assets.agent_rows import ROW_TABLES, agent_rows
from engine_assets.agents import AGENT_FULL
from engine_assets.table_asset import Made, table_asset
from engine_assets.windows import learning_folds
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.agents.trading_agents import DecidedTape
    from engine.evaluation.splits import Split

__all__ = ["TRADE_EXPLANATIONS", "trade_explanations"]

TRADE_EXPLANATIONS = Table(
    "trading",
    "trade_explanations",
    "Why agents changed a position in the test window: Shapley values of that choice's log-probability.",
    (
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("position_before", "DOUBLE", "Position held until then."),
        Column("position", "DOUBLE", "Position taken."),
        Column("base_value", "DOUBLE", "Mean log-probability over the background."),
        Column("feature", "VARCHAR", "What the agent looked at."),
        Column("value", "DOUBLE", "How far it moved the log-probability."),
        Column("share", "DOUBLE", "Its size over that of all features together."),
        Column("rank", "BIGINT", "Place among the features of this trade, from 1."),
    ),
    ("fold", "symbol", "ts", "feature"),
)
# The largest of each trade; the rest are many and small.
_FEATURES_EXPLAINED = 10
# Bars of an episode in which the states of the background are met.
_EPISODE = 168


@table_asset(
    TRADE_EXPLANATIONS.full_name,
    TRADE_EXPLANATIONS,
    deps=[DECISIONS.full_name, AGENT_FULL.full_name, *FOLD_TABLES, *ROW_TABLES],
    group="training",
    code_version="1",
    kinds={"pytorch", "shap"},
    pool="train",
)
def trade_explanations(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Explain every change of position of the fold's own agents in the test window, by its features.

    Against training bars of the same regime, in states in which the agent found itself there.
    """
    import numpy as np
    import polars as pl

    from engine.plots import bar_chart

    parts, errors = [TRADE_EXPLANATIONS.empty()], [np.empty(0)]
    for split in learning_folds(warehouse, settings):
        agents = fold_agents(warehouse, split.number)
        rows = with_fold_inputs(
            warehouse, split.number, agent_rows(warehouse, settings, split.calibrate.start, split.test.end)
        )
        usual = with_fold_inputs(
            warehouse, split.number, agent_rows(warehouse, settings, split.train.start, split.train.end)
        )
        background = {one.tape.symbols[0]: one for one in agents.decide(usual, episode=_EPISODE)}
        for one in agents.decide(rows):
            explained, error = _explained(one, background[one.tape.symbols[0]], split, settings)
            parts.append(explained)
            errors.append(error)
    frame = pl.concat(parts)
    trades = frame.select("fold", "symbol", "ts").n_unique()
    if not trades:
        return Made(frame, figures={"note": "the agents changed no position"})
    mean = frame.group_by("feature").agg(pl.col("value").abs().sum() / trades).sort("value", descending=True)
    drawn = bar_chart(
        mean["feature"].head(20).to_list(),
        {"mean |phi|": mean["value"].head(20).to_numpy()},
        "What moved the agents to change a position",
        "log-probability",
    )
    figures = {
        "trades explained": trades,
        "mean error of completeness": float(np.abs(np.concatenate(errors)).mean()),
    }
    return Made(frame, pictures={"mean effect": drawn}, figures=figures)


def _explained(
    one: "DecidedTape", usual: "DecidedTape", split: "Split", settings: Settings
) -> "tuple[pl.DataFrame, Any]":
    """Rows of `TRADE_EXPLANATIONS` of one symbol, and the error of completeness of each trade."""
    import numpy as np
    import polars as pl
    import torch

    from engine.agents.explanations import ExplanationConfig, explain, top_features
    from engine.agents.outcomes import positions_before
    from engine.agents.policy_outputs import chosen_log_probability, input_names

    def states(decided: "DecidedTape", rows: Any) -> torch.Tensor:
        tape = decided.tape
        parts = (torch.from_numpy(tape.x[rows]), torch.from_numpy(tape.p_regime[rows]))
        return torch.cat([part.to(decided.agent.device) for part in parts] + [decided.decisions.own[rows]], 1)

    positions = one.positions
    before = positions_before(one.tape, positions)
    inside = (one.tape.ts >= np.datetime64(split.test.start)) & (one.tape.ts < np.datetime64(split.test.end))
    rows = np.flatnonzero(inside & (positions != before))
    if not rows.size:
        return TRADE_EXPLANATIONS.empty(), np.empty(0)
    everything = np.arange(len(usual.tape))
    found = explain(
        chosen_log_probability(one.agent.policy),
        states(one, rows),
        states(usual, everything),
        context=(one.decisions.action[rows], one.decisions.memory[rows]),
        regime=one.tape.regime[rows],
        background_regime=usual.tape.regime,
        config=ExplanationConfig(samples=settings.work.explanation_samples, seed=settings.seed),
    )
    trades = pl.DataFrame(
        {
            "decision": np.arange(len(rows)),
            "symbol": [one.tape.symbols[0]] * len(rows),
            "ts": one.tape.ts[rows],
            "position_before": before[rows],
            "position": positions[rows],
            "base_value": found.base,
        },
        schema_overrides={"ts": pl.Datetime("us")},
    )
    top = top_features(found, input_names(one.tape.features), _FEATURES_EXPLAINED)
    frame = top.join(trades, on="decision", how="left", maintain_order="left").with_columns(
        pl.col("rank").cast(pl.Int64), fold=pl.lit(split.number, pl.Int64)
    )
    return frame.select(TRADE_EXPLANATIONS.column_names), found.completeness_error
