"""A request that is sent twice under one key is executed once, and answered twice."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.api.problems import Problem, problem_of, response_of
from console.api.security.admission import READING
from resources.parameter_store.canonical import canonical
from resources.parameter_store.moments import readable
from resources.parameter_store.requests import KnownRequest, Requests

__all__ = ["Answer", "Idempotency"]

_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?")
_KEPT_HEADERS = ("content-type", "location")


@dataclass
class Answer:
    """A response that is held back until it was noted; it can be sent on."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def hold(self, message: Message) -> None:
        """Take in what an application sends."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def send_on(self, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Idempotency:
    """Middleware for what changes something and carries the header ``Idempotency-Key``.

    Answers are kept for a day in the store of the parameters, so they outlive the console. What was refused
    (4xx, 503) has changed nothing: it is not kept, and may be sent again under its key.
    """

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises
        ------
        Problem
            400 for a key that is none, 422 for one of another request, 409 while that is being executed.
        """
        changing = scope["type"] == "http" and scope["method"] not in READING
        keys = Headers(scope=scope).getlist("idempotency-key") if changing else []
        if not keys:
            await self._app(scope, receive, send)
            return
        if len(keys) > 1 or _KEY.fullmatch(keys[0]) is None:
            raise Problem(
                400,
                "malformed-idempotency-key",
                "Idempotency-Key must be 1 to 128 printable ASCII characters, once",
                high=128,
            )
        caller = f"{scope['state']['caller'].role}:{scope['state']['caller'].name}"
        identity, fingerprint = (caller, keys[0]), _fingerprint(scope)
        known = await asyncio.to_thread(self._requests.begin, *identity, fingerprint)
        if known is not None:
            scope["state"]["replayed"] = True
            await _again(known, fingerprint)(scope, receive, send)
            return
        answer = Answer()
        try:
            await self._app(scope, receive, answer.hold)
        except Exception as error:
            answer = Answer()
            await response_of(problem_of(error), scope["path"])(scope, receive, answer.hold)
            await self._note(identity, answer)
            raise
        await self._note(identity, answer)
        await answer.send_on(send)

    async def _note(self, identity: tuple[str, str], answer: Answer) -> None:
        if 400 <= answer.status < 500 or answer.status == 503:
            await asyncio.to_thread(self._requests.release, *identity)
            return
        found = Headers(raw=answer.headers)
        headers = {name: found[name] for name in _KEPT_HEADERS if name in found}
        await asyncio.to_thread(self._requests.finish, *identity, answer.status, headers, answer.body)


def _again(known: KnownRequest, fingerprint: str) -> Response:
    """Return the answer that a request had before."""
    if known.fingerprint != fingerprint:
        raise Problem(
            422,
            "idempotency-key-reused",
            f"this Idempotency-Key came with another request at {readable(known.at)}; take a new one",
            title="Key of another request",
        )
    if known.status is None:
        raise Problem(
            409,
            "idempotency-running",
            f"the request with this Idempotency-Key has been executed since {readable(known.at)}; "
            "if the console was stopped meanwhile, look at the status and the history for what became of it",
            title="Still running",
            since=known.at,
        )
    response = Response(known.body, known.status)
    headers = MutableHeaders(raw=response.raw_headers)
    headers.update({**known.headers, "idempotent-replayed": "true"})
    return response


def _fingerprint(scope: Scope) -> str:
    """Hash what is asked for: two spellings of the same JSON ask for the same."""
    state: dict[str, Any] = scope["state"]
    query = scope.get("query_string", b"").decode("latin-1")
    request = [scope["method"], scope["path"], query, state.get("content")]
    return hashlib.sha256(canonical(request).encode()).hexdigest()
