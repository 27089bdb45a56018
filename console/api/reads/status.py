"""Where everything stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.api.dagster_runs import ACTIVE
from console.api.reads.sessions import episode_row, session_row
from console.api.schemas.parameters import Held
from console.api.schemas.status import (
    ExperimentHeadline,
    PendingApplication,
    Run,
    RunningSession,
    Status,
)

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["status"]


def status(desk: Desk) -> Status:
    """Read it from the store; what Dagster and the warehouse said last is added without waiting for them."""
    store, seen = desk.store, desk.runs.seen()
    now = store.sessions.ledger.now()
    # Before all else: whoever compares it later finds out about what has happened since.
    row = store.head()[0]
    running = []
    for record in store.sessions.running():
        said = store.sessions.progress(record.id)
        last = episode_row(record.id, said[-1]) if said else None
        running.append(RunningSession(**dict(session_row(record, desk, seen, now)), last_episode=last))
    health, missing = desk.watch.health()
    return Status(
        at=now,
        row=row,
        sessions=running,
        runs=[
            Run(
                run_id=run.id,
                run_url=desk.runs.run_url(run.id),
                state=ACTIVE[run.state],
                scenario=run.scenario,
                scope=run.scope,
                actor=run.actor,
                session=run.session,
                created_at=run.created_at,
            )
            for run in seen.active
        ],
        experiments=[
            ExperimentHeadline(
                id=one.id, kind=one.kind, scope=str(one.scope), started_at=one.start, ends_at=one.end
            )
            for one in store.experiments.running()
        ],
        version=store.in_force().version,
        overridden=[Held.of(hold) for hold in store.holds()],
        pending=[
            PendingApplication(key=one.key, scope=str(one.scope), session=one.session, until=one.until)
            for one in store.journal.pending()
        ],
        health=health,
        missing=missing,
    )
