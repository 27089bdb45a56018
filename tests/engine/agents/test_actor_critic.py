from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from engine.agents.actor_critic import ActorCritic, chosen, entropy_of, sample
from engine.agents.policy import OWN_STATE


@pytest.fixture
def policy() -> ActorCritic:
    torch.manual_seed(3)
    return ActorCritic(features=7, levels=5, hidden=16)


def states(n: int, features: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    bars, own = torch.randn(n, features, generator=g), torch.randn(n, len(OWN_STATE), generator=g)
    p_regime = torch.rand(n, 3, generator=g)
    return bars, p_regime / p_regime.sum(1, keepdim=True), own, torch.zeros(n, 0, dtype=torch.int64)


def whole_network(policy: ActorCritic, half: slice, second: nn.Linear, head: nn.Linear) -> nn.Sequential:
    """The same network with its first layer in one piece: features, regimes and own state side by side."""
    first = nn.Linear(policy.features + 3 + len(OWN_STATE), 16)
    first.weight.data = torch.cat((policy.bar.weight[half], policy.own.weight[half]), 1)
    first.bias.data = policy.bar.bias[half]
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), head)


def test_the_split_first_layer_is_the_whole_one(policy: ActorCritic) -> None:
    for layer in (policy.bar, policy.actor, policy.critic, policy.logits, policy.value):
        nn.init.normal_(layer.bias)
    bars, p_regime, own, memory = states(40)
    state = torch.cat((bars, p_regime, own), 1)
    action = torch.arange(40)[:, None] % 5
    found = policy.evaluate(policy.encode(bars, p_regime), own, memory, action)
    law = torch.distributions.Categorical(
        logits=whole_network(policy, slice(0, 16), policy.actor, policy.logits)(state)
    )
    value = whole_network(policy, slice(16, 32), policy.critic, policy.value)(state)[:, 0]
    torch.testing.assert_close(found.log_prob, law.log_prob(action[:, 0]))
    torch.testing.assert_close(found.entropy, law.entropy())
    torch.testing.assert_close(found.value, value)
    torch.testing.assert_close(policy.values(policy.encode(bars, p_regime), own, memory), value)
    assert found.auxiliary == 0.0


def test_the_first_layer_is_orthogonal_as_a_whole(policy: ActorCritic) -> None:
    first = torch.cat((policy.bar.weight, policy.own.weight), 1)
    for half in (first[:16], first[16:]):
        # Rows outnumber columns, so it is the columns that are orthogonal.
        torch.testing.assert_close(half.T @ half, 2.0 * torch.eye(13), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        policy.actor.weight @ policy.actor.weight.T, 2.0 * torch.eye(16), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        policy.logits.weight @ policy.logits.weight.T, 1e-4 * torch.eye(5), atol=1e-7, rtol=0
    )
    assert all((layer.bias == 0).all() for layer in (policy.bar, policy.actor, policy.critic, policy.logits))


def test_a_decision_agrees_with_its_evaluation(policy: ActorCritic) -> None:
    bars, p_regime, own, memory = states(64)
    embedding = policy.encode(bars, p_regime)
    decision = policy.decide(embedding, own, memory, generator=torch.Generator().manual_seed(0))
    found = policy.evaluate(embedding, own, memory, decision.action)
    torch.testing.assert_close(decision.log_prob, found.log_prob)
    torch.testing.assert_close(decision.value, found.value)
    torch.testing.assert_close(decision.confidence, found.log_prob.exp())
    again = policy.decide(embedding, own, memory, generator=torch.Generator().manual_seed(0))
    assert torch.equal(decision.action, again.action)


def test_greedy_takes_the_most_probable_level_and_draws_nothing(policy: ActorCritic) -> None:
    bars, p_regime, own, memory = states(64)
    nn.init.normal_(policy.logits.weight)
    embedding = policy.encode(bars, p_regime)
    before = torch.get_rng_state()
    decision = policy.decide(embedding, own, memory, greedy=True)
    assert torch.equal(before, torch.get_rng_state())
    every = torch.stack(
        [policy.evaluate(embedding, own, memory, torch.full((64, 1), k)).log_prob for k in range(5)], 1
    )
    assert torch.equal(decision.action[:, 0], every.argmax(1))


def test_draws_follow_the_law_and_never_take_the_impossible() -> None:
    p = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    drawn = sample(p.log().expand(50_000, -1), torch.Generator().manual_seed(5))
    counts = np.bincount(drawn, minlength=6)
    assert counts[[0, 2]].sum() == 0
    assert counts[5] <= 1  # what rounding leaves above the sum of the others
    assert chisquare(counts[[1, 3, 4]], 50_000 * np.array([0.5, 0.3, 0.2])).pvalue > 1e-3


def test_log_probability_and_entropy_by_hand() -> None:
    log_p = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]).log()
    assert chosen(log_p, torch.tensor([1, 2])).exp().tolist() == pytest.approx([0.25, 1 / 3])
    assert entropy_of(log_p).tolist() == pytest.approx([1.5 * math.log(2), math.log(3)])
