from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from engine.ablation.confidence import calibrated, raw_statement
from engine.ablation.engines import followed
from engine.ablation.inputs import agent_features
from engine.ablation.training import equal_capacity
from engine.ablation.world import ALTERNATIVE, FEAR_GREED, PATTERNS
from engine.agents.capacity import parameter_count
from engine.evaluation.improvements import Improvements

KINDS = ((), ("experts",), ("options",), ("experts", "options"))


@pytest.mark.parametrize("keys", KINDS)
def test_every_kind_of_policy_has_the_size_of_the_flat_one(keys):
    torch.manual_seed(1)
    flat, other = (
        parameter_count(equal_capacity(on)(50, 10)) for on in (Improvements.none(), Improvements.only(*keys))
    )
    assert other == pytest.approx(flat, rel=0.03)


def test_agents_see_what_is_switched_on(world):
    everything = agent_features(world, Improvements().without("shap_pruning"))
    assert {*ALTERNATIVE, *FEAR_GREED, *PATTERNS} <= set(everything)
    bare = agent_features(world, Improvements.none())
    assert not {*ALTERNATIVE, *FEAR_GREED, *PATTERNS} & set(bare)
    assert agent_features(world, Improvements.only("shap_pruning")) == world.kept_of_market
    assert set(agent_features(world, Improvements.only("fear_greed"))) - set(bare) == set(FEAR_GREED)


def test_agents_do_not_see_what_was_not_published_while_they_learn(world):
    """Also where it is published later, in the part of the window that stops the training."""
    split = world.split
    late = split.train.end - (split.train.end - split.train.start) / 10
    name = ALTERNATIVE[0]
    rows = world.rows.with_columns(pl.when(pl.col("ts") >= late).then(name).alias(name))
    assert rows.filter(split.train.mask())[name].is_not_null().any()
    everything = Improvements().without("shap_pruning")
    told = agent_features(replace(world, rows=rows), everything)
    assert told == tuple(each for each in agent_features(world, everything) if each != name)


def test_the_bandit_holds_the_trades_that_it_made(world, setup):
    rows = world.rows.filter(pl.col("ts") >= world.split.calibrate.start)
    agent = np.full(rows.height, 0.6)
    position, stated = followed(rows, agent, np.full(rows.height, 0.9), cost=setup.cost, seed=1)
    assert 0.1 < (position != 0.0).mean() < 1.0
    np.testing.assert_array_equal(np.isnan(stated), position == 0.0)
    assert (stated[position == 0.6] == 0.9).any()
    again, _ = followed(rows, agent, np.full(rows.height, 0.9), cost=setup.cost, seed=2)
    assert not np.array_equal(position, again)


def test_calibration_takes_what_is_right_and_leaves_what_is_not(world, setup):
    rows = world.rows.filter(pl.col("ts") >= world.split.calibrate.start)
    side = np.sign(rows["label"].fill_null(1.0).to_numpy())
    sure = np.full(rows.height, 0.3)
    good = calibrated(rows, side, sure, world.split, setup.horizon)
    bad = calibrated(rows, -side, sure, world.split, setup.horizon)
    known = ~np.isnan(good.probability)
    assert known.mean() > 0.3
    assert np.median(good.probability[known]) > 0.6
    assert good.share[known].mean() > 0.8
    assert bad.share.max() == 0.0
    raw = raw_statement(side, sure)
    assert set(raw.probability) == {0.3}
    assert set(raw.share) == {1.0}


def test_nobody_knows_how_sure_an_untried_side_is(world, setup):
    rows = world.rows.filter(pl.col("ts") >= world.split.calibrate.start)
    inside = (rows["ts"] >= world.split.test.start).to_numpy()
    late = calibrated(rows, inside.astype(float), np.full(rows.height, 0.9), world.split, setup.horizon)
    assert late.share.max() == 0.0
    assert np.isnan(late.probability).all()
