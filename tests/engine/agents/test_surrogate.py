from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from engine.agents.actor_critic import ActorCritic
from engine.agents.expert_options import ExpertOptionsAgent
from engine.agents.experts import MoEAgent
from engine.agents.flat_gradient import FlatGradient
from engine.agents.options import HierarchicalRLAgent
from engine.agents.policy import OWN_STATE, Evaluation, Policy
from engine.agents.ppo import PPO, PPOConfig
from engine.agents.rollout import Bars, Samples
from engine.agents.surrogate import Surrogate, autograd_gradient
from engine.agents.weight_vector import WeightVector

FEATURES, LEVELS, BARS, PATHS, MINIBATCH = 7, 5, 60, 8, 40
SURROGATE = Surrogate(clip=0.2, entropy_weight=0.01, value_weight=0.5, target_variance=3.7)
POLICIES: dict[str, Callable[[], Policy]] = {
    "flat": lambda: ActorCritic(FEATURES, LEVELS, hidden=16),
    "experts": lambda: MoEAgent.of(FEATURES, LEVELS),
    "options": lambda: HierarchicalRLAgent.of(FEATURES, LEVELS),
    "expert options": lambda: ExpertOptionsAgent.of(FEATURES, LEVELS),
}


def seen_by(policy: Policy) -> tuple[Bars, Samples]:
    """Bars and decisions of an older policy: ratios on both sides of the clip range, weights up to one."""
    g = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    bars = Bars(normal(BARS, FEATURES), normal(BARS, 3).softmax(1), torch.arange(BARS))
    rows = torch.randint(BARS, (MINIBATCH,), generator=g)
    own = normal(MINIBATCH, PATHS, len(OWN_STATE))
    embedding = bars.encoded(policy, rows).repeat_interleave(PATHS, 0).detach()
    memory = torch.zeros(MINIBATCH, PATHS, policy.memory_size, dtype=torch.int64)
    state = (embedding, own.flatten(0, 1))
    # The second decision of an episode, so that a memory is in force.
    made = policy.decide(*state, memory.flatten(0, 1), generator=g)
    made = policy.decide(*state, made.memory, generator=g)
    shape = (MINIBATCH, PATHS)
    samples = Samples(
        rows=rows,
        own=own,
        memory=made.memory.view(*shape, -1),
        action=made.action.view(*shape, -1),
        log_prob=made.log_prob.detach().view(shape) + 0.3 * normal(*shape),
        value=made.value.detach().view(shape),
        advantage=normal(*shape),
        target=3.0 * normal(*shape),
        weight=torch.rand(shape, generator=g, dtype=torch.float64),
    )
    return bars, samples


def made(name: str) -> Policy:
    torch.manual_seed(1)
    policy = POLICIES[name]().double()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return policy


def gradients(policy: Policy) -> dict[str, Tensor]:
    assert all(parameter.grad is not None for parameter in policy.parameters())
    return {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


@pytest.fixture
def plain(shared_module: Callable[[str], ModuleType]) -> ModuleType:
    return shared_module("plain_surrogate")


@pytest.mark.parametrize("name", POLICIES)
def test_the_gradient_is_that_of_the_loss_written_out(name: str, plain: ModuleType) -> None:
    policy = made(name)
    bars, samples = seen_by(policy)
    weights = WeightVector(policy)
    loss, parts = plain.surrogate_loss(policy, bars, samples, SURROGATE)
    expected = torch.autograd.grad(loss, weights.parameters, materialize_grads=True)
    now = autograd_gradient(policy, weights, bars, samples, SURROGATE)
    found = gradients(policy)
    for (key, gradient), by_autograd in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(gradient, by_autograd, rtol=1e-9, atol=1e-14, msg=key)
    torch.testing.assert_close(SURROGATE.parts(now, samples), torch.stack(parts).detach())
    assert not any(output.requires_grad for output in now.outputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_flat_gradient_is_that_of_the_loss_written_out(dtype: torch.dtype, plain: ModuleType) -> None:
    policy = made("flat").to(dtype)
    assert isinstance(policy, ActorCritic)
    bars, samples = seen_by(policy.double())
    policy.to(dtype)
    bars = Bars(bars.x.to(dtype), bars.p_regime.to(dtype), bars.last_ahead)
    samples = Samples(**{k: v.to(dtype) if v.is_floating_point() else v for k, v in vars(samples).items()})
    weights = WeightVector(policy)
    loss, parts = plain.surrogate_loss(policy, bars, samples, SURROGATE)
    assert 0.2 < parts[-1] < 0.8  # ratios on both sides
    expected = torch.autograd.grad(loss, weights.parameters)
    weights.gradient.fill_(torch.nan)
    now = FlatGradient(policy)(bars, samples, SURROGATE)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for (key, gradient), by_autograd in zip(gradients(policy).items(), expected, strict=True):
        size = float(by_autograd.abs().max())
        torch.testing.assert_close(gradient, by_autograd, rtol=0, atol=tolerance * size, msg=key)
    torch.testing.assert_close(SURROGATE.parts(now, samples), torch.stack(parts).detach())


@pytest.mark.parametrize(("advantage", "ratio", "passes"), [
    (1.0, 1.1, True), (1.0, 1.3, False), (1.0, 0.7, True),
    (-1.0, 0.9, True), (-1.0, 0.7, False), (-1.0, 1.3, True),
])  # fmt: skip
def test_the_ratio_counts_unless_it_is_beyond_the_clip_on_the_side_of_the_gain(
    advantage: float, ratio: float, passes: bool
) -> None:
    one = torch.ones(1, 1)
    empty = torch.zeros(1, 1, 0)
    samples = Samples(
        rows=torch.zeros(1, dtype=torch.int64),
        own=empty,
        memory=empty,
        action=empty,
        log_prob=0.0 * one,
        value=0.0 * one,
        advantage=advantage * one,
        target=0.0 * one,
        weight=0.5 * one,
    )
    now = Evaluation(torch.tensor([ratio]).log(), torch.ones(1), torch.ones(1), torch.zeros(()))
    slope = SURROGATE.slopes(now, samples).log_prob
    assert float(slope) == pytest.approx(-0.5 * advantage * ratio if passes else 0.0)


def test_the_learner_takes_the_flat_gradient_of_the_flat_policy_alone() -> None:
    class Derived(ActorCritic):
        pass

    def chosen(policy: Policy) -> object:
        return PPO(policy, PPOConfig(), torch.Generator())._gradient

    assert isinstance(chosen(ActorCritic(FEATURES, LEVELS)), FlatGradient)
    assert not isinstance(chosen(Derived(FEATURES, LEVELS)), FlatGradient)
    assert not isinstance(chosen(POLICIES["options"]()), FlatGradient)


def test_the_flat_gradient_asks_for_a_weight_vector() -> None:
    with pytest.raises(ValueError, match="WeightVector"):
        FlatGradient(ActorCritic(FEATURES, LEVELS))
