from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.agents.actor_critic import ActorCritic
from engine.agents.environment import EnvironmentConfig, TradingEnvironment
from engine.agents.ppo import PPOConfig, fresh_samples
from engine.agents.replayed import FragmentReplay, ReplayConfig
from engine.agents.rollout import Bars, Collector, Rollout
from engine.agents.tape import MarketTape
from engine.agents.vtrace import vtrace

STARTS, PATHS, HORIZON = 6, 3, 20
PPO_CONFIG = PPOConfig(trace=1.0, shared_baseline=False)
# Uniform draws of as many fragments as there are: each comes exactly once.
ALL = ReplayConfig(share=1.0, max_age=1, alpha=0.0, beta=0.0, regime_factors=(1.0, 1.0, 1.0))


@pytest.fixture
def made(leaning_tape: Callable[..., MarketTape]) -> tuple[ActorCritic, Bars, Collector, MarketTape]:
    tape = leaning_tape((120, 80))
    torch.manual_seed(0)
    policy = ActorCritic(len(tape.features), 10, hidden=8)
    environment = TradingEnvironment(
        tape, EnvironmentConfig(episode_bars=9), starts=STARTS, paths=PATHS, seed=2
    )
    bars = Bars.of(tape)
    return policy, bars, Collector(environment, bars, policy, HORIZON, torch.Generator().manual_seed(1)), tape


def stored(config: ReplayConfig, tape: MarketTape, rollout: Rollout) -> FragmentReplay:
    replay = FragmentReplay(config, tape.regime, STARTS, seed=0)
    replay.store(rollout, fresh_samples(rollout, PPO_CONFIG).advantage)
    return replay


def test_fragments_of_the_present_policy_are_as_good_as_fresh(
    made: tuple[ActorCritic, Bars, Collector, MarketTape],
) -> None:
    """All ratios are 1, so V-trace is the n-step return, which generalised advantages are at lambda 1."""
    policy, bars, collector, tape = made
    rollout = collector.collect()
    assert rollout.ended.any()
    fresh = fresh_samples(rollout, PPO_CONFIG)
    found = stored(ALL, tape, rollout).draw(policy, bars, PPO_CONFIG)
    assert found is not None
    # Fragments come in an order of their own; a start is known by its rows.
    order = [
        next(k for k in range(STARTS) if torch.equal(found.rows.view(HORIZON, -1)[:, k], rollout.rows[:, s]))
        for s in range(STARTS)
    ]
    for name in ("own", "action", "log_prob", "value", "target"):
        ours = getattr(found, name).view(HORIZON, STARTS, PATHS, -1)[:, order]
        theirs = getattr(fresh, name).view(HORIZON, STARTS, PATHS, -1)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (found.weight == 1).all()


def test_what_an_older_policy_did_is_weighted_by_the_ratio_to_the_present_one(
    made: tuple[ActorCritic, Bars, Collector, MarketTape],
) -> None:
    policy, bars, collector, tape = made
    rollout = collector.collect()
    replay = stored(ALL, tape, rollout)
    with torch.no_grad():
        policy.logits.bias.add_(torch.randn(10))
        policy.value.bias.add_(1.0)
    found = replay.draw(policy, bars, PPO_CONFIG)
    assert found is not None
    one = int((found.rows.view(HORIZON, -1)[0] == rollout.rows[0, 0]).nonzero()[0, 0])
    embedding = bars.encoded(policy, rollout.rows[:, 0]).repeat_interleave(PATHS, 0)
    own, memory, action = (x[:, 0].flatten(0, 1) for x in (rollout.own, rollout.memory, rollout.action))
    now = policy.evaluate(embedding, own, memory, action)
    after = policy.values(
        bars.encoded(policy, rollout.next_rows[:, 0]).repeat_interleave(PATHS, 0),
        rollout.next_own[:, 0].flatten(0, 1),
        rollout.next_memory[:, 0].flatten(0, 1),
    ).view(HORIZON, PATHS)
    ended = rollout.ended[:, 0, None]
    expected = vtrace(
        now.value.view(HORIZON, PATHS),
        after[-1],
        rollout.reward[:, 0] + PPO_CONFIG.gamma * torch.where(ended, after, 0.0),
        (now.log_prob.view(HORIZON, PATHS) - rollout.log_prob[:, 0]).exp(),
        torch.where(ended, 0.0, PPO_CONFIG.gamma).expand(HORIZON, PATHS),
    )
    view = (HORIZON, STARTS, PATHS)
    torch.testing.assert_close(found.advantage.view(view)[:, one], expected.advantages, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.target.view(view)[:, one], expected.targets, atol=1e-5, rtol=1e-4)
    # The surrogate starts at the present policy: the behaviour's log-probability would be a wrong one.
    torch.testing.assert_close(found.log_prob.view(view)[:, one], now.log_prob.view(HORIZON, PATHS))
    assert not torch.allclose(found.log_prob.view(view)[:, one], rollout.log_prob[:, 0], atol=0.05)


def test_a_shared_baseline_lies_inside_the_ratio(
    made: tuple[ActorCritic, Bars, Collector, MarketTape],
) -> None:
    policy, bars, collector, tape = made
    rollout = collector.collect()
    with torch.no_grad():
        policy.logits.bias.add_(torch.randn(10))
    plain = stored(ALL, tape, rollout).draw(policy, bars, PPO_CONFIG)
    shared = stored(ALL, tape, rollout).draw(policy, bars, replace(PPO_CONFIG, shared_baseline=True))
    assert plain is not None
    assert shared is not None
    by_step = plain.rows.view(HORIZON, STARTS)
    order = [
        next(s for s in range(STARTS) if torch.equal(rollout.rows[:, s], by_step[:, k]))
        for k in range(STARTS)
    ]
    before = rollout.log_prob[:, order]
    rho = (plain.log_prob.view(HORIZON, STARTS, PATHS) - before).exp().clamp(max=1.0)
    difference = (plain.advantage - shared.advantage).view(HORIZON, STARTS, PATHS)
    bare = plain.advantage.view(HORIZON, STARTS, PATHS) / rho
    others = (bare.sum(2, keepdim=True) - bare) / (PATHS - 1)
    torch.testing.assert_close(difference, rho * others, atol=1e-4, rtol=1e-3)


def test_old_fragments_go_and_the_first_update_has_none(
    made: tuple[ActorCritic, Bars, Collector, MarketTape],
) -> None:
    policy, bars, collector, tape = made
    replay = FragmentReplay(replace(ALL, max_age=2), tape.regime, STARTS, seed=0)
    assert replay.draw(policy, bars, PPO_CONFIG) is None
    rollouts = [collector.collect() for _ in range(4)]
    for rollout in rollouts:
        replay.store(rollout, fresh_samples(rollout, PPO_CONFIG).advantage)
    kept = replay.buffer.items(replay.buffer.indices())["rows"]
    assert {tuple(rows) for rows in kept} == {
        tuple(rows.tolist()) for rollout in rollouts[2:] for rows in rollout.rows.T
    }


def test_panic_and_large_advantages_are_drawn_more_often(
    made: tuple[ActorCritic, Bars, Collector, MarketTape],
) -> None:
    _, _, collector, tape = made
    rollout = collector.collect()
    config = ReplayConfig(alpha=1.0, clip=0.5, regime_factors=(1.0, 1.0, 4.0))
    advantage = torch.ones(HORIZON * STARTS, PATHS)
    advantage.view(HORIZON, STARTS, PATHS)[:, 0] = -0.25
    advantage.view(HORIZON, STARTS, PATHS)[:, 1] = 100.0  # beyond the clip, as much as those of 1
    replay = FragmentReplay(config, tape.regime, STARTS, seed=0)
    replay.store(rollout, advantage)
    panic = (torch.as_tensor(tape.regime)[rollout.rows] == 2).double().mean(0).numpy()
    mass = np.array([0.25, 0.5, 0.5, 0.5, 0.5, 0.5]) * (1.0 + 3.0 * panic)
    found = replay.buffer.probabilities(replay.buffer.indices())
    np.testing.assert_allclose(found, mass / mass.sum(), rtol=0.01)
    unknown = FragmentReplay(config, np.full(len(tape), -1, np.int8), STARTS, seed=0)
    unknown.store(rollout, torch.ones_like(advantage))
    np.testing.assert_allclose(unknown.buffer.probabilities(unknown.buffer.indices()), 1 / STARTS)


@pytest.mark.parametrize(
    ("name", "value"), [("share", 0.0), ("share", 1.5), ("max_age", 0), ("regime_factors", (1.0, 1.0))]
)
def test_a_config_out_of_bounds_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        ReplayConfig(**{name: value})  # type: ignore[arg-type]
