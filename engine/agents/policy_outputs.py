"""What a policy states of a decision, as functions of everything that it looked at: to be explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from engine.agents.policy import OWN_STATE, Policy
from engine.regimes.names import REGIME_COLUMNS, REGIMES

__all__ = ["chosen_log_probability", "input_names"]


def input_names(features: Sequence[str]) -> tuple[str, ...]:
    """Name the inputs of `chosen_log_probability`: features, regime, own state."""
    return (*features, *REGIME_COLUMNS, *OWN_STATE)


def chosen_log_probability(policy: Policy) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Log-probability that a policy gives to actions taken, as a function to explain.

    Its inputs are joined as `input_names` lists them; its context is the actions (n, A) and memories (n, K).
    """

    def log_probability(points: Tensor, action: Tensor, memory: Tensor) -> Tensor:
        embedding, own = _embed(policy, points)
        return policy.evaluate(embedding, own, memory, action).log_prob

    return log_probability


def _embed(policy: Policy, points: Tensor) -> tuple[Tensor, Tensor]:
    bars, p_regime, own = points.split([policy.features, len(REGIMES), len(OWN_STATE)], 1)
    return policy.encode(bars, p_regime), own
