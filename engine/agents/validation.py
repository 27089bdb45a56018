"""How an agent on its way through its training does on the validation part."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.agents.agent import RLTradingAgent
from engine.agents.curriculum import ALL
from engine.agents.outcomes import daily_returns, outcomes
from engine.agents.training import Training
from engine.agents.training_data import TrainingData
from engine.agents.training_update import TrainingUpdate
from engine.regimes.names import REGIMES

__all__ = ["evaluate", "judge", "weights_of"]

_EPISODE = 168
"""Bars of an episode of the validation part."""


def evaluate(training: Training, data: TrainingData, update: TrainingUpdate | None) -> NDArray[np.float64]:
    """Look at the validation part; return the daily rewards by which the stage is judged.

    In the last stage the weights are kept as `Training.best` where they are the best yet.
    """
    mean, daily = judge(training, data, update, training.stage)
    if training.stage == ALL:
        training.since_best += 1
        if _is_better(training, mean, daily):
            training.best, training.since_best = (mean, weights_of(training.agent)), 0
    return daily


def judge(
    training: Training, data: TrainingData, update: TrainingUpdate | None, stage: str
) -> tuple[float, NDArray[np.float64]]:
    """Note how the agent does on the validation part: mean reward, and what a stage is judged by."""
    agent, tape = training.agent, data.validation.episodes(_EPISODE)
    found = outcomes(tape, agent.positions(tape), agent.config.environment)
    hosts = tape.decisions_left > 0
    mean = float(found.reward[hosts].mean()) if hosts.any() else 0.0
    training.evaluations.append(
        {
            "stage": stage,
            **_of_update(agent, update),
            "validation_reward": mean,
            "validation_net": float(found.net[hosts].mean()) if hosts.any() else 0.0,
            "validation_turnover": float(found.turnover[hosts].mean()) if hosts.any() else 0.0,
            **{
                f"reward_{name.lower()}": _mean(found.reward[hosts & (tape.regime == code)])
                for code, name in enumerate(REGIMES)
            },
        }
    )
    judged = tape.regime == REGIMES.index(stage) if stage in REGIMES else hosts
    daily = daily_returns(tape, np.where(judged, found.reward, 0.0))["value"].to_numpy()
    return mean, daily


def _is_better(training: Training, reward: float, daily: NDArray[np.float64]) -> bool:
    """Whether a reward is the best yet, and shown to beat what the warm-up left, in spite of many looks."""
    warm_up, curriculum = training.warm_up, training.curriculum
    if warm_up is not None:
        looks = curriculum.config.final_evaluations
        if not curriculum.competence(daily - warm_up.to_beat, looks) > 0.0:
            return False
    return training.best is None or reward > training.best[0]


def weights_of(agent: RLTradingAgent) -> dict[str, torch.Tensor]:
    """Copy the weights of an agent's policy."""
    return {name: value.detach().clone() for name, value in agent.policy.state_dict().items()}


def _of_update(agent: RLTradingAgent, update: TrainingUpdate | None) -> dict[str, Any]:
    if update is None:
        return {"update": agent.learner.updates}
    return {
        "update": update.update,
        "decisions": update.decisions,
        "learning_rate": update.learning_rate,
        "reward": update.reward,
        "net": update.net,
        "win_rate": update.win_rate,
        "turnover": update.turnover,
        "entropy": update.losses.entropy,
        "kl": update.losses.kl,
        "explained_variance": update.losses.explained_variance,
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
