"""Sessions of training: where they stand, their episodes, and the evidence that they were judged by."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from console.api.schemas.changes import ValueChange
from console.api.schemas.wire import Moment, Wire, example

__all__ = [
    "EpisodeRow",
    "Episodes",
    "Evidence",
    "Front",
    "Guardrail",
    "Results",
    "SearchedSet",
    "SessionRow",
    "Stop",
    "StressRow",
    "Window",
]


class EpisodeRow(Wire):
    """What a session said about one episode."""

    model_config = example(
        session="56fae58cbaf24572b5c5b06d32de0b3e", number=3, episode=3, episodes=10,
        at="2026-11-22T02:44:26Z", mean_score=-0.46, best_score=0.236, best_so_far=0.236, searched=97,
        best={"volPctBreakout": 72.0, "socialGo": 0.67, "costCapBps": 8.0},
    )  # fmt: skip

    session: str
    number: int = Field(description="Of the report; an episode searched again is reported again.")
    episode: int = Field(description="From 1.")
    episodes: int = Field(description="How many there will be at most.")
    at: Moment
    mean_score: float | None = Field(description="Of its candidates, by the goal.")
    best_score: float | None
    best_so_far: float | None
    searched: int = Field(description="Different sets so far.")
    best: dict[str, float] = Field(description="The best set so far.")


class Stop(Wire):
    """Who asked a session to stop."""

    actor: str
    reason: str
    at: Moment


class SessionRow(Wire):
    """A session."""

    model_config = example(
        id="56fae58cbaf24572b5c5b06d32de0b3e", scenario="quick_tune", title="Quick tune", scope="global",
        status="search", running=True, alive=True, actor="ann", reason="confidence fell",
        holder="process 4711 on desk", started_at="2026-11-22T02:44:25Z",
        lease_until="2026-11-22T02:49:26Z", ended_at=None, stop=None, run_id=None, run_url=None, mode="apply",
        method="pgpe", symbols=["BTC/USDT"], episodes=10, verdict=None, promoted=False, version=None,
        experiment=None, why=None,
    )  # fmt: skip

    id: str
    scenario: str
    title: str
    scope: str
    status: str = Field(description="Stage while it runs; how it ended afterwards.")
    running: bool
    alive: bool = Field(description="False where it runs, but its process has not renewed the lease.")
    actor: str
    reason: str
    holder: str
    started_at: Moment
    lease_until: Moment
    ended_at: Moment | None
    stop: Stop | None
    run_id: str | None = Field(description="Dagster run; null where it is not known.")
    run_url: str | None
    mode: str | None
    method: str | None
    symbols: list[str] = Field(description="None stands for all.")
    episodes: int = Field(description="As many as it was asked to search.")
    verdict: str | None = Field(description="How it ended; null while it runs.")
    promoted: bool
    version: int | None = Field(description="Version that came of it.")
    experiment: str | None = Field(description="Experiment that came of it.")
    why: str | None = Field(description="Why it ended as it did, in words.")


class Window(Wire):
    """A stretch of the market."""

    start: Moment
    end: Moment


class Guardrail(Wire):
    """A figure that must not get worse than a limit."""

    name: str
    baseline: float | None
    candidate: float | None
    limit: float | None
    passed: bool


class StressRow(Wire):
    """A worse market, and how far the account would have fallen in it."""

    stress: str = Field(description="Kind; calm: the window as it was, which refuses nothing.")
    meaning: str
    paths: int
    incumbent: float | None = Field(description="Largest fall, mean over paths, of what is in force.")
    candidate: float | None = Field(description="Likewise of what was judged.")
    difference: float | None
    low: float | None
    high: float | None
    allowed: float | None = Field(description="Difference that passes.")
    worst: float | None = Field(description="Largest difference on a path.")
    passed: bool


class SearchedSet(Wire):
    """A set that was searched, on the window that was searched."""

    parameters: dict[str, float]
    score: float | None = Field(description="By the goal.")
    annual_return: float | None = Field(description="Compound.")
    risk: float | None = Field(description="Largest drawdown.")
    cost: float | None = Field(description="Of equity a year.")


class Front(Wire):
    """The sets that nothing else searched beats in return, risk and cost at once."""

    size: int
    sets: list[SearchedSet] = Field(description="At most 24 of them, by risk.")
    in_force: SearchedSet
    promoted: SearchedSet | None


class Evidence(Wire):
    """What the gate found on the window that the search never saw."""

    promoted: bool
    reasons: list[str]
    statistic: str = Field(description="mean or sharpe, per period.")
    periods: int
    trades: int
    searched: int = Field(description="Family of the test, the set in force among them.")
    tested: int
    improvement: float | None
    low: float | None
    high: float | None
    p_value: float | None = Field(description="Of no improvement, adjusted for the family.")
    alpha: float | None = Field(description="Level that this attempt was tested at.")
    probability_of_improvement: float | None
    minimum_detectable_effect: float | None
    baseline: float | None
    value: float | None
    guardrails: list[Guardrail]
    stress: list[StressRow] = Field(description="Empty where nothing was judged under stress.")
    search: Window | None
    evidence: Window | None
    judged: dict[str, float] = Field(description="What was promoted, or came nearest.")
    changes: list[ValueChange] = Field(description="From what was in force to what was judged.")


class Episodes(Wire):
    """The episodes of a session, in order."""

    session: str
    episodes: int
    items: list[EpisodeRow]


class Results(Wire):
    """All that is known of one session."""

    session: SessionRow
    episodes: list[EpisodeRow]
    evidence: Evidence | None = Field(description="Null until the gate has judged.")
    front: Front | None = Field(description="Null where nothing was searched.")
    attempt: int | None = Field(description="Number of the attempt on the scope, from 1.")
    expected: int | None = Field(description="Version that it was measured against; 0: the defaults.")
    elapsed_s: float | None
    evaluations: int | None
    can_apply: bool = Field(description="Whether it promoted something that is not in force yet.")
    followed: list[dict[str, Any]] = Field(description="Rows of the history about it, the oldest first.")
