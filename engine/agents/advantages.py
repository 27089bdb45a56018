"""Generalised advantages, and a baseline from the accounts that lived through the same bar."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["generalised_advantages", "leave_one_out"]


def generalised_advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, ended: Tensor, gamma: float, trace: float
) -> Tensor:
    """Advantages by exponentially weighted temporal differences (Schulman et al. 2016).

    An episode that ended did so because its time or its data ran out, not because the market stopped: its
    last difference looks ahead to the value of the state it would have gone on from, and the trace is cut
    there.

    Parameters
    ----------
    rewards, values : Tensor, shape (H, ...)
        Reward of each step and value of the state it was taken in.
    next_values : Tensor, shape (H, ...)
        Value of the state after the step and *before* any restart.
    ended : Tensor of bool, broadcastable to (H, ...)
        Steps after which an episode was restarted.
    gamma : float
        Discount per bar, 0 to 1.
    trace : float
        Lambda, 0 to 1: 0 is the one-step difference, 1 the discounted return less the value.

    Returns
    -------
    Tensor, shape (H, ...)
        Advantages; ``advantages + values`` are the targets of the value function.
    """
    differences = rewards + gamma * next_values - values
    carry = gamma * trace * (~ended).to(rewards.dtype)
    advantages = torch.empty_like(differences)
    ahead = torch.zeros_like(differences[0])
    for t in range(len(differences) - 1, -1, -1):
        ahead = torch.addcmul(differences[t], carry[t].expand_as(ahead), ahead)
        advantages[t] = ahead
    return advantages


def leave_one_out(advantages: Tensor) -> Tensor:
    """Subtract from each account's advantage the mean of the others' on the same bar.

    The market does not react, so the others' luck with the bars ahead says nothing about this account's
    action and may be subtracted without bias, while the noise that they share is gone (Kool et al. 2019, on
    leave-one-out baselines; Mao et al. 2019, on baselines that know an exogenous input).

    Parameters
    ----------
    advantages : Tensor, shape (..., P)
        Last axis: accounts on one bar that act independently of each other. With one account there are no
        others, and nothing is subtracted.
    """
    accounts = advantages.shape[-1]
    if accounts == 1:
        return advantages
    return (advantages - advantages.mean(-1, keepdim=True)) * (accounts / (accounts - 1))
