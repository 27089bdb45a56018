"""Ascent on the exact expected reward of a policy: nothing is drawn but the stretch of market.

No account moves the market, so on a recorded stretch the reward of every change of position on every bar
is known. Seen from there, the state of an account is the position it holds, and what a policy is expected to
earn is a sum: the probability of each position goes forward from bar to bar, the reward still to come goes
backward, and both together are the gradient (the policy gradient theorem of Sutton et al. 2000, with all
actions summed instead of one sampled; for decisions that leave the market alone, Sinclair et al. 2023). What
PPO estimates from accounts that act at random is exact here, up to the noise of the market itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.agents.environment import UNREALISED_LIMIT, EnvironmentConfig, bar_table
from engine.agents.policy import OWN_STATE, Policy
from engine.agents.rollout import Bars
from engine.agents.starts import startable
from engine.agents.tape import MarketTape
from engine.errors import NotEnoughDataError

__all__ = [
    "ExactGradientConfig",
    "ascend",
    "change_rewards",
    "exact_objective",
    "shares_held",
    "still_to_come",
]


@dataclass(frozen=True)
class ExactGradientConfig:
    """How a policy is led up its expected reward.

    Parameters
    ----------
    steps : int
        Gradient steps.
    starts, bars : int
        Stretches per step, and bars of each.
    learning_rate, weight_decay : float
        Adam's, falling to 0 over the steps, and AdamW's.
    max_gradient : float
        The gradient is scaled down to this Euclidean norm.
    hidden_inputs : float
        Share of the features that a policy does not see on a stretch, drawn anew for each: what it makes of
        one must hold without the others (dropout of inputs; Srivastava et al. 2014).
    free_until, full_from : float
        Trading is free for this share of the steps, and costs what it costs from that share on. With its
        full cost from the start, a policy that still acts at random first learns to sit still, and from
        there sees nothing that pays.
    looks : int
        Times at which the policy is looked at on the way.
    """

    steps: int = 480
    starts: int = 32
    bars: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    max_gradient: float = 0.5
    hidden_inputs: float = 0.3
    free_until: float = 0.2
    full_from: float = 0.6
    looks: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "starts", "looks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.bars < 2:
            raise ValueError(f"bars = {self.bars} must be at least 2")
        for name in ("learning_rate", "max_gradient"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} = {getattr(self, name)} must be above 0")
        if not self.weight_decay >= 0.0:
            raise ValueError(f"weight_decay = {self.weight_decay} must not be negative")
        if not 0.0 <= self.hidden_inputs < 1.0:
            raise ValueError(f"hidden_inputs = {self.hidden_inputs} must lie in [0, 1)")
        if not 0.0 <= self.free_until < self.full_from <= 1.0:
            raise ValueError(
                f"free_until = {self.free_until} must lie below full_from = {self.full_from}, both in [0, 1]"
            )

    def cost_share(self, step: int) -> float:
        """Share of the cost of trading that counts in a step, from 1."""
        done = step / self.steps
        return float(np.clip((done - self.free_until) / (self.full_from - self.free_until), 0.0, 1.0))


def ascend(
    policy: Policy,
    tape: MarketTape,
    environment: EnvironmentConfig,
    config: ExactGradientConfig,
    *,
    seed: int,
    look: Callable[[], object],
    device: torch.device | str = "cpu",
) -> None:
    """Improve a policy by its exact expected reward on stretches of a tape that begin flat.

    The policy's memory is left empty, as on the first bar of an episode, and age and open profit of what it
    holds are drawn at random: they say nothing of the market, and the policy learns that they do not.

    Parameters
    ----------
    policy : Policy
        On the device.
    tape : MarketTape
        Synthetic rows are left out.
    environment : EnvironmentConfig
        For the levels, the cost of trading and the price of risk.
    config : ExactGradientConfig
    seed : int
        Of the stretches.
    look : callable
        Called from time to time, to look at the policy as it is then.
    device : str or torch.device

    Raises
    ------
    NotEnoughDataError
        If no run of the tape is as long as a stretch.
    """
    able = np.flatnonzero(startable(tape, config.bars) & ~tape.synthetic)
    if not len(able):
        raise NotEnoughDataError(
            f"no run has {config.bars} bars to decide on, the longest {tape.decisions_left.max(initial=0)}: "
            "give longer runs, or ask for fewer bars"
        )
    bars, table = Bars.of(tape, device), torch.from_numpy(bar_table(tape)).float().to(device)
    levels = torch.tensor(environment.levels, device=device)
    random = np.random.default_rng(seed)
    noise = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    ahead = np.arange(config.bars)
    between = max(1, config.steps // config.looks)
    for step in range(1, config.steps + 1):
        rows = torch.from_numpy(random.choice(able, config.starts)[:, None] + ahead).to(device)
        drawn = torch.rand(config.starts, 1, bars.x.shape[1], device=device, generator=noise)
        log_p = _laws(policy, bars, rows, drawn >= config.hidden_inputs, levels, noise)
        cost = config.cost_share(step) * environment.cost
        reward = change_rewards(table[rows, 0], table[rows, 1], levels, cost, environment.risk_aversion)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1.0 - (step - 1) / config.steps)
        optimizer.zero_grad()
        (-exact_objective(log_p, reward, environment.levels.index(0.0))).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_gradient)
        optimizer.step()
        if step % between == 0:
            look()
    optimizer.zero_grad()


def _laws(
    policy: Policy, bars: Bars, rows: Tensor, seen: Tensor, levels: Tensor, noise: torch.Generator
) -> Tensor:
    """Log-probability of each level (S, T, held, L) on bars (S, T), of features as far as they are seen."""
    stretch, count = rows.shape, len(levels)
    features, p_regime = bars.at(rows.flatten())
    features = (features.view(*stretch, -1) * seen).flatten(0, 1)
    embedding = policy.encode(features, p_regime).repeat_interleave(count, dim=0)
    own = torch.empty(len(embedding), len(OWN_STATE), device=rows.device)
    own[:, 0] = levels.repeat(rows.numel())
    own[:, 1].uniform_(generator=noise)
    own[:, 2].normal_(generator=noise).clamp_(-UNREALISED_LIMIT, UNREALISED_LIMIT)
    return policy.level_law(embedding, own).view(*stretch, count, count)


def change_rewards(
    carry: Tensor, precision: Tensor, levels: Tensor, cost: float, risk_aversion: float
) -> Tensor:
    """Reward of going from each level to each on some bars, as `TradingEnvironment.step` gives it.

    Parameters
    ----------
    carry, precision : Tensor, shape (...)
        What a position of 1 earns after funding, and one over the bar's scale.
    levels : Tensor, shape (L,)
    cost, risk_aversion : float

    Returns
    -------
    Tensor, shape (..., L, L)
        By the level held and the level taken.
    """
    paid = cost * (levels[None, :] - levels[:, None]).abs()
    scaled = (carry[..., None, None] * levels - paid) * precision[..., None, None]
    return scaled - 0.5 * risk_aversion * scaled.square()


def exact_objective(log_p: Tensor, reward: Tensor, flat: int) -> Tensor:
    """Mean expected reward per bar of a policy on S stretches of T bars, each begun flat.

    Parameters
    ----------
    log_p : Tensor, shape (S, T, L, L)
        Log-probability of each level, by the level held.
    reward : Tensor, shape (S, T, L, L)
        Of going from the level held to the one taken.
    flat : int
        Level of no position.

    Returns
    -------
    Tensor, scalar
        Its gradient is exact. Its value is not the expected reward itself but a sum with the same gradient:
        with positions and rewards to come held fixed, the chain of T bars need not be differentiated.
    """
    p = log_p.exp()
    with torch.no_grad():
        held, to_come = shares_held(p, flat), still_to_come(p, (p * reward).sum(3))
        worth = held[..., None] * (reward + to_come[:, 1:, None, :])
    return (p * worth).sum() / (p.shape[0] * p.shape[1])


def shares_held(p: Tensor, flat: int) -> Tensor:
    """Probability of holding each level when a bar is decided on, shape (S, T, L), from laws (S, T, L, L)."""
    held = p.new_zeros(p.shape[:3])
    held[:, 0, flat] = 1.0
    for t in range(p.shape[1] - 1):
        held[:, t + 1] = torch.bmm(held[:, t, None], p[:, t])[:, 0]
    return held


def still_to_come(p: Tensor, reward: Tensor) -> Tensor:
    """Sum the expected reward from each bar to the end of its stretch, by the level held: (S, T + 1, L).

    Parameters
    ----------
    p : Tensor, shape (S, T, L, L)
    reward : Tensor, shape (S, T, L)
        Expected on each bar, by the level held.
    """
    stretches, bars, levels = reward.shape
    to_come = reward.new_zeros(stretches, bars + 1, levels)
    for t in reversed(range(bars)):
        to_come[:, t] = reward[:, t] + torch.bmm(p[:, t], to_come[:, t + 1, :, None])[..., 0]
    return to_come
