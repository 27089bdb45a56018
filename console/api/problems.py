"""What the API refuses, as problem details (RFC 9457): the bound, the holder or the parameter is named."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import EngineError, NotEnoughDataError
from resources.parameter_store import (
    BusyError,
    ChainBrokenError,
    LeaseLostError,
    OverriddenError,
    RefusedError,
    StaleBaseline,
    StoreError,
    UnknownError,
    UnreachableError,
)
from resources.warehouse import WarehouseError

__all__ = [
    "HANDLED",
    "PROBLEM_RESPONSES",
    "Problem",
    "ProblemDetails",
    "Problems",
    "answer",
    "problem_of",
    "response_of",
]

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818  the name of RFC 9457
    """A request that is answered with a problem document.

    Parameters
    ----------
    status : int
        Of HTTP.
    kind : str
        In kebab case; the document's type is ``urn:engine:problem:`` with it.
    detail : str
        What is wrong with this request, and what to do.
    title : str, optional
        What is wrong in general; by default the status in words.
    headers : mapping, optional
        Of the response.
    **members
        Further members, such as ``parameter``, ``low``, ``high``, ``holder`` or ``session``.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.title = title or HTTPStatus(status).phrase
        self.headers = dict(headers or {})
        self.members = members

    def document(self, instance: str) -> dict[str, Any]:
        """Return the document, for the path that was asked for."""
        return {
            "type": f"urn:engine:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **jsonable_encoder(self.members),
        }


class ProblemDetails(BaseModel):
    """A problem document; members beside these name what is concerned."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:engine:problem:busy",
                    "title": "Another session runs",
                    "status": 409,
                    "detail": "global: quick_tune is already running as session 4f1c",
                    "instance": "/api/rl-training/start",
                    "session": "4f1c",
                }
            ]
        },
    )

    type: str = Field(description="urn:engine:problem: and a name that programs can go by.")
    title: str = Field(description="What is wrong in general.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What is wrong with this request, and what to do.")
    instance: str = Field(description="The path that was asked for.")


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


PROBLEM_RESPONSES = _documented(400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 428, 429, 500, 503)
"""What any route may answer with beside its own answer, for the OpenAPI document."""


def problem_of(error: Exception) -> Problem:
    """Return the problem that an error is answered with; of what was not foreseen nothing is told."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError | ValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        kind = status.phrase.lower().replace(" ", "-")
        return Problem(status, kind, str(error.detail), headers=error.headers)
    if isinstance(error, StoreError):
        return _of_the_store(error)
    if isinstance(error, WarehouseError):
        # Such as while a step writes to it.
        again = {"Retry-After": "5"}
        return Problem(503, "warehouse-unavailable", str(error), title="No warehouse to read", headers=again)
    if isinstance(error, NotEnoughDataError):
        return Problem(409, "not-enough-data", str(error), title="Not enough data")
    if isinstance(error, EngineError | ValueError):
        return Problem(422, "invalid-request", str(error), title="Not possible as asked for")
    return Problem(500, "unexpected", "something failed that was not foreseen; the console's log has it")


def _invalid(error: RequestValidationError | ValidationError) -> Problem:
    found = []
    for each in error.errors():
        place = [str(part) for part in each["loc"]]
        bounds = {
            wire: each["ctx"][name]
            for name, wire in (("ge", "low"), ("gt", "above"), ("le", "high"), ("lt", "below"))
            if name in each.get("ctx", {})
        }
        message = each["msg"].removeprefix("Value error, ")
        found.append({"at": ".".join(place), "message": message, "kind": each["type"], **bounds})
    detail = "; ".join(f"{one['at']}: {one['message']}" if one["at"] else one["message"] for one in found[:5])
    first: dict[str, Any] = found[0] if found else {}
    members: dict[str, Any] = {name: first[name] for name in ("low", "high") if name in first}
    if first.get("at"):
        members["parameter"] = first["at"].rpartition(".")[2]
    return Problem(
        422, "invalid-request", detail, title="Not possible as asked for", errors=found[:50], **members
    )


def _of_the_store(error: StoreError) -> Problem:
    text = str(error)
    if isinstance(error, BusyError):
        running = error.running
        return Problem(
            409,
            "busy",
            text,
            title="Another session runs",
            session=running.id,
            scenario=running.scenario,
            scope=str(running.scope),
            holder=str(running.holder),
            until=running.lease_until,
        )
    if isinstance(error, StaleBaseline):
        version = 0 if error.found is None else error.found.version
        return Problem(
            409,
            "stale-baseline",
            text,
            title="Another version is in force",
            scope=error.scope,
            expected=error.expected,
            version=version,
        )
    if isinstance(error, OverriddenError):
        held = [{"parameter": one.name, "value": one.value, "by": one.actor} for one in error.holds]
        return Problem(
            409, "overridden", text, title="A person holds the value", scope=error.scope, holds=held
        )
    if isinstance(error, RefusedError):
        return Problem(409, "refused", text, title="The store refused")
    if isinstance(error, UnknownError):
        return Problem(404, "unknown", text, title="There is no such thing")
    if isinstance(error, UnreachableError):
        return Problem(503, "store-unreachable", text, title="The store cannot be reached")
    if isinstance(error, LeaseLostError):
        return Problem(409, "lease-lost", text, title="The session is held by another process")
    if isinstance(error, ChainBrokenError):
        return Problem(500, "chain-broken", text, title="The history was changed")
    return Problem(409, "store", text, title="The store cannot do this")


def response_of(problem: Problem, instance: str) -> JSONResponse:
    """Return the response that carries a problem."""
    document = problem.document(instance)
    return JSONResponse(document, problem.status, problem.headers, media_type=MEDIA_TYPE)


async def answer(request: Request, error: Exception) -> JSONResponse:
    """Answer an error that a route raised."""
    return response_of(problem_of(error), request.url.path)


HANDLED: tuple[type[Exception], ...] = (
    Problem,
    EngineError,
    ValueError,
    HTTPException,
    RequestValidationError,
)
"""Errors that routes may raise on purpose."""


class Problems:
    """Middleware that answers whatever was raised, instead of letting the connection break off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            problem = problem_of(error)
            if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                _log.exception("%s %r failed", scope.get("method"), scope.get("path"))
            if started or scope["type"] != "http":
                raise
            await response_of(problem, scope["path"])(scope, receive, send)
