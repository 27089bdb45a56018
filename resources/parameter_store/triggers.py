"""What makes a version go back by itself, fixed together with the version and before it is in force."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self

__all__ = ["ArmedTrigger", "RollbackTrigger"]


@dataclass(frozen=True)
class RollbackTrigger:
    """A limit that a version must not cross for some time after it came into force.

    Parameters
    ----------
    metric : str
        Name of the figure that is watched.
    threshold : float
    horizon : timedelta
        How long it is watched.
    when : {"below", "above"}
        On which side of the threshold the version goes back.

    Raises
    ------
    ValueError
        If a part makes no sense.
    """

    metric: str
    threshold: float
    horizon: timedelta
    when: Literal["below", "above"] = "below"

    def __post_init__(self) -> None:
        if not self.metric.strip():
            raise ValueError("a trigger must name the metric that it watches")
        if not math.isfinite(self.threshold):
            raise ValueError(f"threshold = {self.threshold} of {self.metric} must be a finite number")
        if self.horizon <= timedelta(0):
            raise ValueError(f"horizon = {self.horizon} of {self.metric} must be longer than nothing")
        if self.when not in ("below", "above"):
            raise ValueError(f"when = {self.when!r} of {self.metric} must be 'below' or 'above'")

    def fires(self, value: float) -> bool:
        """Tell whether a value lies beyond the threshold; a value that is missing (NaN) does not."""
        return value < self.threshold if self.when == "below" else value > self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Return it for the history."""
        return {
            "metric": self.metric,
            "threshold": self.threshold,
            "horizon_s": self.horizon.total_seconds(),
            "when": self.when,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read it back."""
        horizon = timedelta(seconds=values["horizon_s"])
        return cls(values["metric"], values["threshold"], horizon, values["when"])


@dataclass(frozen=True)
class ArmedTrigger:
    """A trigger of a version that is in force now.

    Parameters
    ----------
    scope : str
    version, replaces : int
        The version watched, and the one to go back to.
    trigger : RollbackTrigger
    since, until : datetime
    """

    scope: str
    version: int
    replaces: int
    trigger: RollbackTrigger
    since: datetime
    until: datetime
