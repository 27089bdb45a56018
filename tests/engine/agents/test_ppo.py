from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.agents.actor_critic import ActorCritic
from engine.agents.environment import EnvironmentConfig, TradingEnvironment
from engine.agents.policy import Evaluation
from engine.agents.ppo import PPO, DivergenceError, PPOConfig, _minibatches, fresh_samples
from engine.agents.rollout import Bars, Collector, Rollout, Samples
from engine.agents.surrogate import Surrogate, autograd_gradient
from engine.agents.tape import MarketTape
from engine.agents.weight_vector import WeightVector

HIDDEN, PATHS = 16, 4
CONFIG = PPOConfig(minibatch=128, epochs=3, target_kl=None, learning_rate=3e-3, shared_baseline=False)


def double(samples: Samples) -> Samples:
    parts = (getattr(samples, f.name) for f in fields(samples))
    return Samples(*(part.double() if part.is_floating_point() else part for part in parts))


@pytest.fixture
def collected(leaning_tape: Callable[..., MarketTape]) -> tuple[ActorCritic, Bars, Rollout]:
    tape = leaning_tape((120, 80), lean=0.3)
    torch.manual_seed(0)
    policy = ActorCritic(len(tape.features), 10, hidden=HIDDEN)
    environment = TradingEnvironment(tape, EnvironmentConfig(episode_bars=13), starts=6, paths=PATHS, seed=2)
    bars = Bars.of(tape)
    collector = Collector(environment, bars, policy, 24, torch.Generator().manual_seed(1))
    return policy, bars, collector.collect()


def twin(reference: ModuleType, policy: ActorCritic) -> Any:
    """The reference with the policy's weights."""
    made = reference.SingleFilePPO(policy.features + 6, 10, HIDDEN, CONFIG.learning_rate)
    halves = zip((made.actor, made.critic), (slice(0, HIDDEN), slice(HIDDEN, None)), strict=True)
    for (network, half), second, head in zip(
        halves, (policy.actor, policy.critic), (policy.logits, policy.value), strict=True
    ):
        network[0].weight.data = (
            torch.cat((policy.bar.weight[half], policy.own.weight[half]), 1).detach().clone()
        )
        network[0].bias.data = policy.bar.bias[half].detach().clone()
        network[2].load_state_dict(second.state_dict())
        network[4].load_state_dict(head.state_dict())
    return made


def first_layer(policy: ActorCritic) -> Tensor:
    return torch.cat((policy.bar.weight, policy.own.weight), 1)


@pytest.mark.usefixtures("one_thread")
def test_an_update_is_that_of_the_single_file_reference(
    shared_module: Callable[[str], ModuleType], collected: tuple[ActorCritic, Bars, Rollout]
) -> None:
    reference = shared_module("single_file_ppo")
    policy, bars, rollout = collected
    policy.double()
    bars = Bars(bars.x.double(), bars.p_regime.double(), bars.last_ahead)
    samples = double(fresh_samples(rollout, CONFIG))
    plain = twin(reference, policy)

    advantage = reference.advantages(
        rollout.reward.double(),
        rollout.value.double(),
        rollout.next_value.double(),
        rollout.ended,
        CONFIG.gamma,
        CONFIG.trace,
    )
    target = (advantage + rollout.value.double()).flatten()
    advantage = advantage.flatten()
    advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
    rows = rollout.rows.flatten().repeat_interleave(PATHS)
    obs = torch.cat((bars.x[rows], bars.p_regime[rows], rollout.own.flatten(0, 2).double()), 1)
    value_weight = CONFIG.value_weight / float(target.var(correction=0))

    generator = torch.Generator().manual_seed(9)
    learner = PPO(policy, CONFIG, torch.Generator().manual_seed(9))
    losses = learner.update(bars, samples)
    seen, norms = [], []
    for _ in range(CONFIG.epochs):
        order, sizes = _minibatches(24 * 6, 0, round(24 * 6 * PATHS / 128), generator)
        assert len(sizes) > 1
        for bars_of in order.split(sizes):
            index = (bars_of[:, None] * PATHS + torch.arange(PATHS)).flatten()
            loss, *parts = plain.loss(
                obs[index],
                rollout.action.flatten()[index],
                rollout.log_prob.double().flatten()[index],
                advantage[index],
                target[index],
                CONFIG.clip,
                CONFIG.entropy_weight,
                value_weight,
            )
            norms.append(plain.step(loss, CONFIG.max_gradient))
            seen.append(torch.stack(parts).detach())
    policy_loss, value_loss, entropy = torch.stack(seen).mean(0).tolist()
    assert losses.policy == pytest.approx(policy_loss, abs=1e-6)
    assert losses.value == pytest.approx(value_loss, rel=1e-6)
    assert losses.entropy == pytest.approx(entropy, abs=1e-6)
    assert losses.gradient == pytest.approx(float(torch.stack(norms).mean()), rel=1e-6)
    expected = torch.cat((plain.actor[0].weight, plain.critic[0].weight))
    torch.testing.assert_close(first_layer(policy), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(policy.logits.weight, plain.actor[4].weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(policy.critic.bias, plain.critic[2].bias, atol=1e-6, rtol=0)


def test_a_first_step_ascends_the_advantage(collected: tuple[ActorCritic, Bars, Rollout]) -> None:
    """At the old policy the ratio is 1, so this is the plain policy gradient."""
    policy, bars, rollout = collected
    samples = fresh_samples(rollout, CONFIG)
    autograd_gradient(policy, WeightVector(policy), bars, samples, Surrogate(CONFIG.clip, 0.0, 0.0, 1.0))
    embedding = bars.encoded(policy, samples.rows).repeat_interleave(PATHS, 0)
    now = policy.evaluate(
        embedding, samples.own.flatten(0, 1), samples.memory.flatten(0, 1), samples.action.flatten(0, 1)
    )
    plain = -(now.log_prob * samples.advantage.flatten()).mean()
    some = [policy.actor.weight, policy.logits.bias]
    for weight, expected in zip(some, torch.autograd.grad(plain, some), strict=True):
        torch.testing.assert_close(weight.grad, expected, atol=1e-6, rtol=1e-4)


def learner_of(policy: ActorCritic, **changes: object) -> PPO:
    return PPO(policy, replace(CONFIG, **changes), torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_the_update_stops_once_the_policy_has_moved_far_enough(
    collected: tuple[ActorCritic, Bars, Rollout],
) -> None:
    policy, bars, rollout = collected
    learner = learner_of(policy, epochs=10, target_kl=1e-3, learning_rate=1e-2)
    losses = learner.update(bars, fresh_samples(rollout, learner.config))
    assert losses.epochs < 10
    assert losses.kl > 1e-3


def test_the_gradient_is_cut_to_its_norm(collected: tuple[ActorCritic, Bars, Rollout]) -> None:
    policy, bars, rollout = collected
    learner = learner_of(policy, max_gradient=1e-4)
    losses = learner.update(bars, fresh_samples(rollout, learner.config))
    assert losses.gradient > 1e-2
    assert float(learner.weights.vector.grad.norm()) == pytest.approx(1e-4, rel=1e-2)  # type: ignore[union-attr]


def test_a_loss_that_is_not_finite_names_the_update(collected: tuple[ActorCritic, Bars, Rollout]) -> None:
    policy, bars, rollout = collected
    learner = learner_of(policy)
    samples = fresh_samples(rollout, CONFIG)
    learner.update(bars, samples)
    samples.target[3, 0] = math.nan
    with pytest.raises(DivergenceError, match=r"update 2, pass 1: the loss is not finite"):
        learner.update(bars, samples)


def test_the_learning_rate_is_set_from_outside(collected: tuple[ActorCritic, Bars, Rollout]) -> None:
    policy, bars, rollout = collected
    learner = learner_of(policy)
    learner.learning_rate = 0.0
    before = learner.weights.vector.detach().clone()
    learner.update(bars, fresh_samples(rollout, CONFIG))
    assert torch.equal(before, learner.weights.vector)
    assert learner.learning_rate == 0.0


def test_a_penalty_of_the_policys_own_is_part_of_the_loss(
    collected: tuple[ActorCritic, Bars, Rollout],
) -> None:
    policy, bars, rollout = collected
    samples, surrogate = fresh_samples(rollout, CONFIG), Surrogate(0.2, 0.01, 0.5, 1.0)
    weights = WeightVector(policy)
    autograd_gradient(policy, weights, bars, samples, surrogate)
    without = policy.logits.weight.grad.clone()  # type: ignore[union-attr]
    plain = policy.evaluate

    def penalised(*state: Tensor) -> Evaluation:
        return replace(plain(*state), auxiliary=policy.logits.weight.square().sum() + 7.0)

    policy.evaluate = penalised  # type: ignore[method-assign, assignment]
    now = autograd_gradient(policy, weights, bars, samples, surrogate)
    expected = without + 2.0 * policy.logits.weight.detach()
    torch.testing.assert_close(policy.logits.weight.grad, expected)
    assert surrogate.parts(now, samples)[2] > 7.0


def test_half_of_every_minibatch_is_fresh() -> None:
    generator = torch.Generator().manual_seed(0)
    for fresh, replayed, steps in ((100, 100, 7), (100, 37, 7), (9, 9, 4), (50, 1, 8)):
        order, sizes = _minibatches(fresh, replayed, steps, generator)
        assert sorted(order.tolist()) == list(range(fresh + replayed))
        assert min(sizes) > 0
        assert all((part < fresh).sum() * 2 >= len(part) for part in order.split(sizes))


def test_more_replayed_than_fresh_is_refused(collected: tuple[ActorCritic, Bars, Rollout]) -> None:
    policy, bars, rollout = collected
    samples = fresh_samples(rollout, CONFIG)
    with pytest.raises(ValueError, match="half must be fresh"):
        learner_of(policy).update(bars, samples, samples.join(samples))


def test_the_share_of_a_perfect_critic_is_one(collected: tuple[ActorCritic, Bars, Rollout]) -> None:
    policy, bars, rollout = collected
    samples = fresh_samples(rollout, CONFIG)
    perfect = replace(samples, value=samples.target)
    assert learner_of(policy).update(bars, perfect).explained_variance == pytest.approx(1.0)
    useless = replace(samples, value=torch.zeros_like(samples.value))
    assert learner_of(policy).update(bars, useless).explained_variance == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("clip", -0.1),
        ("gamma", 1.1),
        ("trace", -0.1),
        ("epochs", 0),
        ("target_kl", 0.0),
    ],
)
def test_a_config_out_of_bounds_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        PPOConfig(**{name: value})  # type: ignore[arg-type]
