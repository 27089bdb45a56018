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
        self.bar, self.no_penalty = _Layer(policy.bar), torch.zeros((), dtype=policy.bar.weight.dtype)
        own, d_own = policy.own.weight.detach().chunk(2), _gradient(policy.own.weight).chunk(2)
        self.actor = _Network(own[0], d_own[0], _Layer(policy.actor), _Layer(policy.logits))
        self.critic = _Network(own[1], d_own[1], _Layer(policy.critic), _Layer(policy.value))

    @torch.no_grad()
    def __call__(self, bars: Bars, samples: Samples, surrogate: Surrogate) -> Evaluation:
        """Set the weights' gradient to the loss's; returns what the policy makes of the samples."""
        seen, own = bars.joined_at(samples.rows), samples.own.flatten(0, 1)
        by_bar = torch.addmm(self.bar.bias, seen, self.bar.weight.T)
        actor_bar, critic_bar = by_bar.chunk(2, dim=1)
        # One network after the other: the values of both would not stay in a core's cache.
        first, second, logits = self.actor.forward(actor_bar, own)
        log_prob, entropy, d_logits = _law_slopes(logits.log_softmax(0), samples, surrogate)
        self.actor.backward(d_logits, first, second, own, actor_bar)
        first, second, values = self.critic.forward(critic_bar, own)
        value = values[0]
        slope = 2.0 * surrogate.value_weight / surrogate.target_variance / len(value)
        d_value = (value - samples.target.flatten()).mul_(samples.weight.flatten()).mul_(slope)
        self.critic.backward(d_value[None], first, second, own, critic_bar)
        torch.mm(by_bar.T, seen, out=self.bar.d_weight)
        torch.sum(by_bar, 0, out=self.bar.d_bias)
        return Evaluation(log_prob, entropy, value, self.no_penalty)


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
    """The actor or the critic, its first layer's product with the bar given; h wide, with k outputs."""

    def __init__(self, own: Tensor, d_own: Tensor, hidden: _Layer, head: _Layer) -> None:
        self.own, self.d_own, self.hidden, self.head = own, d_own, hidden, head

    def forward(self, by_bar: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both layers' values (B, h) and the outputs (k, B), on M bars (M, h) with B / M own states each.

        Laid along the first axis, a softmax over a handful of levels takes a tenth of the time.
        """
        first = own @ self.own.T
        first.unflatten(0, (len(by_bar), -1)).add_(by_bar[:, None])
        first.tanh_()
        second = torch.addmm(self.hidden.bias, first, self.hidden.weight.T).tanh_()
        return first, second, torch.addmm(self.head.bias[:, None], self.head.weight, second.T)

    def backward(self, d_out: Tensor, first: Tensor, second: Tensor, own: Tensor, by_bar: Tensor) -> None:
        """Write the weights' gradients, given the outputs' (k, B), and over `by_bar` its own."""
        torch.mm(d_out, second, out=self.head.d_weight)
        torch.sum(d_out, 1, out=self.head.d_bias)
        d_second = _tanh_backward(d_out.T @ self.head.weight, second, grad_input=second)
        torch.mm(d_second.T, first, out=self.hidden.d_weight)
        torch.sum(d_second, 0, out=self.hidden.d_bias)
        d_first = _tanh_backward(d_second @ self.hidden.weight, first, grad_input=first)
        # (own.T @ d).T is d.T @ own in a third of the time.
        self.d_own.copy_((own.T @ d_first).T)
        torch.sum(d_first.unflatten(0, (len(by_bar), -1)), 1, out=by_bar)


def _law_slopes(log_p: Tensor, samples: Samples, surrogate: Surrogate) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability and entropy (B,), and the loss's slopes in the logits (L, B)."""
    d_logits, log_prob, entropy = log_p.exp(), torch.empty_like(log_p[0]), torch.empty_like(log_p[0])
    _fill_slopes(
        log_p.numpy(),
        samples.action.numpy().reshape(len(entropy), -1)[:, 0],
        samples.log_prob.numpy().ravel(),
        samples.advantage.numpy().ravel(),
        samples.weight.numpy().ravel(),
        surrogate.clip,
        surrogate.entropy_weight,
        log_prob.numpy(),
        entropy.numpy(),
        d_logits.numpy(),
    )
    return log_prob, entropy, d_logits


@nb.njit(cache=True)
def _fill_slopes(
    log_p: NDArray,
    level: NDArray,
    old_log_prob: NDArray,
    advantage: NDArray,
    weight: NDArray,
    clip: float,
    entropy_weight: float,
    log_prob: NDArray,
    entropy: NDArray,
    d_logits: NDArray,
) -> None:
    """Fill the last three arrays, of which `d_logits` holds the law p over the levels.

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
