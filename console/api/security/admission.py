"""Who gets in: a caller with a known token, in the right role, who does not ask for too much."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from console.api.security.callers import Caller, forbidden, identify, local_caller, unauthorized
from console.api.security.limits import Allowance, OpenRequests, client_address, too_many
from console.api.settings import ConsoleSettings

__all__ = ["READING", "Admission"]

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

_WRONG_AT_ONCE, _WRONG_PER_SECOND = 10, 0.1
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})


class Admission:
    """Middleware that finds the caller, for all routes alike: what changes something needs an operator.

    Without tokens the caller is the user of this machine who started the console, for requests that come
    from this machine and through no proxy.

    After ten wrong tokens from an address only those that were right from there before are tried, but for
    one more every ten seconds.
    """

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app = app
        self._tokens = settings.token_hashes()
        self._local = local_caller()
        self._reads = Allowance(settings.reads_per_second, 2 * settings.reads_per_second)
        writes = settings.writes_per_minute
        self._writes = Allowance(writes / 60, max(1.0, writes / 3))
        self._wrong = Allowance(_WRONG_PER_SECOND, _WRONG_AT_ONCE)
        self._open = OpenRequests(settings.open_requests)
        self._seen: set[tuple[str, Caller]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises
        ------
        Problem
            401 for nobody, 403 for a viewer who wants to change something, 429 for too much.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = client_address(scope["client"][0]) if scope.get("client") else "unknown"
        caller = self._caller(Headers(scope=scope), address)
        scope.setdefault("state", {})["caller"] = caller
        changing = scope["method"] not in READING
        if changing and caller.role != "operator":
            raise forbidden(caller)
        client = f"{caller.name} {address}"
        wait = (self._writes if changing else self._reads).take(client)
        if wait:
            raise too_many(wait, "too many requests at once; wait and send it again")
        with self._open.one_of(client):
            await self._app(scope, receive, send)

    def _caller(self, headers: Headers, address: str) -> Caller:
        if not self._tokens:
            if not _on_this_machine(address) or any(name in _FORWARDED for name, _ in headers.raw):
                raise unauthorized()
            return self._local
        sent = headers.getlist("authorization")
        if not sent:
            raise unauthorized()
        scheme, _, token = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
        caller = identify(token.strip(), self._tokens) if scheme.lower() == "bearer" else None
        if caller is not None and (address, caller) in self._seen:
            return caller
        wait = self._wrong.wait(address)
        if wait:
            raise too_many(wait, "too many wrong tokens from this address")
        if caller is None:
            self._wrong.take(address)
            raise unauthorized()
        if len(self._seen) > 100 * len(self._tokens) + 1_000:
            self._seen.clear()
        self._seen.add((address, caller))
        return caller


@lru_cache(maxsize=4_096)
def _on_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
