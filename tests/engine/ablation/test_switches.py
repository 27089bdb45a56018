"""Each of the fifteen switches reaches the account, or what its claim is about."""

from __future__ import annotations

import numpy as np
import pytest

from engine.ablation.agents import tradable
from engine.ablation.system import scores_of, trade
from engine.ablation.training import decide, train_agent
from engine.evaluation.improvements import IMPROVEMENTS, Improvements

SEED = 7
OF_THE_SYSTEM = ("bandit", "conformal", "changepoint_guard", "risk_budget", "sentiment_gate")


def trained(world, on, setup):
    return decide(train_agent(world, on, setup, SEED), tradable(world))


@pytest.fixture(scope="module")
def without(world, setup, base):
    return trade(world, base, Improvements.none(), setup, SEED)


@pytest.mark.parametrize("key", IMPROVEMENTS)
def test_a_switch_changes_what_is_held(key, world, setup, base, without):
    on = Improvements.only(key)
    agent = base if key in OF_THE_SYSTEM else trained(world, on, setup)
    held = trade(world, agent, on, setup, SEED)
    inside = (world.split.test.start <= held.rows["ts"]).to_numpy()
    assert not np.array_equal(held.position[inside], without.position[inside])
    assert scores_of(world, agent, held, on, setup) != scores_of(
        world, base, without, Improvements.none(), setup
    )


def test_what_is_not_the_agents_leaves_its_decisions_alone(world, setup, base, without):
    for key in ("conformal", "changepoint_guard", "risk_budget", "sentiment_gate"):
        held = trade(world, base, Improvements.only(key), setup, SEED)
        np.testing.assert_array_equal(held.decided, without.decided)


def test_patterns_are_scored_where_they_are_looked_at(world, setup, base, without):
    scored = {
        on: scores_of(world, base, without, on, setup)
        for on in (Improvements.none(), Improvements.only("pattern_matcher"))
    }
    assert [("match_quality" in scores) for scores in scored.values()] == [False, True]


def test_every_variant_makes_the_same_number_of_decisions(world, setup, base):
    curriculum = trained(world, Improvements.only("curriculum"), setup)
    made = [one.report.select("update", "decisions").tail(1).rows() for one in (base, curriculum)]
    assert made[0] == made[1]


def test_the_same_cell_twice_is_the_same(world, setup):
    on = Improvements.only("bandit", "prioritized_replay", "risk_budget")

    def once():
        agent = trained(world, on, setup)
        scores = scores_of(world, agent, trade(world, agent, on, setup, SEED), on, setup)
        return {name: score for name, score in scores.items() if name != "training_speed"}

    assert once() == once()
