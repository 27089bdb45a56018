"""How large the worlds of an ablation are and how much work a cell does: the same for all variants."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from engine.agents.agent_config import AgentConfig
from engine.agents.curriculum import CurriculumConfig
from engine.agents.environment import EnvironmentConfig
from engine.agents.learning_rate import LearningRateConfig
from engine.agents.pipeline_config import PipelineConfig
from engine.agents.ppo import PPOConfig
from engine.errors import NotEnoughDataError
from engine.evaluation.improvements import Improvements
from engine.evaluation.splits import Split, Window

__all__ = ["BAR", "CODE_VERSION", "VALIDATION_SHARE", "AblationSetup"]

BAR = timedelta(hours=1)
"""Bars that the features are meant for."""
CODE_VERSION = "1"
"""Raised by hand when a world, an agent or a cell would come out otherwise; older ones are then not used."""
VALIDATION_SHARE = 0.2
"""Share of the training window, at its end, by which an agent is judged."""
_WARMUP_DAYS = 52
"""Before the training window: what the regimes and the longest feature need."""


@dataclass(frozen=True)
class AblationSetup:
    """Budget of a cell.

    Parameters
    ----------
    symbols : tuple of str
        Of the simulated market.
    train_days, calibrate_days, test_days : int
        Windows, which follow each other with a purge between them.
    horizon : int
        Bars that a label spans.
    cost : float
        Fee and half spread, a fraction of what is traded.
    starts, paths, updates_per_evaluation, final_evaluations : int
        Work of the training; each stage of the curriculum has one evaluation, so that every variant makes
        the same number of decisions.
    learning_rate : float
    minibatch : int
        Decisions of a gradient step.
    target_reward : float
        Validation reward by which learning speed is told, fixed before anything was compared: at 0 the agent
        is as good as one that stays out.
    encoder_steps, boosting_rounds, ctgan_updates : int
        Work of the world: updates of the encoder of patterns, trees behind the pruning, updates of CTGAN.
    gates : str
        Profile whose sentiment gate is used.
    device : str
    """

    symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT")
    train_days: int = 540
    calibrate_days: int = 90
    test_days: int = 120
    horizon: int = 24
    cost: float = 6e-4
    starts: int = 32
    paths: int = 16
    updates_per_evaluation: int = 4
    final_evaluations: int = 6
    learning_rate: float = 3e-3
    minibatch: int = 4_096
    target_reward: float = 0.0
    encoder_steps: int = 40
    boosting_rounds: int = 60
    ctgan_updates: int = 60
    gates: str = "balanced"
    device: str = "cpu"

    @property
    def purge(self) -> timedelta:
        """Span of a label from the open of its decision bar."""
        return (self.horizon + 1) * BAR

    @property
    def days(self) -> int:
        """Days of data that a world needs."""
        windows = self.train_days + self.calibrate_days + self.test_days
        return _WARMUP_DAYS + windows + -(-2 * self.purge // timedelta(days=1))

    def split(self, start: datetime, end: datetime) -> Split:
        """Cut the newest windows out of bars that open in ``[start, end)``.

        Raises
        ------
        NotEnoughDataError
            If the bars are too few.
        """
        if end - start < timedelta(days=self.days):
            raise NotEnoughDataError(
                f"{(end - start) / timedelta(days=1):.1f} days of bars; training, calibration, test, warm-up"
                f" need {self.days}"
            )
        test = Window(end - timedelta(days=self.test_days), end)
        known = test.start - self.purge
        calibrate = Window(known - timedelta(days=self.calibrate_days), known)
        learned = calibrate.start - self.purge
        train = Window(learned - timedelta(days=self.train_days), learned)
        return Split(0, train, calibrate, test, self.purge, timedelta(0))

    def pipeline(self, improvements: Improvements, seed: int) -> PipelineConfig:
        """Configure the training of a cell; it runs to its end, and so does the cycle of an adaptive rate."""
        curriculum = CurriculumConfig(stage_evaluations=1, final_evaluations=self.final_evaluations)
        evaluations = len(curriculum.order) + self.final_evaluations
        agent = AgentConfig(
            environment=EnvironmentConfig(cost=self.cost),
            ppo=PPOConfig(
                learning_rate=self.learning_rate, gamma=0.98, entropy_weight=0.003, minibatch=self.minibatch
            ),
            starts=self.starts,
            paths=self.paths,
            seed=seed,
            device=self.device,
        )
        return PipelineConfig(
            improvements=improvements,
            agent=agent,
            curriculum=curriculum,
            learning_rate=LearningRateConfig(cycle=evaluations * self.updates_per_evaluation),
            # Most of the improvements are about how PPO learns: it has to do all of the learning.
            warm_up=None,
            updates_per_evaluation=self.updates_per_evaluation,
            patience=evaluations,
            validation_share=VALIDATION_SHARE,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
