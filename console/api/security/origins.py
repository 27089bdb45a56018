"""Where a request may come from: by a name of this console, and from its own page.

A page of another site can make a browser send requests here, under its own origin or, by letting its name
resolve to this machine, under its own host.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from console.api.problems import Problem, response_of
from console.api.settings import ConsoleSettings

__all__ = ["Hosts", "Origins"]

_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:[0-9]{1,5})?")
_CONTROL = re.compile(rb"%(?:[01][0-9a-f]|7f)|[\x00-\x1f\x7f]", re.IGNORECASE)


class Hosts:
    """Middleware that knows the names of the console, and refuses addresses with control characters."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app = app
        self._known = _LOCAL | {settings.host.lower(), f"[{settings.host.lower()}]", *settings.hosts}
        self._bound_to_loopback = settings.on_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._wrong(scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await response_of(problem, "/")(scope, receive, send)

    def _wrong(self, scope: Scope) -> Problem | None:
        hosts = Headers(scope=scope).getlist("host")
        found = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if found is None:
            return Problem(400, "malformed-host", "the header Host must name this console, once")
        name = found["name"]
        if name not in self._known and not self._is_where_it_arrived(name, scope):
            return Problem(
                421,
                "unknown-host",
                "this console does not go by that name; use its address, or list the name in "
                "ENGINE_CONSOLE_HOSTS",
            )
        sent = (scope.get("raw_path") or scope["path"].encode(), scope.get("query_string", b""))
        if any(map(_CONTROL.search, sent)):
            return Problem(400, "malformed-path", "the address holds control characters")
        return None

    def _is_where_it_arrived(self, name: str, scope: Scope) -> bool:
        """Tell whether a console that listens on all addresses is asked by the one it was reached at."""
        if self._bound_to_loopback or not scope.get("server"):
            return False
        try:
            return ipaddress.ip_address(name.strip("[]")) == ipaddress.ip_address(scope["server"][0])
        except ValueError:
            return False


class Origins:
    """Middleware that refuses what the page of another site makes a browser send."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app = app
        self._listed = {*settings.origins, *(f"https://{host}" for host in settings.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises
        ------
        Problem
            403 for a foreign origin.
        """
        if scope["type"] == "http" and not self._own(scope):
            raise Problem(
                403,
                "foreign-origin",
                "the request comes from a page of another origin; list it in ENGINE_CONSOLE_ORIGINS if it is "
                "to use the API",
            )
        await self._app(scope, receive, send)

    def _own(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        if not origins:
            # Browsers leave Origin out of reads of the same origin, and then say so here.
            return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        if len(origins) > 1:
            return False
        return origins[0] in self._listed or _place(origins[0]) == _place(
            f"{scope.get('scheme', 'http')}://{headers['host']}"
        )


def _place(origin: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        return None
    if parts.hostname is None or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.scheme, parts.hostname, port
