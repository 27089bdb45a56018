"""What one update saw: learning, behaviour and collapse at a glance."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.agents.ppo import Losses
from engine.agents.rollout import Rollout

__all__ = ["TrainingUpdate", "report"]


@dataclass(frozen=True)
class TrainingUpdate:
    """One update, as `RLTradingAgent.train` reports it.

    Parameters
    ----------
    update : int
        Updates of this agent so far, this one included.
    decisions : int
        Decisions it was made on.
    reward, net : float
        Mean per decision: reward, and net return as a fraction of equity.
    win_rate : float
        Share of net returns above zero among those of accounts that held a position; NaN where none did.
    turnover : float
        Mean absolute change of position per decision.
    levels : tuple[float, ...]
        Share of decisions for each level; sums to 1.
    learning_rate : float
        In force during the update.
    losses : Losses
    """

    update: int
    decisions: int
    reward: float
    net: float
    win_rate: float
    turnover: float
    levels: tuple[float, ...]
    learning_rate: float
    losses: Losses


def report(
    rollout: Rollout, losses: Losses, update: int, learning_rate: float, levels: tuple[float, ...]
) -> TrainingUpdate:
    """Sum a rollout and the update made on it up."""
    level = rollout.action[..., 0]
    position = torch.as_tensor(levels, device=level.device)[level]
    held = position != 0.0
    won = (rollout.net > 0.0) & held
    return TrainingUpdate(
        update=update,
        decisions=level.numel(),
        reward=float(rollout.reward.mean()),
        net=float(rollout.net.mean()),
        win_rate=float(won.sum() / held.sum()),
        turnover=float((position - rollout.own[..., 0]).abs().mean()),
        levels=tuple((torch.bincount(level.flatten(), minlength=len(levels)) / level.numel()).tolist()),
        learning_rate=learning_rate,
        losses=losses,
    )
