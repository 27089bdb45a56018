"""Every call by which an operator changes something, or tries to, stands in the history of the parameters."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from console.api.problems import problem_of
from console.api.security.admission import READING
from console.api.security.callers import Caller
from console.api.security.idempotency import Answer
from resources.parameter_store import ParameterStore
from resources.parameter_store import Scope as ParameterScope
from resources.parameter_store.chain import LONGEST_REASON

__all__ = ["Audit"]

_log = logging.getLogger(__name__)
_LONGEST_KIND, _LONGEST_SUBJECT = 40, 200
_TELLING = ("run_id", "session", "version", "experiment")


class Audit:
    """Middleware that records ``console.<action>`` before the answer is sent.

    Of a caller who asks for too much only the first refusal in a row is recorded. Headers, and so tokens and
    confirmations, are never recorded; of the body its reason and its scope are, and of a change that is to be
    confirmed the change's.

    Parameters
    ----------
    app : callable
    store : ParameterStore
    prefix : str
        What paths of the API begin with.
    paths : iterable of str
        Templates of all of them: their words name the actions.
    """

    def __init__(self, app: ASGIApp, store: ParameterStore, prefix: str, paths: Iterable[str]) -> None:
        self._app, self._store, self._prefix = app, store, prefix
        self._words = {word for path in paths for word in path.split("/") if word and "{" not in word}
        self._throttled: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        answer = Answer()
        try:
            await self._app(scope, receive, answer.hold)
        except Exception as error:
            problem = problem_of(error)
            await self._record(scope, problem.status, {"problem": problem.kind})
            raise
        if answer.status:
            await self._record(scope, answer.status, _told(answer.body))
            await answer.send_on(send)

    async def _record(self, scope: Scope, status: int, told: Mapping[str, Any]) -> None:
        state = scope.get("state", {})
        caller: Caller | None = state.get("caller")
        if caller is None or caller.role != "operator":
            return
        if status == 429 and caller.name in self._throttled:
            return
        (self._throttled.add if status == 429 else self._throttled.discard)(caller.name)
        content = {"status": status, "method": scope["method"], **told}
        if scope.get("client"):
            content["address"] = scope["client"][0]
        if state.get("replayed"):
            content["replayed"] = True
        sent = _change(state.get("content"))
        try:
            await asyncio.to_thread(
                self._store.record,
                self._kind(scope["path"]),
                actor=caller.name,
                reason=_reason(sent),
                scope=_scope(sent),
                subject=ascii(scope["path"])[1:-1][:_LONGEST_SUBJECT],
                content=content,
            )
        except Exception:
            # What was done is done; whoever asked for it must still learn what became of it.
            _log.exception("the history does not take %s of %s", scope["path"], caller.name)

    def _kind(self, path: str) -> str:
        words = [word for word in path.removeprefix(self._prefix).split("/") if word in self._words]
        return f"console.{'.'.join(words) or 'unknown'}"[:_LONGEST_KIND]


def _told(body: bytes) -> dict[str, Any]:
    """Take from an answer what it was about."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    told = {name: found[name] for name in _TELLING if isinstance(found.get(name), str | int)}
    if str(found.get("type", "")).startswith("urn:engine:problem:"):
        told["problem"] = found["type"].removeprefix("urn:engine:problem:")
    return told


def _change(sent: object) -> object:
    """Return what is asked for: the body, or the body that it asks a confirmation of."""
    return sent["change"] if isinstance(sent, dict) and "change" in sent else sent


def _reason(sent: object) -> str:
    reason = sent.get("reason") if isinstance(sent, dict) else None
    return reason[:LONGEST_REASON] if isinstance(reason, str) and reason.strip() else "none was given"


def _scope(sent: object) -> ParameterScope | None:
    try:
        return ParameterScope.parse(sent["scope"]) if isinstance(sent, dict) and "scope" in sent else None
    except (TypeError, ValueError):
        return None
