from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.agents.actor_critic import ActorCritic
from engine.agents.environment import EnvironmentConfig, TradingEnvironment
from engine.agents.policy import Decision
from engine.agents.rollout import Bars, Collector, Rollout
from engine.agents.tape import MarketTape


class Counting(ActorCritic):
    """Counts in its memory the decisions of an episode, and which bars it was asked to encode."""

    memory_size = 1

    def __init__(self, features: int, levels: int) -> None:
        super().__init__(features, levels, hidden=8)
        self.encoded: list[Tensor] = []

    def encode(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        self.encoded.append(bars)
        return super().encode(bars, p_regime)

    def decide(
        self,
        embedding: Tensor,
        own: Tensor,
        memory: Tensor,
        *,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> Decision:
        made = super().decide(embedding, own, memory, greedy=greedy, generator=generator)
        return Decision(made.action, made.log_prob, made.value, memory + 1, made.confidence)


Made = tuple[Rollout, Counting, Bars]


def roll(tape: MarketTape, seed: int = 0, horizon: int = 40, collections: int = 1, paths: int = 3) -> Made:
    torch.manual_seed(seed)
    policy = Counting(len(tape.features), 10)
    environment = TradingEnvironment(
        tape, EnvironmentConfig(episode_bars=17, least_bars=2), starts=5, paths=paths, seed=seed
    )
    bars = Bars.of(tape)
    collector = Collector(environment, bars, policy, horizon, torch.Generator().manual_seed(seed))
    for _ in range(collections):
        policy.encoded.clear()
        rollout = collector.collect()
    return rollout, policy, bars


@pytest.fixture(scope="module")
def made(leaning_tape: Callable[..., MarketTape]) -> Made:
    return roll(leaning_tape((60, 40)), collections=2)


def test_each_bar_is_encoded_once_per_collection(made: Made) -> None:
    rollout, policy, bars = made
    encoded = torch.cat(policy.encoded)
    assert len(encoded.unique(dim=0)) == len(encoded)
    visited = torch.cat((rollout.rows.flatten(), rollout.next_rows.flatten())).unique()
    missed = [row for row in visited if not (encoded == bars.x[row]).all(1).any()]
    assert missed == []
    assert rollout.ended.any()
    # Twelve decisions share an encoding where bars are many times fewer than decisions.
    assert len(encoded) < rollout.rows.numel()


def test_what_is_stored_is_what_the_policy_thought(made: Made) -> None:
    rollout, policy, bars = made
    rows = rollout.rows.flatten()
    embedding = bars.encoded(policy, rows).repeat_interleave(3, 0)
    own, memory, action = (x.flatten(0, 2) for x in (rollout.own, rollout.memory, rollout.action))
    now = policy.evaluate(embedding, own, memory, action)
    torch.testing.assert_close(rollout.log_prob.flatten(), now.log_prob)
    torch.testing.assert_close(rollout.value.flatten(), now.value)


def test_the_value_that_follows_is_that_of_the_state_before_a_restart(made: Made) -> None:
    rollout, policy, bars = made
    embedding = bars.encoded(policy, rollout.next_rows.flatten()).repeat_interleave(3, 0)
    expected = policy.values(embedding, rollout.next_own.flatten(0, 2), rollout.next_memory.flatten(0, 2))
    torch.testing.assert_close(rollout.next_value.flatten(), expected)
    restarted = rollout.ended[:-1]
    # A restart is flat on another bar: its value would be a wrong bootstrap.
    assert not torch.allclose(rollout.next_value[:-1][restarted], rollout.value[1:][restarted])
    assert (rollout.own[1:][restarted] == 0).all()
    assert (rollout.next_own[:-1][restarted][..., 0] != 0).any()


def test_episodes_run_on_and_memories_begin_from_zero(made: Made) -> None:
    rollout, _, _ = made
    goes_on = ~rollout.ended[:-1]
    assert torch.equal(rollout.rows[1:][goes_on], rollout.rows[:-1][goes_on] + 1)
    assert torch.equal(rollout.memory[1:][goes_on], rollout.memory[:-1][goes_on] + 1)
    assert (rollout.memory[1:][~goes_on] == 0).all()
    assert rollout.memory[0].max() > 0  # the second collection went on where the first stopped


def test_same_seed_same_rollout(leaning_tape: Callable[..., MarketTape]) -> None:
    tape = leaning_tape((60, 40))
    one, two, other = roll(tape, 4)[0], roll(tape, 4)[0], roll(tape, 5)[0]
    assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))
    assert not torch.equal(one.action, other.action)
