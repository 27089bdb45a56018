"""Training of a variant's agent, with a network of the same size whatever its kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from engine.ablation.inputs import agent_features
from engine.ablation.setup import AblationSetup
from engine.ablation.world import World
from engine.agents.actor_critic import ActorCritic
from engine.agents.agent import PolicyFactory, RLTradingAgent
from engine.agents.agent_config import state_width
from engine.agents.capacity import matching_width, parameter_count
from engine.agents.decisions import greedy_decisions
from engine.agents.expert_options import ExpertOptionsAgent
from engine.agents.experts import ExpertsConfig, MoEAgent
from engine.agents.options import HierarchicalRLAgent, OptionsConfig
from engine.agents.pipeline import RLTrainingPipeline
from engine.agents.policy import Policy
from engine.agents.tape import MarketTape
from engine.agents.training import TrainedAgent, Training
from engine.agents.training_data import TrainingData
from engine.evaluation.improvements import Improvements

__all__ = [
    "AgentDecisions",
    "EqualCapacityPipeline",
    "SystemTraining",
    "decide",
    "equal_capacity",
    "learnt_with",
    "train_agent",
]

Floats = NDArray[np.float64]

_LEARNT_WITH = ("adaptive_lr", "prioritized_replay", "options", "experts", "curriculum", "synthetic_panic")

_OF_WIDTH: Mapping[tuple[bool, bool], Callable[[int, int, int], Policy]] = {
    (False, False): ActorCritic,
    (True, False): lambda features, levels, width: MoEAgent.of(features, levels, ExpertsConfig(hidden=width)),
    (False, True): lambda features, levels, width: HierarchicalRLAgent.of(
        features, levels, OptionsConfig(n_actions=levels, hidden=width)
    ),
    (True, True): lambda features, levels, width: ExpertOptionsAgent.of(
        features, levels, OptionsConfig(n_actions=levels, hidden=width)
    ),
}
"""How to make a policy of some width, with or without experts and options."""
_FLAT_WIDTH = 64


def equal_capacity(on: Improvements) -> PolicyFactory:
    """Policy that the improvements ask for, with about as many coefficients as the flat one has."""
    make = _OF_WIDTH[on.experts, on.options]

    def policy(features: int, levels: int) -> Policy:
        if make is ActorCritic:
            return ActorCritic(features, levels, _FLAT_WIDTH)
        with torch.device("meta"):
            target = parameter_count(ActorCritic(features, levels, _FLAT_WIDTH))
        width = matching_width(lambda width: make(features, levels, width), target)
        return make(features, levels, width)

    return policy


class EqualCapacityPipeline(RLTrainingPipeline):
    """The pipeline with networks of equal size: what is compared are kinds of policy, not their sizes."""

    def begin(self, data: TrainingData) -> Training:
        """Make a fresh agent, before its first stage."""
        training = super().begin(data)
        config = training.agent.config
        agent = RLTradingAgent(
            state_width(len(data.train.features)),
            len(config.environment.levels),
            config,
            equal_capacity(self.config.improvements),
        )
        return replace(training, agent=agent, schedule=self._schedule(agent))


@dataclass(frozen=True)
class SystemTraining:
    """A trained agent, the features it looks at, and decisions per second of processor time."""

    trained: TrainedAgent
    features: tuple[str, ...]
    decisions_per_second: float


@dataclass(frozen=True)
class AgentDecisions:
    """What an agent decided on every bar after its training, and how the training went.

    Parameters
    ----------
    position, confidence : ndarray, shape (N,)
        What it holds, a fraction of a symbol's share, and the probability that its policy gave to that.
    report : DataFrame
        Evaluations of the training, columns `engine.agents.training.REPORT`.
    decisions_per_second : float
        Of processor time, while it was trained.
    """

    position: Floats
    confidence: Floats
    report: pl.DataFrame
    decisions_per_second: float


def learnt_with(on: Improvements) -> Improvements:
    """Switches that the training itself sees; others reach the agent by its features, or not at all."""
    return Improvements.only(*(key for key in on.enabled if key in _LEARNT_WITH))


def train_agent(world: World, on: Improvements, setup: AblationSetup, seed: int) -> SystemTraining:
    """Train on the training window alone."""
    features = agent_features(world, on)
    pipeline = EqualCapacityPipeline(setup.pipeline(learnt_with(on), seed))
    began = time.process_time()
    trained = pipeline.train(
        world.rows.filter(world.split.train.mask()),
        features=features,
        window=world.split.train,
        purge=world.split.purge,
        synthetic=world.synthetic,
    )
    spent = time.process_time() - began
    last = trained.report.row(-1, named=True)
    return SystemTraining(trained, features, last["update"] * last["decisions"] / spent)


def decide(system: SystemTraining, rows: pl.DataFrame) -> AgentDecisions:
    """Let the agent decide on every bar after its training, from flat on the first."""
    agent = system.trained.agent
    tape = MarketTape.from_frame(rows, system.features, system.trained.data.scaler)
    made = greedy_decisions(agent.policy, tape, agent.config.environment, agent.device)
    levels = np.array(agent.config.environment.levels)
    return AgentDecisions(
        levels[made.level],
        made.confidence.cpu().numpy().astype(np.float64),
        system.trained.report,
        system.decisions_per_second,
    )
