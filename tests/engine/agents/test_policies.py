"""What every policy can do, whatever it is made of."""

from __future__ import annotations

import pytest
import torch

from engine.agents.policies import POLICIES
from engine.agents.policy import OWN_STATE
from engine.regimes.names import REGIMES

FEATURES, LEVELS, STATES = 5, 4, 200


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("level", [0, 2])
def test_a_policy_that_settles_takes_one_level_in_every_state_and_values_as_before(
    name: str, level: int
) -> None:
    torch.manual_seed(0)
    policy = POLICIES[name](FEATURES, LEVELS)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_(std=0.5)
    bars, own = 3.0 * torch.randn(STATES, FEATURES), torch.randn(STATES, len(OWN_STATE))
    p_regime = torch.rand(STATES, len(REGIMES)).softmax(1)
    memory = torch.zeros(STATES, policy.memory_size, dtype=torch.int64)
    with torch.no_grad():
        before = policy.decide(policy.encode(bars, p_regime), own, memory, greedy=True)
        policy.settle(level)
        embedding = policy.encode(bars, p_regime)
        settled = policy.decide(embedding, own, memory, greedy=True)
        law = policy.level_law(embedding, own)
    assert before.action[:, 0].unique().numel() > 1
    assert (settled.action[:, 0] == level).all()
    assert (settled.confidence > 1.0 - 1e-6).all()
    assert (law.argmax(1) == level).all()
    torch.testing.assert_close(settled.value, before.value)
