from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.agents.advantages import generalised_advantages, leave_one_out


@pytest.fixture(scope="module")
def reference(shared_module: Callable[[str], ModuleType]) -> ModuleType:
    return shared_module("single_file_ppo")


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    horizon=st.integers(1, 9),
    gamma=st.floats(0, 1),
    trace=st.floats(0, 1),
    cuts=st.floats(0, 1),
)
def test_advantages_are_the_sum_that_defines_them(
    reference: ModuleType, seed: int, horizon: int, gamma: float, trace: float, cuts: float
) -> None:
    g = torch.Generator().manual_seed(seed)
    rewards, values, after = torch.randn(3, horizon, 3, 2, dtype=torch.float64, generator=g)
    ended = torch.rand(horizon, 3, generator=g) < cuts
    found = generalised_advantages(rewards, values, after, ended[:, :, None], gamma, trace)
    expected = reference.advantages(rewards, values, after, ended, gamma, trace)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_a_cut_episode_looks_ahead_to_the_state_it_would_have_gone_on_from() -> None:
    rewards = torch.tensor([1.0, 2.0, 4.0])
    values, after = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.5, 8.0, 3.0])
    ended = torch.tensor([False, True, False])
    found = generalised_advantages(rewards, values, after, ended, 0.5, 1.0)
    # Step 1 ends the episode: 2 + .5 * 8 - .5; step 0 looks through to it, step 2 does not reach back.
    assert found.tolist() == [1.0 + 0.25 - 0.5 + 0.5 * 5.5, 5.5, 5.0]


@pytest.mark.parametrize(("trace", "expected"), [(0.0, [0.9, 1.4]), (1.0, [2.3, 1.4])])
def test_extremes_of_the_trace(trace: float, expected: list[float]) -> None:
    found = generalised_advantages(
        torch.tensor([1.0, 1.0]),
        torch.tensor([0.6, 0.5]),
        torch.tensor([0.5, 0.9]),
        torch.tensor([False, False]),
        1.0,
        trace,
    )
    assert found.tolist() == pytest.approx(expected)


def test_leaving_one_out_subtracts_the_mean_of_the_others() -> None:
    assert leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]
    alone = torch.tensor([[3.0], [4.0]])
    assert torch.equal(leave_one_out(alone), alone)


def test_the_shared_baseline_leaves_the_gradient_as_it_is_and_takes_noise_away() -> None:
    """Over all joint actions of three accounts that hold about .6, on a bar of common return, exactly."""
    positions = torch.tensor([-0.4, 0.0, 0.4, 0.6, 0.8], dtype=torch.float64)
    logits = -((positions - 0.6) ** 2) / 0.1
    p = logits.softmax(0)
    score = torch.eye(5, dtype=torch.float64) - p  # gradient of log p(a) by the logits
    plain: list[tuple[torch.Tensor, torch.Tensor]] = []
    baselined: list[tuple[torch.Tensor, torch.Tensor]] = []
    both_ways: list[tuple[torch.Tensor, torch.Tensor]] = []
    for growth, actions in product((-1.0, 1.2), product(range(5), repeat=3)):
        a = torch.tensor(actions)
        weight = 0.5 * p[a].prod()
        advantage = positions[a] * growth
        for kind, signal in ((plain, advantage), (baselined, leave_one_out(advantage))):
            kind.append((weight, (score[a] * signal[:, None]).mean(0)))
        wrong = advantage - advantage.mean()  # includes the account itself
        both_ways.append((weight, (score[a] * wrong[:, None]).mean(0)))

    def mean(draws: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        return torch.stack([w * g for w, g in draws]).sum(0)

    def variance(draws: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
        return float(torch.stack([w * (g - mean(draws)).square().sum() for w, g in draws]).sum())

    torch.testing.assert_close(mean(baselined), mean(plain), atol=1e-12, rtol=0)
    assert variance(baselined) < 0.5 * variance(plain)
    assert not torch.allclose(mean(both_ways), mean(plain), atol=1e-4)
