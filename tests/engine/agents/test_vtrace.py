"""V-trace: worked numbers, n-step returns, fixed points, ends and truncations of episodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.agents.vtrace import VTrace, vtrace

DOUBLE = torch.float64


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


def random_streams(seed: int, *shape: int) -> dict[str, Any]:
    g = torch.Generator().manual_seed(seed)
    values, rewards, log_ratio = torch.randn(3, *shape, dtype=DOUBLE, generator=g)
    discounts = 0.9 * (torch.rand(shape, dtype=DOUBLE, generator=g) > 0.2)
    bootstrap = torch.randn(shape[1:], dtype=DOUBLE, generator=g)
    return {
        "values": values,
        "bootstrap": bootstrap,
        "rewards": rewards,
        "ratios": log_ratio.exp(),
        "discounts": discounts,
    }


def definition(
    values: Tensor,
    bootstrap: Tensor,
    rewards: Tensor,
    ratios: Tensor,
    discounts: Tensor,
    rho: float,
    c: float,
) -> VTrace:
    """The sum over all later steps, one stream."""
    horizon = len(values)
    v = [*values.tolist(), bootstrap.item()]
    r, w, d = rewards.tolist(), ratios.tolist(), discounts.tolist()
    targets = []
    for s in range(horizon):
        total, trace = v[s], 1.0
        for t in range(s, horizon):
            total += trace * min(rho, w[t]) * (r[t] + d[t] * v[t + 1] - v[t])
            trace *= d[t] * min(c, w[t])
        targets.append(total)
    ahead = [*targets[1:], v[-1]]
    advantages = [min(rho, w[t]) * (r[t] + d[t] * ahead[t] - v[t]) for t in range(horizon)]
    return VTrace(column(*targets), column(*advantages))


def test_worked_numbers() -> None:
    found = vtrace(
        column(0.5, 0.5, 0.5),
        torch.tensor(1.0, dtype=DOUBLE),
        column(1, 0, 2),
        column(0.5, 3, 1),
        column(0.9, 0.9, 0.9),
    )
    torch.testing.assert_close(found.targets, column(1.9245, 2.61, 2.9))
    torch.testing.assert_close(found.advantages, column(1.4245, 2.11, 2.4))


def test_on_policy_it_is_the_n_step_return() -> None:
    s = random_streams(0, 7)
    found = vtrace(**s | {"ratios": torch.ones(7, dtype=DOUBLE)})
    future = s["bootstrap"]
    for t in reversed(range(7)):
        future = s["rewards"][t] + s["discounts"][t] * future
        torch.testing.assert_close(found.targets[t], future)


@pytest.mark.parametrize(("rho", "c"), [(1.0, 1.0), (2.0, 0.7), (1e9, 1e9)])
def test_streams_follow_the_definition(rho: float, c: float) -> None:
    s = random_streams(1, 9, 4, 3)
    found = vtrace(**s, rho_bar=rho, c_bar=c)
    for i in range(4):
        for j in range(3):
            one: dict[str, Any] = {k: x[..., i, j] if k != "bootstrap" else x[i, j] for k, x in s.items()}
            expected = definition(**one, rho=rho, c=c)
            torch.testing.assert_close(found.targets[:, i, j], expected.targets)
            torch.testing.assert_close(found.advantages[:, i, j], expected.advantages)


def test_nothing_crosses_the_end_of_an_episode() -> None:
    s = random_streams(2, 8)
    s["discounts"] = torch.full((8,), 0.9, dtype=DOUBLE)
    later = s | {"rewards": s["rewards"].clone()}
    later["rewards"][5] += 100.0
    leaking = vtrace(**later).targets[:4] - vtrace(**s).targets[:4]
    assert (leaking.abs() > 1e-3).all(), "without a discount of 0 the next episode is credited to this one"
    for case in (s, later):
        case["discounts"][3] = 0.0
    torch.testing.assert_close(vtrace(**later).targets[:4], vtrace(**s).targets[:4], rtol=0, atol=0)


def test_a_truncated_episode_is_that_of_its_own_bootstrap() -> None:
    s, cut, final = random_streams(3, 8), 3, torch.tensor(0.7, dtype=DOUBLE)
    s["discounts"] = torch.full((8,), 0.9, dtype=DOUBLE)
    joined = s | {"rewards": s["rewards"].clone(), "discounts": s["discounts"].clone()}
    joined["rewards"][cut] += 0.9 * final
    joined["discounts"][cut] = 0.0
    found = vtrace(**joined)
    before: dict[str, Any] = {k: x[: cut + 1] for k, x in s.items() if k != "bootstrap"}
    after: dict[str, Any] = {k: x[cut + 1 :] for k, x in s.items() if k != "bootstrap"}
    first, second = vtrace(**before, bootstrap=final), vtrace(**after, bootstrap=s["bootstrap"])
    torch.testing.assert_close(found.targets, torch.cat((first.targets, second.targets)))
    torch.testing.assert_close(found.advantages, torch.cat((first.advantages, second.advantages)))
    terminal = s | {"discounts": joined["discounts"]}
    wrong = vtrace(**terminal).targets[: cut + 1] - found.targets[: cut + 1]
    assert (wrong.abs() > 1e-3).all(), "a time limit taken for an end loses the value of what follows"


BEHAVIOUR, POLICY = column(0.8, 0.2), column(0.3, 0.7)


def fixed_point(ratios: Tensor, **levels: float) -> float:
    """Value to which targets settle in a bandit that goes on for ever: arm 1 pays 1, arm 0 nothing."""
    actions = torch.cartesian_prod(*[torch.arange(2)] * 3).T
    chance = BEHAVIOUR[actions].prod(0)
    value, discounts = torch.zeros((), dtype=DOUBLE), torch.full(actions.shape, 0.5, dtype=DOUBLE)
    for _ in range(100):
        values, bootstrap = value.expand(actions.shape), value.expand(actions.shape[1:])
        found = vtrace(values, bootstrap, actions.to(DOUBLE), ratios[actions], discounts, **levels)
        value = chance @ found.targets[0]
    return value.item()


def test_the_fixed_point_is_the_value_between_both_policies() -> None:
    ratios = POLICY / BEHAVIOUR
    between = torch.minimum(BEHAVIOUR, POLICY)
    assert fixed_point(ratios) == pytest.approx((between[1] / between.sum()).item() / 0.5)
    assert fixed_point(ratios, rho_bar=100.0) == pytest.approx(0.7 / 0.5)
    uncorrected = fixed_point(torch.ones(2, dtype=DOUBLE))
    assert uncorrected == pytest.approx(0.2 / 0.5), "replay without ratios values the old policy"
    clipped = fixed_point(ratios.clamp(0.8, 1.2), rho_bar=100.0)
    assert abs(clipped - 0.7 / 0.5) > 0.3, "nor does clipping around 1 correct it"


def test_targets_carry_no_gradient() -> None:
    s = random_streams(4, 5)
    s["values"].requires_grad_()
    s["ratios"].requires_grad_()
    found = vtrace(**s)
    assert not found.targets.requires_grad
    assert not found.advantages.requires_grad


def test_bad_input_is_refused() -> None:
    s = random_streams(5, 5, 2)
    with pytest.raises(ValueError, match="rho_bar must be at least c_bar"):
        vtrace(**s, rho_bar=0.5, c_bar=1.0)
    for name in ("rewards", "ratios", "discounts", "bootstrap"):
        with pytest.raises(ValueError, match=name):
            vtrace(**s | {name: s[name][..., :1]})
