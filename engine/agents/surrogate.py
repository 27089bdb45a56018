"""The clipped surrogate objective, by its gradient with respect to what a policy returns.

    L = mean[-w min(r A, clip(r, 1 - c, 1 + c) A)] + v/s2 mean[w (V - G)^2] - e mean[H] + auxiliary,

with r the ratio of the new to the old probability, A the advantage, G the target of the value V and s2 the
variance of the targets, H the entropy, w the sample's weight (Schulman et al. 2017). It is simple in r, V and
H, so its gradient is written down and only the policy is left to automatic differentiation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.agents.policy import Evaluation, Policy
from engine.agents.rollout import Bars, Samples
from engine.agents.weight_vector import WeightVector

__all__ = ["Surrogate", "autograd_gradient"]


@dataclass(frozen=True)
class Surrogate:
    """Objective of an update, its advantages taken as given.

    Parameters
    ----------
    clip : float
        The ratio is of use within 1 - clip to 1 + clip only.
    entropy_weight, value_weight : float
        Of the entropy and of the squared error of the values.
    target_variance : float
        The squared error is divided by it, so that neither the unit of the reward nor the discount decides
        how much of the clipped gradient is the critic's.
    """

    clip: float
    entropy_weight: float
    value_weight: float
    target_variance: float

    @torch.no_grad()
    def slopes(self, now: Evaluation, samples: Samples) -> Evaluation:
        """Gradient of the loss with respect to each output of a policy on B decisions."""
        share = 1.0 / now.value.numel()
        ratio = (now.log_prob - samples.log_prob.flatten()).exp_()
        advantage = (samples.weight * samples.advantage).flatten()
        gain, held = ratio * advantage, self._within(ratio) * advantage
        critic = 2.0 * self.value_weight / self.target_variance * share
        return Evaluation(
            # d ratio / d log_prob is the ratio itself; where the held gain is the lesser one, it is constant.
            log_prob=(gain <= held) * gain * -share,
            entropy=torch.full_like(now.entropy, -self.entropy_weight * share),
            value=(now.value - samples.target.flatten()) * samples.weight.flatten() * critic,
            auxiliary=torch.ones_like(now.auxiliary),
        )

    def parts(self, now: Evaluation, samples: Samples) -> Tensor:
        """Policy, value and auxiliary loss, entropy, KL and share clipped, shape (6,), unweighted."""
        log_ratio = now.log_prob - samples.log_prob.flatten()
        ratio = log_ratio.exp()
        within, weight, advantage = self._within(ratio), samples.weight.flatten(), samples.advantage.flatten()
        error = (now.value - samples.target.flatten()).square_()
        return torch.stack(
            (
                -(weight * torch.minimum(ratio * advantage, within * advantage)).mean(),
                (weight * error).mean(),
                now.auxiliary,
                now.entropy.mean(),
                (ratio - 1.0 - log_ratio).mean(),
                (ratio != within).to(ratio.dtype).mean(),
            )
        )

    def _within(self, ratio: Tensor) -> Tensor:
        return ratio.clamp(1.0 - self.clip, 1.0 + self.clip)


def autograd_gradient(
    policy: Policy, weights: WeightVector, bars: Bars, samples: Samples, surrogate: Surrogate
) -> Evaluation:
    """Set the gradient of any policy's weights to the loss's; returns what it makes of the samples."""
    now = policy.evaluate(
        bars.encoded(policy, samples.rows).repeat_interleave(samples.own.shape[1], dim=0),
        samples.own.flatten(0, 1),
        samples.memory.flatten(0, 1),
        samples.action.flatten(0, 1),
    )
    weights.differentiate(now.outputs, surrogate.slopes(now, samples).outputs)
    return now.detach()
