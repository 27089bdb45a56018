"""What a request may carry: one JSON document, small, flat, and with one meaning only."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, NoReturn

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.api.problems import Problem
from console.api.security.admission import READING
from console.api.settings import ConsoleSettings

__all__ = ["Bodies", "strict_json"]

_LARGEST = 2**63


class Bodies:
    """Middleware that reads a body whole before anything is done with it.

    What it says is in ``scope["state"]["content"]``, as it was sent in ``scope["state"]["body"]``.
    """

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises
        ------
        Problem
            413 for too much of it, 408 if it does not come, 415 if it is not JSON by its own account, 400 if
            it is not by ours.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._check_length(headers)
        if scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        body = await self._read(receive)
        if body is None:
            return  # nobody is there to be answered
        state = scope.setdefault("state", {})
        state["body"] = body
        if body:
            _check_type(headers)
            state["content"] = strict_json(body, self._settings.json_depth)
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)

    def _check_length(self, headers: Headers) -> None:
        for text in headers.getlist("content-length"):
            if not (text.isascii() and text.isdigit()):
                raise Problem(400, "malformed-length", "Content-Length must be a number")
            if len(text) > 18 or int(text) > self._settings.body_bytes:
                raise self._too_large()

    async def _read(self, receive: Receive) -> bytes | None:
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._settings.body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Problem(
                408,
                "body-timeout",
                f"the body did not come within {self._settings.body_seconds:g} s",
                headers={"Connection": "close"},
            ) from None

    def _too_large(self) -> Problem:
        most = self._settings.body_bytes
        return Problem(
            413,
            "body-too-large",
            f"a body has at most {most} bytes",
            headers={"Connection": "close"},
            high=most,
        )


def _check_type(headers: Headers) -> None:
    kind, _, options = headers.get("content-type", "").lower().partition(";")
    charset = options.strip().removeprefix("charset=").strip('"')
    encoding = headers.get("content-encoding", "identity").lower()
    if kind.strip() != "application/json" or charset not in ("", "utf-8") or encoding != "identity":
        raise Problem(
            415, "not-json", "send Content-Type: application/json, in UTF-8 and without a Content-Encoding"
        )


def strict_json(body: bytes, depth: int) -> Any:
    """Return what a JSON document says, if it can be read in one way only.

    Parameters
    ----------
    body : bytes
    depth : int
        Most objects and lists inside one another.

    Raises
    ------
    Problem
        400 for what is not JSON in UTF-8, is too deep, has a name twice in an object, a number that is not
        finite or an integer of more than 64 bits, or text that is no text in Unicode.
    """
    try:
        content = json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_constant=_not_a_number,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise _too_deep(depth) from None
    except UnicodeDecodeError:
        raise _malformed("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"the body is not JSON: {error}") from None
    _check(content, depth)
    return content


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed-json", detail)


def _too_deep(depth: int) -> Problem:
    return Problem(
        400, "json-too-deep", f"at most {depth} objects and lists may stand inside one another", high=depth
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _malformed("an object has one name twice")
    return found


def _not_a_number(name: str) -> NoReturn:
    raise _malformed(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed(f"{text[:40]} is too large a number")
    return number


def _integer(text: str) -> int:
    if len(text) > 20 or not -_LARGEST <= int(text) < _LARGEST:
        raise _malformed(f"{text[:40]} has more than 64 bits")
    return int(text)


def _check(content: Any, depth: int) -> None:
    level, left = [content], depth
    while level:
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict | list):
                if left == 0:
                    raise _too_deep(depth)
                inner += [*value, *value.values()] if isinstance(value, dict) else value
        level, left = inner, left - 1


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _malformed("a text holds U+0000 or half a surrogate pair")
