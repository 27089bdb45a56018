"""How agents of a run are trained: as much work as the profile allows, costs and seed of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.settings import Settings

if TYPE_CHECKING:
    from engine.agents.pipeline import RLTrainingPipeline

__all__ = ["training_pipeline"]


def training_pipeline(settings: Settings) -> RLTrainingPipeline:
    """Pipeline of the run: as much work as the profile allows, costs and seed of the settings."""
    from engine.agents.agent_config import AgentConfig
    from engine.agents.curriculum import CurriculumConfig
    from engine.agents.environment import EnvironmentConfig
    from engine.agents.exact_gradient import ExactGradientConfig
    from engine.agents.pipeline import RLTrainingPipeline
    from engine.agents.pipeline_config import PipelineConfig
    from engine.agents.ppo import PPOConfig

    work = settings.work
    environment = EnvironmentConfig(cost=settings.costs.fill_bps / 1e4)
    agent = AgentConfig(
        environment=environment,
        ppo=PPOConfig(learning_rate=1e-3, gamma=0.98, entropy_weight=0.003, minibatch=4_096),
        starts=work.agent_starts,
        seed=settings.seed,
        device=settings.device,
    )
    curriculum = CurriculumConfig(
        stage_evaluations=work.agent_stage_evaluations, final_evaluations=work.agent_final_evaluations
    )
    return RLTrainingPipeline(
        PipelineConfig(
            agent=agent,
            curriculum=curriculum,
            warm_up=ExactGradientConfig(steps=work.agent_warm_up_steps),
            updates_per_evaluation=work.agent_updates,
            fine_tune_evaluations=max(work.agent_tuning_evaluations, 1),
        )
    )
