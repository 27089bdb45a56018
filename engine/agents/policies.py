"""Which policy the improvements ask for."""

from __future__ import annotations

from collections.abc import Mapping

from engine.agents.actor_critic import ActorCritic
from engine.agents.agent import PolicyFactory
from engine.agents.expert_options import ExpertOptionsAgent
from engine.agents.experts import MoEAgent
from engine.agents.options import HierarchicalRLAgent
from engine.evaluation.improvements import Improvements

__all__ = ["POLICIES", "policy_factory"]

POLICIES: Mapping[str, PolicyFactory] = {
    ActorCritic.__name__: ActorCritic,
    MoEAgent.__name__: MoEAgent.of,
    HierarchicalRLAgent.__name__: HierarchicalRLAgent.of,
    ExpertOptionsAgent.__name__: ExpertOptionsAgent.of,
}
"""How to make each policy from numbers of features and levels, by the name of its class."""


def policy_factory(improvements: Improvements) -> PolicyFactory:
    """Policy with experts, with options, with both or flat."""
    kind = {
        (False, False): ActorCritic,
        (True, False): MoEAgent,
        (False, True): HierarchicalRLAgent,
        (True, True): ExpertOptionsAgent,
    }[improvements.experts, improvements.options]
    return POLICIES[kind.__name__]
