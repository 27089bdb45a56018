"""Parameters and their versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from console.api.reads import parameters as read
from console.api.routes.parts import Before, Limit, TheDesk, shown
from console.api.schemas.parameters import Holds, Parameters, Targets, VersionRow
from console.api.schemas.wire import Page, ScopeText
from console.api.security.callers import Viewer

__all__ = ["router"]

router = APIRouter(tags=["parameters"])


@router.get("/targets", operation_id="get_targets", response_model=Targets)
async def get_targets(desk: TheDesk, caller: Viewer) -> Response:
    """Return the table of parameters with their bounds, and what each scenario may move."""
    return await shown(desk, ("targets",), lambda: read.TARGETS, version=lambda: None)


@router.get("/parameters", operation_id="get_parameters", response_model=Parameters)
async def get_parameters(
    desk: TheDesk, caller: Viewer, scope: Annotated[ScopeText, Query()] = "global"
) -> Response:
    """Return what is in force in a scope, where each value comes from, and who holds it."""
    return await shown(desk, ("parameters", scope), lambda: read.parameters(desk.store, scope))


@router.get("/versions", operation_id="list_versions", response_model=Page[VersionRow])
async def list_versions(
    desk: TheDesk,
    caller: Viewer,
    scope: Annotated[ScopeText | None, Query()] = None,
    limit: Limit = 50,
    before: Before = None,
) -> Response:
    """Return versions, the newest first."""
    return await shown(
        desk,
        ("versions", scope, limit, before),
        lambda: read.versions(desk.store, scope, limit, before),
        version=desk.store.head,
    )


@router.get("/overrides", operation_id="list_overrides", response_model=Holds)
async def list_overrides(
    desk: TheDesk, caller: Viewer, scope: Annotated[ScopeText | None, Query()] = None
) -> Response:
    """Return what persons hold, by default in all scopes."""
    return await shown(desk, ("overrides", scope), lambda: read.holds(desk.store, scope))
