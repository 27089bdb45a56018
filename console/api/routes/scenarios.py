"""Scenarios, sessions and what came of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from console.api.reads import scenarios as read_scenarios
from console.api.reads import sessions as read
from console.api.routes.parts import Before, Limit, TheDesk, shown
from console.api.schemas.scenarios import Scenarios
from console.api.schemas.sessions import Episodes, Results, SessionRow
from console.api.schemas.wire import Page, ScenarioName, SessionId
from console.api.security.callers import Viewer

__all__ = ["router"]

router = APIRouter(tags=["scenarios"])


@router.get("/scenarios", operation_id="list_scenarios", response_model=Scenarios)
async def list_scenarios(desk: TheDesk, caller: Viewer) -> Response:
    """Return the five scenarios, and which one suits now, with the figures that this was judged by."""
    return await shown(
        desk,
        ("scenarios",),
        lambda: read_scenarios.scenarios(desk),
        *read_scenarios.TABLES,
        version=desk.store.head,
    )


@router.get("/scenarios/results/{id}", operation_id="get_results", response_model=Results)
async def get_results(
    desk: TheDesk,
    caller: Viewer,
    which: Annotated[
        SessionId | ScenarioName, Path(alias="id", description="A session, or a scenario: its newest one.")
    ],
) -> Response:
    """Return a session with its episodes, the gate's evidence, and what followed."""
    return await shown(
        desk, ("results", which), lambda: read.results(desk, which), version=lambda: read.version(desk)
    )


@router.get("/sessions", operation_id="list_sessions", response_model=Page[SessionRow])
async def list_sessions(
    desk: TheDesk,
    caller: Viewer,
    scenario: Annotated[ScenarioName | None, Query()] = None,
    limit: Limit = 50,
    before: Before = None,
) -> Response:
    """Return sessions, the newest first."""
    return await shown(
        desk,
        ("sessions", scenario, limit, before),
        lambda: read.sessions(desk, scenario, limit, before),
        version=lambda: read.version(desk),
    )


@router.get("/sessions/{id}/episodes", operation_id="list_episodes", response_model=Episodes)
async def list_episodes(
    desk: TheDesk,
    caller: Viewer,
    session: Annotated[SessionId, Path(alias="id")],
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Number of the last one known.")] = 0,
) -> Response:
    """Return the episodes of a session, in order, after one that is known."""
    return await shown(
        desk,
        ("episodes", session, after),
        lambda: read.episodes(desk.store, session, after),
        version=lambda: read.version(desk),
    )
