"""Start and stop trainings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Body, FastAPI, Path

from console.api import training
from console.api.routes.parts import TheDesk
from console.api.schemas.orders import (
    EndScenario,
    Started,
    StartScenario,
    StartTraining,
    Stopped,
    StopTraining,
)
from console.api.schemas.wire import ScenarioName
from console.api.security.callers import Operator

__all__ = ["router"]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    with training.terminating_overdue(app.state.desk):
        yield


router = APIRouter(tags=["training"], lifespan=_lifespan)


@router.post("/start", operation_id="start_training", status_code=202)
def start_training(desk: TheDesk, caller: Operator, body: Annotated[StartTraining, Body()]) -> Started:
    """Launch a run of one scenario, by default the recommended one.

    409 `busy` names the holder where the scope is being trained, or a run for it is queued; of several who
    start at once, one wins.
    """
    return training.start(desk, body.scenario, body, caller.name)


@router.post("/scenarios/{id}/start", operation_id="start_scenario", status_code=202)
def start_scenario(
    desk: TheDesk,
    caller: Operator,
    scenario: Annotated[ScenarioName, Path(alias="id")],
    body: Annotated[StartScenario, Body()],
) -> Started:
    """Launch a run of this scenario; as `start_training`."""
    return training.start(desk, scenario, body, caller.name)


@router.post("/stop", operation_id="stop_training")
def stop_training(desk: TheDesk, caller: Operator, body: Annotated[StopTraining, Body()]) -> Stopped:
    """Stop a session or a run, by default the only one there is.

    A session ends after its episode, and its run is terminated should that take too long; a run that is still
    queued is terminated at once. What is in force stays in force.
    """
    return training.stop(desk, body.session, body.run_id, body.reason, caller.name)


@router.post("/scenarios/stop", operation_id="stop_scenario")
def stop_scenario(desk: TheDesk, caller: Operator, body: Annotated[EndScenario, Body()]) -> Stopped:
    """Stop the scenario that runs; 409 where none does, or several do."""
    return training.stop(desk, None, None, body.reason, caller.name)
