"""Shadow runs and A/B tests."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from console.api.schemas.changes import ValueChange
from console.api.schemas.wire import Asked, Moment, Reason, Wire, example

__all__ = ["Experiment", "ExperimentRow", "Observation", "StopExperiment", "Verdict"]


class StopExperiment(Asked):
    """Why an experiment is to end without a result."""

    model_config = example(reason="the listing made it pointless")

    reason: Reason


class Verdict(Wire):
    """What came of an experiment."""

    verdict: str = Field(description="promote, keep or void.")
    reasons: list[str]
    effect: float | None = Field(description="Candidate less live, in the metric.")
    low: float | None
    high: float | None
    p_value: float | None
    sample_ratio_p: float | None


class ExperimentRow(Wire):
    """A comparison on live bars."""

    model_config = example(
        id="0f5b1b1c2d3e4f5061728394a5b6c7d8", kind="shadow", scope="global", state="running",
        session="56fae58cbaf24572b5c5b06d32de0b3e", baseline=0, metric="net return per day",
        started_at="2026-11-22T02:44:27Z", ends_at="2026-12-22T02:44:27Z", actor="ann",
        reason="promoted by the gate", result=None,
        changes=[{"parameter": "socialGo", "before": 0.75, "after": 0.87, "unit": "score"}],
    )  # fmt: skip

    id: str
    kind: str = Field(description="shadow or ab.")
    scope: str
    state: str = Field(description="running, concluded or stopped.")
    session: str | None
    baseline: int = Field(description="Version compared with; 0: the defaults.")
    metric: str
    started_at: Moment
    ends_at: Moment
    actor: str
    reason: str
    changes: list[ValueChange] = Field(description="From the baseline to the candidate.")
    result: Verdict | None


class Observation(Wire):
    """One thing seen: a day of a shadow, or a unit of an A/B test."""

    number: int
    key: str
    at: Moment
    content: dict[str, Any]


class Experiment(ExperimentRow):
    """An experiment with all that was seen in it."""

    candidate: dict[str, float]
    observations: list[Observation]
