"""The walk in stretches against the sequential one: the same decisions, in another order of work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from engine.agents import decisions
from engine.agents.actor_critic import ActorCritic
from engine.agents.decisions import greedy_decisions
from engine.agents.environment import LEVELS, EnvironmentConfig, TradingEnvironment
from engine.agents.options import HierarchicalRLAgent
from engine.agents.policy import Decision, Policy
from engine.agents.tape import MarketTape

CONFIG = EnvironmentConfig(cost=1e-3)
MakeTape = Callable[..., MarketTape]


def sharpened(policy: Policy) -> Policy:
    """Weights large enough that a random policy really depends on its own state."""
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(2.0).add_(0.3 * torch.randn_like(weight))
    return policy


def policies(features: int) -> dict[str, Policy]:
    torch.manual_seed(4)
    return {
        "flat": sharpened(ActorCritic(features, len(LEVELS), hidden=16)),
        "options": sharpened(HierarchicalRLAgent.of(features, len(LEVELS))),
    }


def sequential(policy: Policy, tape: MarketTape, first: int, bars: int) -> list[Decision]:
    """One account from a row on, bar after bar, in the environment itself."""
    config = EnvironmentConfig(cost=CONFIG.cost, episode_bars=10**6, least_bars=1)
    environment = TradingEnvironment(tape, config, starts=1, paths=1, seed=0)
    environment.reset(np.array([first]))
    memory = torch.zeros(1, policy.memory_size, dtype=torch.int64)
    made, row, own = [], first, environment.own_state()
    with torch.no_grad():
        for _ in range(bars):
            bar = torch.from_numpy(tape.x[[row]]), torch.from_numpy(tape.p_regime[[row]])
            decision = policy.decide(policy.encode(*bar), own[:, 0], memory, greedy=True)
            made.append(decision)
            step = environment.step(decision.action[:, :1])
            memory, row, own = decision.memory, row + 1, step.final_own
    return made


@pytest.fixture
def tape(leaning_tape: MakeTape) -> MarketTape:
    return leaning_tape()


@pytest.mark.parametrize("kind", ["flat", "options"])
@pytest.mark.parametrize("stretch", [7, 64, 10_000])
def test_stretches_decide_as_one_account_does(
    tape: MarketTape, kind: str, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "_STRETCH", stretch)
    policy = policies(len(tape.features))[kind]
    found = greedy_decisions(policy, tape, CONFIG)
    first = np.flatnonzero(np.r_[True, tape.run[1:] != tape.run[:-1]])
    for row in first:
        bars = int(tape.decisions_left[row])
        made = sequential(policy, tape, int(row), bars)
        span = slice(int(row), int(row) + bars)
        assert torch.equal(found.action[span], torch.cat([d.action for d in made]))
        # The last column adds up rounded numbers in units of 2^-20.
        torch.testing.assert_close(
            found.memory[span][1:], torch.cat([d.memory for d in made])[:-1], rtol=0, atol=20
        )
        torch.testing.assert_close(found.confidence[span], torch.cat([d.confidence for d in made]))
        torch.testing.assert_close(found.value[span], torch.cat([d.value for d in made]))
    assert len(np.unique(found.level)) > 1


def test_the_newest_bars_are_decided_on_too(tape: MarketTape) -> None:
    policy = policies(len(tape.features))["flat"]
    found = greedy_decisions(policy, tape, CONFIG)
    assert (found.confidence > 0).all()


def test_what_comes_later_changes_nothing_before(tape: MarketTape) -> None:
    policy = policies(len(tape.features))["options"]
    whole = greedy_decisions(policy, tape, CONFIG)
    cut = tape.ts[len(tape.ts) // 3]
    past = tape.between(tape.ts.min().item(), cut.item())
    found = greedy_decisions(policy, past, CONFIG)
    kept = torch.from_numpy(tape.ts < cut)
    for name, tolerance in (("action", 0), ("own", 1e-6), ("memory", 20)):
        torch.testing.assert_close(
            getattr(found, name), getattr(whole, name)[kept], rtol=0, atol=tolerance, msg=name
        )


def test_no_bars_no_decisions(tape: MarketTape) -> None:
    empty: Any = tape.between(tape.ts.min().item(), tape.ts.min().item())
    found = greedy_decisions(policies(len(tape.features))["flat"], empty, CONFIG)
    assert len(found.level) == 0
