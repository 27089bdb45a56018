"""Other ways to decide, which the gate holds against the one in force."""

from __future__ import annotations

from dataclasses import replace

from engine.portfolio.decide import DecisionConfig
from engine.portfolio.gate_profiles import PROFILES

__all__ = ["alternatives"]


def alternatives(config: DecisionConfig) -> dict[str, DecisionConfig]:
    """Every gate profile, with and without the limit on pairwise correlation, except what is in force.

    The list is fixed: what is tried must not depend on what was seen.
    """
    free = replace(config.portfolio, correlation_limit=1.0, hysteresis=0.0)
    every = {
        f"{name}{note}": replace(config, gates=profile, portfolio=portfolio)
        for name, profile in PROFILES.items()
        for note, portfolio in (("", config.portfolio), (", no correlation limit", free))
    }
    return {name: other for name, other in every.items() if other != config}
