"""An agent on its way through its training, and what comes of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from engine.agents.agent import RLTradingAgent
from engine.agents.curriculum import CurriculumLearner
from engine.agents.learning_rate import AdaptiveLRScheduler
from engine.agents.training_data import TrainingData
from engine.agents.training_update import TrainingUpdate
from engine.regimes.names import REGIMES

__all__ = ["REPORT", "STAYS_OUT", "WARM_UP", "Progress", "TrainedAgent", "Training", "WarmUp"]

WARM_UP = "WARM_UP"
"""Name of what comes before the first stage, in reports."""
STAYS_OUT = "STAYS_OUT"
"""Name of holding nothing, which is what an agent does that has found nothing better."""
REPORT = pl.Schema(
    {
        "stage": pl.String(),
        "update": pl.Int64(),
        "decisions": pl.Int64(),
        **dict.fromkeys(
            (
                "learning_rate",
                "reward",
                "net",
                "win_rate",
                "turnover",
                "entropy",
                "kl",
                "explained_variance",
                "validation_reward",
                "validation_net",
                "validation_turnover",
                *(f"reward_{name.lower()}" for name in REGIMES),
            ),
            pl.Float64(),
        ),
    }
)
"""Columns of the report of a training."""

Progress = Callable[["Training", TrainingUpdate], None]
"""Called after every update with the training and what the update reports."""


@dataclass(frozen=True)
class WarmUp:
    """Where the stages set out from.

    Parameters
    ----------
    reward : float
        Mean per bar of the validation part.
    daily : ndarray
        Rewards there, day by day.
    weights : dict of str to Tensor
    """

    reward: float
    daily: NDArray[np.float64]
    weights: dict[str, torch.Tensor]

    @property
    def pays(self) -> bool:
        """Whether it earns more than staying out does.

        More is not asked for: to stay out of what pays costs far more than to try what does not.
        """
        return self.reward > 0.0

    @property
    def to_beat(self) -> NDArray[np.float64]:
        """Rewards, day by day, of the better of it and staying out."""
        return self.daily if self.pays else np.zeros_like(self.daily)


@dataclass
class Training:
    """An agent on its way through the curriculum, with everything that carries over from stage to stage.

    Parameters
    ----------
    agent : RLTradingAgent
    curriculum : CurriculumLearner
    schedule : AdaptiveLRScheduler or None
    warm_up : WarmUp or None
        The best that the exact gradient led to.
    best : tuple of float and weights, or None
        Highest validation reward of the last stage and the weights that had it, of those that are shown to
        be better than the warm-up and than staying out.
    evaluations : list of dict
        One per evaluation; see `RLTrainingPipeline.train_stage`.
    since_best : int
        Evaluations of the last stage since then.
    """

    agent: RLTradingAgent
    curriculum: CurriculumLearner
    schedule: AdaptiveLRScheduler | None
    warm_up: WarmUp | None = None
    best: tuple[float, dict[str, torch.Tensor]] | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    since_best: int = 0

    @property
    def stage(self) -> str:
        """Name of the stage in force."""
        return self.curriculum.get_current_stage().name


@dataclass(frozen=True)
class TrainedAgent:
    """An agent with what it was trained on and how that went.

    Parameters
    ----------
    agent : RLTradingAgent
        With the weights that were best on the validation part.
    kept : str
        Where they are from: the name of a stage, `WARM_UP` or `STAYS_OUT`.
    data : TrainingData
    report : DataFrame
        One row per evaluation, with the columns of `REPORT`: of the last update before it, and on the
        validation part means per bar, in all and by filtered regime.
    """

    agent: RLTradingAgent
    kept: str
    data: TrainingData
    report: pl.DataFrame
