"""Where everything stands."""

from __future__ import annotations

from pydantic import Field

from console.api.schemas.parameters import Held
from console.api.schemas.sessions import EpisodeRow, SessionRow
from console.api.schemas.wire import Missing, Moment, Wire, example

__all__ = [
    "ChainHealth",
    "DagsterHealth",
    "DataHealth",
    "ExperimentHeadline",
    "Health",
    "Me",
    "ModelHealth",
    "PendingApplication",
    "Run",
    "RunningSession",
    "Status",
    "Verification",
]


class Me(Wire):
    """Who asks, and what the console is."""

    model_config = example(
        name="ann", role="operator", dagster_url="http://127.0.0.1:3000", version="0.1.0",
        source="simulated",
    )  # fmt: skip

    name: str
    role: str = Field(description="viewer or operator.")
    dagster_url: str
    version: str = Field(description="Of the package.")
    source: str = Field(description="Where market data comes from: simulated, files or exchange.")


class Run(Wire):
    """A Dagster run of optimize_parameters that has not ended."""

    run_id: str
    run_url: str
    state: str = Field(description="queued, starting, started or canceling.")
    scenario: str | None
    scope: str
    actor: str | None
    session: str | None = Field(description="Once a process holds it.")
    created_at: Moment | None


class RunningSession(SessionRow):
    """A session that runs, and what it said last."""

    last_episode: EpisodeRow | None


class ExperimentHeadline(Wire):
    """An experiment that runs."""

    id: str
    kind: str = Field(description="shadow or ab.")
    scope: str
    started_at: Moment
    ends_at: Moment


class PendingApplication(Wire):
    """What was promoted and is not in force yet."""

    key: str
    scope: str
    session: str | None
    until: Moment


class DataHealth(Wire):
    """How fresh the market data is."""

    newest_bar: Moment | None = Field(description="Open of the newest bar.")
    known_at: Moment | None = Field(description="When it was complete.")
    bar_s: float
    age_s: float | None = Field(description="Null where the market is recorded or simulated.")
    stale: bool
    symbols: int
    newest_decision: Moment | None


class ModelHealth(Wire):
    """Which models there are."""

    count: int
    newest_window_end: Moment | None
    champion: str | None
    champion_reason: str | None


class DagsterHealth(Wire):
    """Whether runs can be launched."""

    reachable: bool | None = Field(
        description="Null: it has not answered yet; the console began a moment ago, and it may be starting."
    )
    url: str
    detail: str | None = Field(description="What to do where it is not.")


class ChainHealth(Wire):
    """Whether the history is as it was written, when that was last looked at."""

    intact: bool | None
    rows: int
    checked_at: Moment | None


class Health(Wire):
    """Of data, models, orchestrator and history."""

    data: DataHealth
    models: ModelHealth
    dagster: DagsterHealth
    chain: ChainHealth


class Status(Wire):
    """Where everything stands."""

    model_config = example(
        at="2026-11-22T02:44:27Z", row=17, sessions=[], runs=[], experiments=[], version=3, overridden=[],
        pending=[], missing=[],
        health={
            "data": {
                "newest_bar": "2025-06-23T23:00:00Z", "known_at": "2025-06-24T00:00:00Z", "bar_s": 3600,
                "age_s": None, "stale": False, "symbols": 4, "newest_decision": "2025-06-23T23:00:00Z",
            },
            "models": {
                "count": 3, "newest_window_end": "2025-03-27T00:00:00Z", "champion": None,
                "champion_reason": None,
            },
            "dagster": {"reachable": True, "url": "http://127.0.0.1:3000", "detail": None},
            "chain": {"intact": True, "rows": 17, "checked_at": "2026-11-22T02:44:00Z"},
        },
    )  # fmt: skip

    at: Moment
    row: int = Field(description="Number of the newest row of the history.")
    sessions: list[RunningSession]
    runs: list[Run] = Field(description="Runs of Dagster that have not ended, queued ones among them.")
    experiments: list[ExperimentHeadline]
    version: int = Field(description="In force globally; 0: the defaults.")
    overridden: list[Held] = Field(description="All that is held, in any scope.")
    pending: list[PendingApplication]
    health: Health
    missing: list[Missing]


class Verification(Wire):
    """What a walk along the history found."""

    model_config = example(
        intact=True, rows=17, head="9f86d081884c7d65...", broken_row=None,
        reason="17 rows, each as it was written", checked_at="2026-11-22T02:44:00Z",
    )  # fmt: skip

    intact: bool
    rows: int
    head: str
    broken_row: int | None
    reason: str
    checked_at: Moment
