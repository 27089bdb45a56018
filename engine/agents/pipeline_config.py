"""How an agent is trained from market rows to a policy that may be tried."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.agents.agent_config import AgentConfig
from engine.agents.curriculum import CurriculumConfig
from engine.agents.exact_gradient import ExactGradientConfig
from engine.agents.learning_rate import LearningRateConfig
from engine.agents.ppo import PPOConfig
from engine.evaluation.improvements import Improvements

__all__ = ["PipelineConfig"]


@dataclass(frozen=True)
class PipelineConfig:
    """How an agent is trained.

    Parameters
    ----------
    improvements : Improvements
        Which improvements are on.
    agent : AgentConfig
        Replay is set by the improvements. By default few accounts on each bar: what limits learning is the
        noise of the market, which accounts on the same bar share.
    curriculum : CurriculumConfig
        Its natural shares are measured on the training data. Without the curriculum all regimes are trained
        from the start with as many evaluations as its stages have together.
    learning_rate : LearningRateConfig
    warm_up : ExactGradientConfig, optional
        Ascent on the exact expected reward before the first stage; None begins with weights at random. What
        the stages make of it is kept if it is shown to be better on the validation part; where neither earns
        anything there, the agent stays out.
    updates_per_evaluation : int
        Updates between two looks at the validation part.
    fine_tune_evaluations : int
        Evaluations that an agent is tuned for a single symbol.
    patience : int
        Evaluations of the last stage without a new best after which training ends.
    validation_share : float
        Share of the training window, at its end, that is not learned from.
    synthetic_share : float
        Share of the PANIC episodes that are synthetic, where there are any.
    """

    improvements: Improvements = field(default_factory=Improvements)
    agent: AgentConfig = field(
        default_factory=lambda: AgentConfig(
            ppo=PPOConfig(learning_rate=3e-3, gamma=0.98, entropy_weight=0.003, minibatch=2_048), paths=4
        )
    )
    curriculum: CurriculumConfig = field(
        default_factory=lambda: CurriculumConfig(stage_evaluations=1, final_evaluations=5)
    )
    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)
    warm_up: ExactGradientConfig | None = field(default_factory=ExactGradientConfig)
    updates_per_evaluation: int = 5
    fine_tune_evaluations: int = 2
    patience: int = 4
    validation_share: float = 0.3
    synthetic_share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("updates_per_evaluation", "fine_tune_evaluations", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        for name in ("validation_share", "synthetic_share"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie between 0 and 1")
