"""The learner on a task that has nothing to do with markets: balance a pole for as long as it is asked to."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.agents.actor_critic import ActorCritic
from engine.agents.environment import Step, TradingEnvironment
from engine.agents.policy import OWN_STATE
from engine.agents.ppo import PPO, PPOConfig, fresh_samples
from engine.agents.rollout import Bars, Collector

gymnasium = pytest.importorskip("gymnasium")

POLES, HORIZON, LIMIT = 32, 64, 500


class PoleTape:
    """Observations in the order in which they come; each becomes a bar that one account decides on.

    A pole that has fallen is put up again and the episode goes on, at a price of 1: the task has no end, as a
    market has none. After 500 steps the episode is cut off.
    """

    def __init__(self, steps: int) -> None:
        self.envs = gymnasium.make_vec("CartPole-v1", POLES, vectorization_mode="vector_entry_point")
        n = (steps + 1) * POLES * 2
        self.bars = Bars(torch.zeros(n, 4), torch.full((n, 3), 1 / 3), torch.arange(n))
        self.next_row = 0
        self.rows = self._write(self.envs.reset(seed=0)[0])

    def _write(self, observations: np.ndarray) -> Tensor:
        rows = torch.arange(self.next_row, self.next_row + len(observations))
        self.bars.x[rows] = torch.as_tensor(observations)
        self.next_row += len(observations)
        return rows

    def own_state(self) -> Tensor:
        return torch.zeros(POLES, 1, len(OWN_STATE))

    def step(self, level: Tensor) -> Step:
        observations, _, fallen, cut, _ = self.envs.step(level[:, 0].numpy())
        final = self._write(observations)
        self.rows = final
        if (fallen | cut).any():
            # The vectorised task restarts on the step after; take it now and leave the others where they are.
            keep = ~(fallen | cut)
            state, steps = self.envs.state.copy(), self.envs.steps.copy()
            restarted, *_ = self.envs.step(np.zeros(POLES, dtype=np.int64))
            self.envs.state[:, keep], self.envs.steps[keep] = state[:, keep], steps[keep]
            self.rows = self._write(np.where(keep[:, None], observations, restarted))
        reward = -torch.as_tensor(fallen, dtype=torch.float32)[:, None]
        after = torch.where(torch.as_tensor(fallen), self.rows, final)
        return Step(reward, reward.double(), torch.as_tensor(cut & ~fallen), after, self.own_state())


def fallen_per_step(seed: int, updates: int) -> list[float]:
    """Share of steps on which a pole fell, update by update, while the policy learned and acted at random."""
    torch.manual_seed(seed)
    policy = ActorCritic(features=4, levels=2)
    config = PPOConfig(
        learning_rate=2.5e-3, epochs=10, minibatch=256, gamma=0.98, trace=0.8, entropy_weight=0.0
    )
    tape = PoleTape(updates * HORIZON)
    collector = Collector(
        cast(TradingEnvironment, tape), tape.bars, policy, HORIZON, torch.Generator().manual_seed(seed)
    )
    learner, shares = PPO(policy, config, torch.Generator().manual_seed(seed)), []
    for _ in range(updates):
        rollout = collector.collect()
        shares.append(-float(rollout.reward.mean()))
        learner.update(tape.bars, fresh_samples(rollout, config))
    return shares


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("seed", [1, 2])
def test_the_pole_stands(seed: int) -> None:
    """At first it falls every 39 to 51 steps; in the end of twenty seeds the worst held it for 199."""
    shares = fallen_per_step(seed, updates=30)
    assert shares[0] > 1 / 60
    assert np.mean(shares[-10:]) < 1 / 120
