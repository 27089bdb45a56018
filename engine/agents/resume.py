"""A training between two stages as bytes, so that each stage can be a step of its own."""

from __future__ import annotations

import torch

from engine.agents.pipeline import RLTrainingPipeline, Training
from engine.agents.training_data import TrainingData
from engine.tensors import pack, unpack

__all__ = ["pack_training", "resume_training"]

_KIND, _WEIGHT, _BEST, _LEARNER = "training", "weight.", "best.", "learner."


def pack_training(training: Training) -> bytes:
    """Everything that the next stage depends on, from the weights to the place in the curriculum."""
    best = training.best
    weights = training.agent.policy.state_dict()
    arrays = {
        **{_WEIGHT + name: value.cpu().numpy() for name, value in weights.items()},
        **{_LEARNER + name: value for name, value in training.agent.learner_state().items()},
        **({} if best is None else {_BEST + name: value.cpu().numpy() for name, value in best[1].items()}),
    }
    header = {
        "curriculum": training.curriculum.state_dict(),
        "schedule": None if training.schedule is None else training.schedule.state_dict(),
        "evaluations": training.evaluations,
        "since_best": training.since_best,
        "best": None if best is None else best[0],
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
    return training
