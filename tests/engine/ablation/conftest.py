"""One small world for all tests: half a year of two simulated symbols, with everything a variant can use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
import torch

from engine.ablation.agents import tradable
from engine.ablation.setup import AblationSetup
from engine.ablation.training import AgentDecisions, decide, train_agent
from engine.ablation.world import World, prepare_world
from engine.agents.market_rows import MarketRows, simulated_market_rows
from engine.evaluation.improvements import Improvements

SEED = 7
SETUP = AblationSetup(
    train_days=110,
    calibrate_days=20,
    test_days=20,
    starts=4,
    paths=4,
    updates_per_evaluation=2,
    minibatch=256,
    final_evaluations=1,
    encoder_steps=2,
    boosting_rounds=5,
    ctgan_updates=2,
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def setup() -> AblationSetup:
    return SETUP


@pytest.fixture(scope="session")
def market(setup: AblationSetup) -> MarketRows:
    return simulated_market_rows(setup.symbols, setup.days, SEED)


@pytest.fixture(scope="session")
def prepared(market: MarketRows, setup: AblationSetup) -> World:
    return prepare_world(market, setup, SEED)


@pytest.fixture(scope="session")
def world(prepared: World) -> World:
    """The same with what half a year may not have: synthetic bars, pruned features, days of fear."""
    split = prepared.split
    fear = pl.col("ts").is_between(split.test.start + timedelta(days=5), split.test.start + timedelta(days=9))
    rows = prepared.rows.with_columns(
        fear_greed=pl.when(fear).then(5.0).when(pl.col("ts") >= split.calibrate.start).then(30.0)
        .otherwise("fear_greed")
    )  # fmt: skip
    panic = rows.filter(split.train.mask(), pl.col("volatility").is_not_null()).head(400)
    synthetic = panic.with_columns(
        synthetic=True, symbol=pl.lit("NEW"), regime=pl.lit("PANIC"), p_trend=0.0, p_range=0.0, p_panic=1.0
    )
    return replace(prepared, rows=rows, synthetic=synthetic, kept_of_market=prepared.kept_of_market[:8])


@pytest.fixture(scope="session")
def base(world: World, setup: AblationSetup) -> AgentDecisions:
    """What the agent of the base system decided."""
    return decide(train_agent(world, Improvements.none(), setup, SEED), tradable(world))
