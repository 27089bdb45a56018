"""Engines that read what was learned: the memory of similar patterns, and the trained agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.alpha.signals import AlphaEngine, Columns, Condition, Opinion, graded

__all__ = ["Agent", "PatternMemory"]


@dataclass(frozen=True)
class PatternMemory(AlphaEngine):
    """Expect what followed the most similar past patterns, where enough of them agree.

    Reads ``pattern_mean`` (mean log return after the neighbours over the horizon),
    ``pattern_up`` (share of them that rose, 0 to 1) and ``pattern_count`` (how many there were).

    Parameters
    ----------
    neighbours : float
        Least count.
    least, full : float
        Share of the neighbours on the side of the mean: where a signal begins, and where its strength is 1.
        The share is also the raw confidence.
    move : float
        Least size of the mean log return; the default is the cost of a round trip.
    horizon : int
        Bars; that over which the memory recorded what followed.
    """

    neighbours: float = 10.0
    least: float = 0.60
    full: float = 0.90
    move: float = 12e-4
    horizon: int = 24
    name: ClassVar[str] = "pattern_memory"
    inputs: ClassVar[tuple[str, ...]] = ("pattern_mean", "pattern_up", "pattern_count")

    def __post_init__(self) -> None:
        self._require_positive("neighbours", "move")
        if not 0.5 <= self.least < self.full <= 1.0:
            raise ValueError(f"least={self.least}, full={self.full} must rise within [0.5, 1]")

    def opinion(self, x: Columns) -> Opinion:
        """Side that the neighbours went to."""
        mean, up = x["pattern_mean"], x["pattern_up"]
        agreeing = np.where(mean > 0.0, up, 1.0 - up)
        return Opinion(
            np.sign(mean) * graded(agreeing, self.least, self.full),
            (
                Condition("neighbours", x["pattern_count"], self.neighbours),
                Condition("share on the side of their mean", agreeing, self.least),
                Condition("mean log return", np.abs(mean), self.move),
            ),
            confidence=agreeing,
        )


@dataclass(frozen=True)
class Agent(AlphaEngine):
    """Hold what the trained agent would hold.

    Reads ``agent_position`` (target exposure, -1 to 1) and ``agent_confidence`` (probability that the agent
    gave to it).

    Parameters
    ----------
    least : float
        Least target of either side, fraction of equity.
    horizon : int
        Bars until it is asked again.
    """

    least: float = 0.20
    horizon: int = 12
    name: ClassVar[str] = "agent"
    inputs: ClassVar[tuple[str, ...]] = ("agent_position", "agent_confidence")

    def __post_init__(self) -> None:
        self._require_positive("least")

    def opinion(self, x: Columns) -> Opinion:
        """Take the target as it is."""
        target = x["agent_position"]
        return Opinion(
            target,
            (
                Condition("target exposure", np.abs(target), self.least),
                Condition("target exposure", np.abs(target), 1.0, at_most=True),
            ),
            confidence=x["agent_confidence"],
        )
