"""The audit trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from console.api.reads import history as read
from console.api.routes.parts import Before, Limit, TheDesk, shown
from console.api.schemas.history import HistoryRow
from console.api.schemas.status import Verification
from console.api.schemas.wire import Page, ScopeText
from console.api.security.callers import Viewer

__all__ = ["router"]

router = APIRouter(tags=["history"])


@router.get("/history", operation_id="list_history", response_model=Page[HistoryRow])
async def list_history(
    desk: TheDesk,
    caller: Viewer,
    scope: Annotated[ScopeText | None, Query()] = None,
    limit: Limit = 50,
    before: Before = None,
) -> Response:
    """Return the audit trail, the newest first."""
    return await shown(
        desk,
        ("history", scope, limit, before),
        lambda: read.history(desk.store, scope, limit, before),
        version=desk.store.head,
    )


@router.get("/verify", operation_id="verify_history", response_model=Verification)
async def verify_history(
    desk: TheDesk,
    caller: Viewer,
    head: Annotated[
        str | None,
        Query(pattern=r"^[0-9a-f]{64}$", description="Hash of the last row at an earlier time."),
    ] = None,
) -> Response:
    """Walk along the history and find the first row that is not as it was written."""
    return await shown(desk, ("verify", head), lambda: read.verification(desk, head))
