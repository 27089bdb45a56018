"""Gradient of the clipped surrogate for the flat actor and critic on the CPU, written out.

Both networks are so small that autograd takes longer to record and replay them than they take to compute.
What `engine.agents.surrogate.autograd_gradient` does for any policy on any device is done here in two dozen
products and one loop over the decisions.
"""

from __future__ import annotations

import math

import numba as nb
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.agents.actor_critic import ActorCritic
from engine.agents.policy import Evaluation
from engine.agents.rollout import Bars, Samples
from engine.agents.surrogate import Surrogate

__all__ = ["FlatGradient"]

_tanh_backward = torch.ops.aten.tanh_backward.grad_input


class FlatGradient:
    """Differentiate the surrogate for one policy.

    Parameters
    ----------
    policy : ActorCritic
        On the CPU, its weights those of an `engine.agents.weight_vector.WeightVector`, so that each has its
        ``grad``, into which the gradient is written.
    """

    def __init__(self, policy: ActorCritic) -> None:
        self.bar, self.logits, self.value = (_Layer(x) for x in (policy.bar, policy.logits, policy.value))
        own, d_own = policy.own.weight.detach().chunk(2), _gradient(policy.own.weight).chunk(2)
        self.actor = _Network(own[0], d_own[0], _Layer(policy.actor))
        self.critic = _Network(own[1], d_own[1], _Layer(policy.critic))

    @torch.no_grad()
    def __call__(self, bars: Bars, samples: Samples, surrogate: Surrogate) -> Evaluation:
        """Set the weights' gradient to the loss's; returns what the policy makes of the samples."""
        seen, own = torch.cat(bars.at(samples.rows), dim=1), samples.own.flatten(0, 1)
        actor_bar, critic_bar = torch.addmm(self.bar.bias, seen, self.bar.weight.T).chunk(2, dim=1)
        actor_hidden, actor = self.actor.forward(actor_bar, own)
        critic_hidden, critic = self.critic.forward(critic_bar, own)
        # Laid along the first axis, a softmax over a handful of levels takes a tenth of the time.
        log_p = torch.addmm(self.logits.bias[:, None], self.logits.weight, actor.T).log_softmax(0)
        value = torch.addmv(self.value.bias, critic, self.value.weight[0])

        log_prob, entropy, d_logits, d_value = _slopes(log_p, value, samples, surrogate)
        torch.mm(d_logits, actor, out=self.logits.d_weight)
        torch.sum(d_logits, 1, out=self.logits.d_bias)
        torch.mm(d_value[None], critic, out=self.value.d_weight)
        torch.sum(d_value, 0, keepdim=True, out=self.value.d_bias)
        d_actor, d_critic = d_logits.T @ self.logits.weight, torch.outer(d_value, self.value.weight[0])
        d_bar = torch.cat(
            (
                self.actor.backward(d_actor, actor, actor_hidden, own, len(seen)),
                self.critic.backward(d_critic, critic, critic_hidden, own, len(seen)),
            ),
            dim=1,
        )
        torch.mm(d_bar.T, seen, out=self.bar.d_weight)
        torch.sum(d_bar, 0, out=self.bar.d_bias)
        return Evaluation(log_prob, entropy, value, value.new_zeros(()))


def _gradient(weight: Tensor) -> Tensor:
    if weight.grad is None:
        raise ValueError("a weight has no grad to write into; make a WeightVector of the policy first")
    return weight.grad


class _Layer:
    """Weights of a layer and where their gradients go."""

    def __init__(self, layer: nn.Linear) -> None:
        self.weight, self.d_weight = layer.weight.detach(), _gradient(layer.weight)
        self.bias, self.d_bias = layer.bias.detach(), _gradient(layer.bias)


class _Network:
    """Both hidden layers of the actor or of the critic, the first one's product with the bar given."""

    def __init__(self, own: Tensor, d_own: Tensor, layer: _Layer) -> None:
        self.own, self.d_own, self.layer = own, d_own, layer

    def forward(self, bar: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Both layers' values (B, h) on M bars (M, h) with B / M own states each."""
        first = own @ self.own.T
        first.view(len(bar), -1, bar.shape[1]).add_(bar[:, None])
        first.tanh_()
        return first, torch.addmm(self.layer.bias, first, self.layer.weight.T).tanh_()

    def backward(self, d_second: Tensor, second: Tensor, first: Tensor, own: Tensor, bars: int) -> Tensor:
        """Gradient of the product with the bar (M, h), given that of the second layer; overwrites it."""
        _tanh_backward(d_second, second, grad_input=d_second)
        torch.mm(d_second.T, first, out=self.layer.d_weight)
        torch.sum(d_second, 0, out=self.layer.d_bias)
        d_first = d_second @ self.layer.weight
        _tanh_backward(d_first, first, grad_input=d_first)
        # (own.T @ d).T is d.T @ own in a third of the time.
        self.d_own.copy_((own.T @ d_first).T)
        return d_first.view(bars, -1, d_first.shape[1]).sum(1)


def _slopes(
    log_p: Tensor, value: Tensor, samples: Samples, surrogate: Surrogate
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probability, entropy, and the loss's slopes in the logits (L, B) and in the values (B,)."""
    log_prob, entropy, d_value = (torch.empty_like(value) for _ in range(3))
    d_logits = log_p.exp()
    _fill_slopes(
        log_p.numpy(),
        value.numpy(),
        samples.action.numpy().reshape(len(value), -1)[:, 0],
        samples.log_prob.numpy().ravel(),
        samples.advantage.numpy().ravel(),
        samples.target.numpy().ravel(),
        samples.weight.numpy().ravel(),
        surrogate.clip,
        surrogate.entropy_weight,
        surrogate.value_weight / surrogate.target_variance,
        log_prob.numpy(),
        entropy.numpy(),
        d_logits.numpy(),
        d_value.numpy(),
    )
    return log_prob, entropy, d_logits, d_value


@nb.njit(cache=True)
def _fill_slopes(
    log_p: NDArray,
    value: NDArray,
    level: NDArray,
    old_log_prob: NDArray,
    advantage: NDArray,
    target: NDArray,
    weight: NDArray,
    clip: float,
    entropy_weight: float,
    value_weight: float,
    log_prob: NDArray,
    entropy: NDArray,
    d_logits: NDArray,
    d_value: NDArray,
) -> None:
    """Fill the last four arrays, of which `d_logits` holds the law p over the levels.

    With a the level taken and H the entropy,

    d log p[a] / d logit[k] = 1(k = a) - p[k]  and  d H / d logit[k] = -p[k] (log p[k] + H).
    """
    levels, count = log_p.shape
    for i in range(count):
        h = 0.0
        for k in range(levels):
            h -= d_logits[k, i] * log_p[k, i]
        entropy[i] = h
        log_prob[i] = log_p[level[i], i]
        ratio = math.exp(log_prob[i] - old_log_prob[i])
        beyond = ratio > 1.0 + clip if advantage[i] > 0.0 else ratio < 1.0 - clip
        d_log_prob = 0.0 if beyond else -weight[i] * ratio * advantage[i] / count
        for k in range(levels):
            d_logits[k, i] *= entropy_weight / count * (log_p[k, i] + h) - d_log_prob
        d_logits[level[i], i] += d_log_prob
        d_value[i] = 2.0 * value_weight / count * weight[i] * (value[i] - target[i])
