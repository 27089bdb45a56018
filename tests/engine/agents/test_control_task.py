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


def greedy_return(policy: ActorCritic, episodes: int) -> float:
    env, total = gymnasium.make("CartPole-v1"), 0.0
    for episode in range(episodes):
        state, over = env.reset(seed=1000 + episode)[0], False
        while not over:
            with torch.no_grad():
                embedding = policy.encode(torch.as_tensor(state)[None], torch.full((1, 3), 1 / 3))
                decision = policy.decide(embedding, torch.zeros(1, 3), torch.zeros(1, 0), greedy=True)
            state, reward, fallen, cut, _ = env.step(int(decision.action))
            total, over = total + float(reward), fallen or cut
    return total / episodes


@pytest.mark.usefixtures("one_thread")
def test_the_pole_stands() -> None:
    updates = 30
    torch.manual_seed(1)
    policy = ActorCritic(features=4, levels=2)
    config = PPOConfig(
        learning_rate=2.5e-3, epochs=10, minibatch=256, gamma=0.98, trace=0.8, entropy_weight=0.0
    )
    tape = PoleTape(updates * HORIZON)
    collector = Collector(
        cast(TradingEnvironment, tape), tape.bars, policy, HORIZON, torch.Generator().manual_seed(2)
    )
    learner = PPO(policy, config, torch.Generator().manual_seed(3))
    before = greedy_return(policy, 3)
    for _ in range(updates):
        learner.update(tape.bars, fresh_samples(collector.collect(), config))
    assert before < 200
    assert greedy_return(policy, 4) >= 400
