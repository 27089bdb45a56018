"""V-trace: values and advantages of a policy from what an older one did (Espeholt et al. 2018, IMPALA)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["VTrace", "vtrace"]


@dataclass(frozen=True)
class VTrace:
    """What the critic and the actor learn towards; neither carries gradients.

    Parameters
    ----------
    targets : Tensor, shape (H, ...)
        Corrected values v.
    advantages : Tensor, shape (H, ...)
        Truncated ratio times (r + discount v of the next step - V), for the policy gradient.
    """

    targets: Tensor
    advantages: Tensor


@torch.no_grad()
def vtrace(
    values: Tensor,
    bootstrap: Tensor,
    rewards: Tensor,
    ratios: Tensor,
    discounts: Tensor,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> VTrace:
    """Correct H steps of any number of streams.

    With rho = min(rho_bar, ratio) and c = min(c_bar, ratio),
    delta_t = rho_t (r_t + discount_t V_{t+1} - V_t),
    v_t = V_t + delta_t + discount_t c_t (v_{t+1} - V_{t+1}),
    advantage_t = rho_t (r_t + discount_t v_{t+1} - V_t).
    The fixed point is the value of the policy in proportion to min(rho_bar mu, pi), which is pi itself only
    for an unlimited rho_bar; c_bar sets the speed and the variance, not the fixed point.

    Parameters
    ----------
    values : Tensor, shape (H, ...)
        V of each state by the present critic.
    bootstrap : Tensor, shape (...)
        V of the state after the last step.
    rewards : Tensor, shape (H, ...)
    ratios : Tensor, shape (H, ...)
        pi / mu of each action: the present policy's probability over the behaviour's, stored when it acted.
    discounts : Tensor, shape (H, ...)
        Factor on what follows each step: gamma inside an episode, 0 where it ended for good. Where it was
        only cut off (a time limit), what follows in the tensor belongs to another episode, yet the state
        reached has a value: give discount 0 there and add gamma times that state's value to the reward.
    rho_bar, c_bar : float
        Truncation of the ratios, rho_bar >= c_bar > 0.

    Raises
    ------
    ValueError
        Shapes differ, or the truncation levels are not in that order.
    """
    if not rho_bar >= c_bar > 0.0:
        raise ValueError(f"rho_bar must be at least c_bar, and that above 0, got {rho_bar} and {c_bar}")
    shapes = {
        "rewards": rewards.shape,
        "ratios": ratios.shape,
        "discounts": discounts.shape,
        "bootstrap": (len(values), *bootstrap.shape),
    }
    for name, shape in shapes.items():
        if tuple(shape) != tuple(values.shape):
            raise ValueError(f"{name} must fit values of shape {tuple(values.shape)}, got {tuple(shape)}")
    rho, c = ratios.clamp(max=rho_bar), ratios.clamp(max=c_bar)
    following = torch.cat((values[1:], bootstrap[None]))
    deltas = rho * (rewards + discounts * following - values)
    carry = discounts * c
    correction = torch.zeros_like(bootstrap)
    corrections = torch.empty_like(values)
    for t in range(len(values) - 1, -1, -1):
        correction = deltas[t] + carry[t] * correction
        corrections[t] = correction
    targets = values + corrections
    ahead = torch.cat((targets[1:], bootstrap[None]))
    return VTrace(targets, rho * (rewards + discounts * ahead - values))
