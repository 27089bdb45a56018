"""A training between two stages as bytes, so that each stage can be a step of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from engine.agents.pipeline import RLTrainingPipeline
from engine.agents.training import Training, WarmUp
from engine.agents.training_data import TrainingData
from engine.tensors import pack, unpack

__all__ = ["pack_training", "resume_training"]

_KIND, _WEIGHT, _BEST, _WARM_UP, _LEARNER = "training", "weight.", "best.", "warm_up.", "learner."
_DAILY = "warm_up_daily"


def pack_training(training: Training) -> bytes:
    """Everything that the next stage depends on, from the weights to the place in the curriculum."""
    best, warm_up = training.best, training.warm_up
    arrays = {
        **_under(_WEIGHT, training.agent.policy.state_dict()),
        **{_LEARNER + name: value for name, value in training.agent.learner_state().items()},
        **({} if best is None else _under(_BEST, best[1])),
        **({} if warm_up is None else {**_under(_WARM_UP, warm_up.weights), _DAILY: warm_up.daily}),
    }
    header = {
        "curriculum": training.curriculum.state_dict(),
        "schedule": None if training.schedule is None else training.schedule.state_dict(),
        "evaluations": training.evaluations,
        "since_best": training.since_best,
        "best": None if best is None else best[0],
        "warm_up": None if warm_up is None else warm_up.reward,
    }
    return pack(_KIND, header, arrays)


def resume_training(pipeline: RLTrainingPipeline, data: TrainingData, content: bytes) -> Training:
    """Go on exactly from where `pack_training` was called.

    Parameters
    ----------
    pipeline : RLTrainingPipeline
        With the same config.
    data : TrainingData
        The same data: replayed fragments point into its rows.
    content : bytes

    Raises
    ------
    DataError
        If the bytes hold no training.
    """
    header, arrays = unpack(_KIND, content)

    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {
            k.removeprefix(prefix): torch.from_numpy(v) for k, v in arrays.items() if k.startswith(prefix)
        }

    training = pipeline.begin(data)
    training.agent.policy.load_state_dict(under(_WEIGHT))
    learner = {k.removeprefix(_LEARNER): v for k, v in arrays.items() if k.startswith(_LEARNER)}
    training.agent.load_learner_state(learner, data.train)
    training.curriculum.load_state_dict(header["curriculum"])
    if training.schedule is not None:
        training.schedule.load_state_dict(header["schedule"])
    training.evaluations = header["evaluations"]
    training.since_best = header["since_best"]
    if header["best"] is not None:
        training.best = header["best"], under(_BEST)
    if header["warm_up"] is not None:
        training.warm_up = WarmUp(header["warm_up"], arrays[_DAILY], under(_WARM_UP))
    return training


def _under(prefix: str, weights: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {prefix + name: value.cpu().numpy() for name, value in weights.items()}
