"""The console's web application: the routes of the API, behind what guards them, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from console.api.desk import Desk
from console.api.guards import guards
from console.api.page import STATIC
from console.api.problems import HANDLED, PROBLEM_RESPONSES, ProblemDetails, answer
from console.api.reads.scenarios import scenarios
from console.api.routes import ROUTERS
from console.api.security.confirmations import Confirmations

__all__ = ["PREFIX", "create_app"]

PREFIX = "/api/rl-training"


def create_app(desk: Desk, *, static: Path = STATIC, loaded: Callable[[], None] | None = None) -> FastAPI:
    """Return the application that works with these things.

    Parameters
    ----------
    desk : Desk
        ``app.state.desk`` of the routes; ``app.state.confirmations`` holds what was shown and is to be
        confirmed.
    static : Path
        Folder of the built page.
    loaded : callable, optional
        Called once all that takes long to load is there.
    """
    paths = [getattr(route, "path", "") for router in ROUTERS for route in router.routes]
    app = FastAPI(
        title="Engine training console",
        version="1.0.0",
        description="Trains the parameters of the live algorithm, and shows and changes those in force.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Nobody collects it, and to find that out with every request takes as long as a guard does.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=partial(_lifespan, loaded=loaded),
        middleware=guards(desk.access, desk.store, desk.answers, PREFIX, paths, static),
    )
    app.state.desk = desk
    app.state.confirmations = Confirmations()
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX, responses=PROBLEM_RESPONSES)
    for error in HANDLED:
        app.add_exception_handler(error, answer)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, loaded: Callable[[], None] | None) -> AsyncIterator[None]:
    desk: Desk = app.state.desk
    # Libraries come with the first look at the warehouse: nobody's first page is to wait for them.
    desk.watch.health()
    first = desk.answers.slow_pool.submit(scenarios, desk)
    if loaded is not None:
        first.add_done_callback(lambda _: loaded())
    yield
    desk.close()


def _document(app: FastAPI) -> dict[str, Any]:
    """Describe the API, with the one form of its problems."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path in document["paths"].values():
            if "post" in path:
                path["post"].setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        app.openapi_schema = document
    return app.openapi_schema


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request is answered as before and does nothing, for a day.",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?$"},
    "example": "b7f1c0de-5a1e-4a51-9f5e-3c1d7a2b9e10",
}
