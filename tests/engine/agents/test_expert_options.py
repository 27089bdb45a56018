"""Options whose laws are mixtures of experts: the mixture, its gate, and learning through PPO's interface."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.environment import LEVELS
from engine.agents.expert_options import ExpertOptionsAgent
from engine.agents.policies import POLICIES, policy_factory
from engine.agents.tape import MarketTape
from engine.evaluation.improvements import Improvements
from engine.regimes.names import REGIMES

FEATURES = 3


def made(seed: int = 0) -> ExpertOptionsAgent:
    torch.manual_seed(seed)
    policy = ExpertOptionsAgent.of(FEATURES, len(LEVELS))
    assert isinstance(policy, ExpertOptionsAgent)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return policy


def states(n: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    bars, own = torch.randn(n, FEATURES, generator=g), torch.randn(n, 3, generator=g)
    return bars, torch.rand(n, 3, generator=g).softmax(1), own


def test_joint_actions_have_probability_one_together() -> None:
    policy, (bars, p_regime, own) = made(), states(1)
    memory = torch.tensor([[1, 4, 0]])
    embedding = policy.encode(bars, p_regime)
    total = 0.0
    for level, option, ended in itertools.product(range(len(LEVELS)), range(3), (0, 1)):
        if ended or option == 1:
            action = torch.tensor([[level, option, ended]])
            total += float(policy.evaluate(embedding, own, memory, action).log_prob.detach().exp())
    assert total == pytest.approx(1.0, abs=1e-5)


def test_a_certain_regime_is_its_expert_s_alone() -> None:
    policy, (bars, _, own) = made(), states()
    with torch.no_grad():
        for parameter in policy.gate.parameters():
            parameter.zero_()
    certain = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(bars), 3)
    weights = policy.expert_weights(bars, certain)
    torch.testing.assert_close(weights[:, 0], torch.full((len(bars),), 1.0 / 1.02), rtol=0, atol=1e-6)
    # What another expert says hardly matters there, what its own says does.
    action = torch.tensor([[4, 1, 0]]).expand(len(bars), 3)
    memory = torch.tensor([[1, 4, 0]]).expand(len(bars), 3)

    def log_prob() -> torch.Tensor:
        return policy.evaluate(policy.encode(bars, certain), own, memory, action).log_prob.detach()

    before = log_prob()
    size = policy.within_options.bias.numel() // len(REGIMES)
    with torch.no_grad():
        policy.within_options.bias[size:].add_(torch.linspace(-3, 3, 2 * size))
    assert (log_prob() - before).abs().max() < 0.2
    with torch.no_grad():
        policy.within_options.bias[:size].add_(torch.linspace(-3, 3, size))
    assert (log_prob() - before).abs().max() > 0.2


def test_one_by_one_as_in_a_batch() -> None:
    policy, (bars, p_regime, own) = made(), states()
    memory = torch.zeros(len(bars), policy.memory_size, dtype=torch.int64)
    together = policy.decide(policy.encode(bars, p_regime), own, memory, greedy=True)
    for i in range(len(bars)):
        row = slice(i, i + 1)
        alone = policy.decide(policy.encode(bars[row], p_regime[row]), own[row], memory[row], greedy=True)
        assert torch.equal(alone.action, together.action[row])
        torch.testing.assert_close(alone.confidence, together.confidence[row])


def test_it_learns_what_pays(leaning_tape: Callable[..., MarketTape]) -> None:
    tape = leaning_tape((600,), lean=1.0)
    config = AgentConfig(starts=8, paths=8, horizon=16)
    factory = policy_factory(Improvements())
    agent = RLTradingAgent(state_width(len(tape.features)), len(LEVELS), config, factory)
    assert isinstance(agent.policy, ExpertOptionsAgent)
    agent.learner.learning_rate = 3e-3
    history = agent.train(tape, updates=15)
    assert history[-1].reward > history[0].reward + 0.05


@pytest.mark.parametrize(
    ("improvements", "kind"),
    [
        (Improvements.none(), "ActorCritic"),
        (Improvements.only("experts"), "MoEAgent"),
        (Improvements.only("options"), "HierarchicalRLAgent"),
        (Improvements(), "ExpertOptionsAgent"),
    ],
)
def test_the_improvements_choose_the_policy(improvements: Improvements, kind: str) -> None:
    policy = policy_factory(improvements)(FEATURES, len(LEVELS))
    assert type(policy).__name__ == kind
    assert type(POLICIES[kind](FEATURES, len(LEVELS))) is type(policy)
