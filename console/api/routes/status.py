"""Where everything stands."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter
from fastapi.responses import Response

from console.api.reads.status import status
from console.api.routes.parts import TheDesk, shown
from console.api.schemas.status import Me, Status
from console.api.security.callers import Viewer

__all__ = ["router"]

router = APIRouter(tags=["status"])
_VERSION = version("engine-pipeline")


@router.get("/status", operation_id="get_status", response_model=Status)
async def get_status(desk: TheDesk, caller: Viewer) -> Response:
    """Return what runs, what is queued, what is in force, and whether all is well.

    It is read from the parameter store and Dagster alone, so a restart of the console changes nothing of it.
    """
    return await shown(desk, ("status",), lambda: status(desk))


@router.get("/me", operation_id="get_me")
async def get_me(desk: TheDesk, caller: Viewer) -> Me:
    """Return who asks, and where Dagster's UI is."""
    return Me(
        name=caller.name,
        role=caller.role,
        dagster_url=desk.runs.url,
        version=_VERSION,
        source=desk.settings.source,
    )
