"""Networks of equal size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.agents.actor_critic import ActorCritic
from engine.agents.capacity import matching_width, parameter_count
from engine.agents.experts import ExpertsConfig, MoEAgent
from engine.agents.options import HierarchicalRLAgent, OptionsConfig


def test_parameters_are_counted_once_and_frozen_ones_not() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert parameter_count(network) == 3 * 4 + 4 + 4 * 2 + 2
    network[0].weight.requires_grad_(False)
    assert parameter_count(network) == 4 + 4 * 2 + 2


@pytest.mark.parametrize("target", [1, 9, 10, 11, 12, 13, 14, 15, 100, 1000])
def test_the_nearest_width_is_found(target: int) -> None:
    width = matching_width(lambda w: nn.Linear(4, w), target)
    assert abs(5 * width - target) == min(abs(5 * w - target) for w in range(1, 300))


@pytest.mark.parametrize(
    "agent",
    [
        MoEAgent.of(20, 10, ExpertsConfig(hidden=32)),
        HierarchicalRLAgent.of(20, 10, OptionsConfig(hidden=64)),
    ],
    ids=["experts", "options"],
)
def test_a_flat_agent_of_equal_size_can_be_built(agent: nn.Module) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    width = matching_width(lambda w: ActorCritic(20, 10, w), parameter_count(agent))
    assert torch.rand(1) == expected, "looking for a width must draw nothing"
    assert parameter_count(ActorCritic(20, 10, width)) == pytest.approx(parameter_count(agent), rel=0.05)
