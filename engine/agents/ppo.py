"""Proximal policy optimisation over bars that many accounts share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engine.agents.actor_critic import ActorCritic
from engine.agents.advantages import generalised_advantages, leave_one_out
from engine.agents.clipped_adam import ClippedAdam
from engine.agents.flat_gradient import FlatGradient
from engine.agents.policy import Evaluation, Policy
from engine.agents.rollout import Bars, Rollout, Samples
from engine.agents.surrogate import Surrogate, autograd_gradient
from engine.agents.weight_vector import WeightVector
from engine.errors import EngineError

__all__ = ["PPO", "DivergenceError", "Losses", "PPOConfig", "fresh_samples"]


class DivergenceError(EngineError, ArithmeticError):
    """A loss was not finite; the weights are of no use any more."""


@dataclass(frozen=True)
class PPOConfig:
    """How a policy is improved on each rollout.

    Parameters
    ----------
    learning_rate : float
        Adam's, to begin with; `PPO.learning_rate` sets another at any time.
    gamma : float
        Discount per bar.
    trace : float
        Lambda of the generalised advantages.
    clip : float
        The ratio to the old policy is of use within 1 - clip to 1 + clip only.
    entropy_weight, value_weight : float
        Weights of the entropy bonus and of the squared error of the values, the latter as a share of the
        variance of their targets.
    epochs : int
        Passes over each rollout, at most.
    minibatch : int
        Decisions per gradient step. Whole bars are drawn, each with all its accounts, so that a bar is
        encoded once per step.
    target_kl : float or None
        No further pass once the policy has moved on from the old one by this divergence, in nats.
    max_gradient : float
        The gradient is scaled down to this Euclidean norm.
    shared_baseline : bool
        Subtract from an account's advantage what the other accounts on the same bar had; see
        `engine.agents.advantages.leave_one_out`.
    """

    learning_rate: float = 3e-4
    gamma: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    entropy_weight: float = 0.01
    value_weight: float = 0.5
    epochs: int = 4
    minibatch: int = 1024
    target_kl: float | None = 0.03
    max_gradient: float = 0.5
    shared_baseline: bool = True

    def __post_init__(self) -> None:
        for name in ("learning_rate", "clip", "max_gradient"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} = {getattr(self, name)} must be above 0")
        for name in ("gamma", "trace"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must be within 0 and 1")
        for name in ("epochs", "minibatch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.target_kl is not None and not self.target_kl > 0.0:
            raise ValueError(f"target_kl = {self.target_kl} must be above 0, or None for no such limit")


@dataclass(frozen=True)
class Losses:
    """What an update saw, as means over its passes; the weights move on from one gradient step to the next.

    Parameters
    ----------
    policy, value, auxiliary : float
        Clipped surrogate, squared error of the values and the policy's own penalty, unweighted.
    entropy : float
        In nats.
    kl : float
        Divergence of the new policy from the old in the last pass, by Schulman's estimator
        ``mean(ratio - 1 - log ratio)``.
    clipped : float
        Share of decisions whose ratio lay outside of the clip range.
    gradient : float
        Norm of the gradient before it was scaled.
    explained_variance : float
        1 - var(target - value) / var(target) before the update; 1 is a perfect critic, below 0 a harmful one.
    epochs : int
        Passes made.
    """

    policy: float
    value: float
    auxiliary: float
    entropy: float
    kl: float
    clipped: float
    gradient: float
    explained_variance: float
    epochs: int


def fresh_samples(rollout: Rollout, config: PPOConfig) -> Samples:
    """Flatten a rollout into samples with their advantages and value targets."""
    advantage = generalised_advantages(
        rollout.reward,
        rollout.value,
        rollout.next_value,
        rollout.ended[:, :, None],
        config.gamma,
        config.trace,
    )
    target = advantage + rollout.value
    if config.shared_baseline:
        advantage = leave_one_out(advantage)
    per_account = (rollout.log_prob, rollout.value, advantage, target, torch.ones_like(advantage))
    return Samples(
        rollout.rows.flatten(),
        *(x.flatten(0, 1) for x in (rollout.own, rollout.memory, rollout.action, *per_account)),
    )


class PPO:
    """Improve any `Policy` on rollouts.

    Parameters
    ----------
    policy : Policy
        On the device of the bars it will see.
    config : PPOConfig
    generator : torch.Generator
        Draws the order of the minibatches; on the CPU, whatever the device.

    Attributes
    ----------
    optimizer : ClippedAdam
        For schedules that set its learning rate.
    updates : int
        Updates made so far.
    """

    def __init__(self, policy: Policy, config: PPOConfig, generator: torch.Generator) -> None:
        self.policy, self.config, self.generator = policy, config, generator
        self.weights = WeightVector(policy)
        self._gradient: Callable[[Bars, Samples, Surrogate], Evaluation]
        # A subclass may compute something else.
        if type(policy) is ActorCritic and self.weights.vector.device.type == "cpu":
            self._gradient = FlatGradient(policy)
        else:
            self._gradient = partial(autograd_gradient, policy, self.weights)
        self.optimizer = ClippedAdam(self.weights.vector, config.learning_rate)
        self.updates = 0

    @property
    def learning_rate(self) -> float:
        """Adam's learning rate now in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def update(self, bars: Bars, fresh: Samples, replayed: Samples | None = None) -> Losses:
        """Take the config's passes over fresh samples, with replayed ones mixed into each minibatch.

        Advantages are centred and scaled by mean and standard deviation of the fresh ones, over the update.

        Parameters
        ----------
        bars : Bars
            That the samples' rows point into.
        fresh : Samples
            Of the present policy; see `fresh_samples`.
        replayed : Samples, optional
            Of earlier policies, corrected for it; not more than the fresh ones. Their advantages are scaled
            but not centred, as their mean is not that of the present policy's.

        Raises
        ------
        DivergenceError
            If a loss is not finite; it names the update.
        ValueError
            If more samples are replayed than fresh.
        """
        config = self.config
        deviation = fresh.advantage.std(correction=0) + 1e-8
        target_variance = float(fresh.target.var(correction=0)) + 1e-8
        explained = 1.0 - float((fresh.target - fresh.value).var(correction=0)) / target_variance
        centred = (fresh.advantage - fresh.advantage.mean()) / deviation
        samples = _with_advantage(fresh, centred)
        if replayed is not None:
            if len(replayed) > len(fresh):
                raise ValueError(
                    f"{len(replayed)} bars are replayed beside {len(fresh)} fresh; half must be fresh"
                )
            samples = samples.join(_with_advantage(replayed, replayed.advantage / deviation))
        steps = min(len(fresh), max(1, round(len(fresh) * fresh.own.shape[1] / config.minibatch)))
        surrogate = Surrogate(config.clip, config.entropy_weight, config.value_weight, target_variance)
        self.updates += 1
        totals, kl, epoch = torch.zeros(7, device=fresh.own.device), math.nan, 0
        for epoch in range(1, config.epochs + 1):
            order, sizes = _minibatches(len(fresh), len(samples) - len(fresh), steps, self.generator)
            shuffled = samples[order.to(samples.rows.device)]
            taken = [self._step(bars, minibatch, surrogate) for minibatch in shuffled.split(sizes)]
            seen = Evaluation.join([now for now, _ in taken])
            norm = torch.stack([norm for _, norm in taken]).mean()
            here = torch.cat((surrogate.parts(seen, shuffled), norm[None]))
            if not bool(here.isfinite().all()):
                raise DivergenceError(
                    f"update {self.updates}, pass {epoch}: the loss is not finite at a learning rate of "
                    f"{self.learning_rate:g}; lower it, or look for missing values in features and rewards"
                )
            totals += here
            kl = float(here[4])
            if config.target_kl is not None and kl > config.target_kl:
                break
        policy, value, auxiliary, entropy, _, clipped, gradient = (totals / epoch).tolist()
        return Losses(policy, value, auxiliary, entropy, kl, clipped, gradient, explained, epoch)

    def _step(self, bars: Bars, minibatch: Samples, surrogate: Surrogate) -> tuple[Evaluation, Tensor]:
        """One gradient step; returns what the policy thought before it, and the gradient's norm."""
        now = self._gradient(bars, minibatch, surrogate)
        return now, self.optimizer.step_within(self.config.max_gradient)


def _minibatches(
    fresh: int, replayed: int, steps: int, generator: torch.Generator
) -> tuple[Tensor, list[int]]:
    """Order of all samples and sizes of the minibatches; each has its even part of the replayed ones."""
    order = torch.randperm(fresh, generator=generator)
    minibatches = list(order.tensor_split(steps))
    if replayed:
        parts = (fresh + torch.randperm(replayed, generator=generator)).tensor_split(steps)
        minibatches = [torch.cat(pair) for pair in zip(minibatches, parts, strict=True)]
        order = torch.cat(minibatches)
    return order, [len(minibatch) for minibatch in minibatches]


def _with_advantage(samples: Samples, advantage: Tensor) -> Samples:
    return Samples(**{**vars(samples), "advantage": advantage})
