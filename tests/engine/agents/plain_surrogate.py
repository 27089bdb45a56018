"""The clipped surrogate loss written out, to check its gradient in closed form against autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.agents.policy import Policy
from engine.agents.rollout import Bars, Samples
from engine.agents.surrogate import Surrogate


def surrogate_loss(
    policy: Policy, bars: Bars, samples: Samples, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Loss, and its parts: policy, value and auxiliary loss, entropy, KL and share clipped."""
    embedding = bars.encoded(policy, samples.rows).repeat_interleave(samples.own.shape[1], dim=0)
    now = policy.evaluate(
        embedding, samples.own.flatten(0, 1), samples.memory.flatten(0, 1), samples.action.flatten(0, 1)
    )
    advantage, weight = samples.advantage.flatten(), samples.weight.flatten()
    log_ratio = now.log_prob - samples.log_prob.flatten()
    ratio = log_ratio.exp()
    within = ratio.clamp(1.0 - surrogate.clip, 1.0 + surrogate.clip)
    policy_loss = -(weight * torch.minimum(ratio * advantage, within * advantage)).mean()
    value_loss = (weight * (now.value - samples.target.flatten()).square()).mean()
    entropy = now.entropy.mean()
    loss = (
        policy_loss
        + surrogate.value_weight / surrogate.target_variance * value_loss
        - surrogate.entropy_weight * entropy
        + now.auxiliary
    )
    kl = (ratio - 1.0 - log_ratio).mean()
    clipped = (ratio != within).to(ratio.dtype).mean()
    return loss, (policy_loss, value_loss, now.auxiliary, entropy, kl, clipped)
