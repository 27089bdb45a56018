"""The event stream."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

from console.api.routes.parts import TheDesk
from console.api.schemas.events import EventData
from console.api.security.callers import Viewer

__all__ = ["router"]

router = APIRouter(tags=["events"])


class EventStream(Response):
    """What the document calls the answer."""

    media_type = "text/event-stream"


@router.get(
    "/events",
    operation_id="stream_events",
    responses={200: {"model": EventData, "description": "Events, until the client goes."}},
    response_class=EventStream,
)
async def stream_events(
    desk: TheDesk,
    caller: Viewer,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=2_000)] = None,
) -> Response:
    """Stream what happens, within a second: episodes, stages, parameters, decisions, experiments, status.

    `event` names the kind and `data` is the JSON of that member of EventData. Whoever comes back with the
    header Last-Event-ID gets what happened since; `reset` says that this is too much, and that all is to be
    read anew.
    """
    return desk.events.response(last)
