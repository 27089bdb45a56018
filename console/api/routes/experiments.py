"""Shadow runs and A/B tests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path
from fastapi.responses import Response

from console.api.reads import experiments as read
from console.api.routes.parts import Before, Limit, TheDesk, shown
from console.api.schemas.experiments import Experiment, ExperimentRow, StopExperiment
from console.api.schemas.wire import Page, SessionId
from console.api.security.callers import Operator, Viewer

__all__ = ["router"]

router = APIRouter(tags=["experiments"])


@router.get("/experiments", operation_id="list_experiments", response_model=Page[ExperimentRow])
async def list_experiments(
    desk: TheDesk, caller: Viewer, limit: Limit = 50, before: Before = None
) -> Response:
    """Return shadow runs and A/B tests, the newest first."""
    return await shown(
        desk,
        ("experiments", limit, before),
        lambda: read.experiments(desk.store, limit, before),
        version=desk.store.head,
    )


@router.get("/experiments/{id}", operation_id="get_experiment", response_model=Experiment)
async def get_experiment(
    desk: TheDesk, caller: Viewer, experiment: Annotated[SessionId, Path(alias="id")]
) -> Response:
    """Return one experiment with all that was seen in it."""
    return await shown(desk, ("experiment", experiment), lambda: read.experiment(desk.store, experiment))


@router.post("/experiments/{id}/stop", operation_id="stop_experiment")
def stop_experiment(
    desk: TheDesk,
    caller: Operator,
    experiment: Annotated[SessionId, Path(alias="id")],
    body: Annotated[StopExperiment, Body()],
) -> ExperimentRow:
    """End an experiment without a result."""
    return read.stop(desk, experiment, actor=caller.name, reason=body.reason)
