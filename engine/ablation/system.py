"""One cell: train a variant of the system, let it trade the time after its training, and score that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from engine.ablation.agents import agent_decisions, tradable
from engine.ablation.confidence import Stated, calibrated, raw_statement, right
from engine.ablation.engines import followed
from engine.ablation.inputs import visible
from engine.ablation.overlay import (
    change_point_guard,
    equal_shares,
    fear_greed_share,
    risk_shares,
    sentiment_gate,
)
from engine.ablation.scores import account_scores, calibration_score, learning_scores, match_score
from engine.ablation.setup import AblationSetup
from engine.ablation.training import AgentDecisions
from engine.ablation.world import World
from engine.ablation.world_files import world_of
from engine.agents.tape import MarketTape
from engine.evaluation.ablation_cells import Cell, Scores
from engine.evaluation.improvements import Improvements

__all__ = ["Trading", "run", "scores_of", "trade"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trading:
    """What a system held on every bar after its training.

    Parameters
    ----------
    rows : DataFrame
        Bars from the start of the calibration window to the end of the test, sorted by symbol and ts.
    tape : MarketTape
        The same bars.
    decided : ndarray, shape (N,)
        Positions before anything was done to them, fractions of a symbol's share.
    stated : Stated
    position : ndarray, shape (N,)
        Fractions of the whole account.
    """

    rows: pl.DataFrame
    tape: MarketTape
    decided: Floats
    stated: Stated
    position: Floats


def run(cell: Cell, setup: AblationSetup, folder: str) -> Scores:
    """Run a cell; a function for `engine.evaluation.ablation_cells.run_cells`.

    Parameters
    ----------
    cell : Cell
    setup : AblationSetup
    folder : str
        Where prepared worlds are kept, and what agents decided in them.
    """
    torch.set_num_threads(1)
    on = Improvements.only(*cell.variant.enabled)
    world = world_of(Path(folder), cell.world, cell.seed, setup)
    agent = agent_decisions(Path(folder), cell, world, setup)
    return scores_of(world, agent, trade(world, agent, on, setup, cell.seed), on, setup)


def trade(world: World, agent: AgentDecisions, on: Improvements, setup: AblationSetup, seed: int) -> Trading:
    """Decide on every bar after the training: whom to follow, how sure that is, and what is left of it.

    A position is ``share of the account x sentiment gate (guard x Fear & Greed x confidence x decided)``;
    a factor whose improvement is off is 1, and shares are equal. Nothing on a bar depends on a later one.
    """
    rows, decided, confidence = tradable(world), agent.position, agent.confidence
    if on.bandit:
        decided, confidence = followed(visible(rows, on), decided, confidence, cost=setup.cost, seed=seed)
    stated = (
        calibrated(rows, decided, confidence, world.split, setup.horizon)
        if on.conformal
        else raw_statement(decided, confidence)
    )
    wanted = decided * stated.share
    if on.changepoint_guard:
        wanted = wanted * change_point_guard(rows)
    if on.fear_greed:
        wanted = wanted * fear_greed_share(rows)
    if on.sentiment_gate:
        wanted = sentiment_gate(rows, wanted, setup.gates)
    share = risk_shares(rows, world.rows) if on.risk_budget else equal_shares(rows)
    return Trading(rows, MarketTape.from_frame(rows, ()), decided, stated, share * wanted)


def scores_of(
    world: World, agent: AgentDecisions, trading: Trading, on: Improvements, setup: AblationSetup
) -> Scores:
    """Score what was held in the test window; what is not defined is left out."""
    test = world.split.test
    inside = trading.rows.select(test.mask()).to_series()
    place = inside.to_numpy()
    rows = trading.rows.filter(inside)
    # A label that ends after the test is not known within it.
    ended = pl.when(pl.col("label_end") < test.end).then("label")
    judged = rows.with_columns(label=ended)
    usual = world.rows.filter(world.split.train.mask())["label"].mean()
    return {
        **account_scores(
            trading.tape.between(test.start, test.end), trading.position[place], rows, setup.cost
        ),
        **calibration_score(trading.stated.probability[place], right(judged, trading.decided[place])),
        **(match_score(judged, float(usual or 0.0)) if on.pattern_matcher else {}),  # type: ignore[arg-type]
        **learning_scores(agent.report, setup.target_reward, agent.decisions_per_second),
    }
