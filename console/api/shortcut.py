"""What was shown at an address is shown again without asking the route that serves it."""

from __future__ import annotations

from collections import OrderedDict

from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from console.api.reads.answers import Answers
from console.api.reads.kept import Kept

__all__ = ["Shortcut", "Shown"]

_MOST = 512
_KEPT = "kept"


class Shown(Response):
    """The answer to a read that rests on its address alone: not on who asks, nor on other headers.

    Parameters
    ----------
    content : bytes
    kept : Kept
        Where it comes from; whoever asks at the same address again is answered from there.
    """

    media_type = "application/json"

    def __init__(self, content: bytes, kept: Kept[bytes] | None = None) -> None:
        super().__init__(content)
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and tell where it comes from."""
        if self._kept is not None:
            scope.setdefault("state", {})[_KEPT] = self._kept
        await super().__call__(scope, receive, send)


class Shortcut:
    """Middleware that leaves out routing and validation where both have had their say on the same address.

    It is the innermost, so that whatever guards the routes guards it; what it cannot answer the route does.

    Parameters
    ----------
    app : callable
    answers : Answers
    """

    def __init__(self, app: ASGIApp, answers: Answers) -> None:
        self._app, self._answers = app, answers
        self._known: OrderedDict[tuple[str, bytes], Kept[bytes]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        address = scope["path"], scope.get("query_string", b"")
        content = await self._again(address)
        if content is not None:
            await Shown(content)(scope, receive, send)
            return
        await self._app(scope, receive, send)
        kept = scope["state"].get(_KEPT)
        if kept is not None:
            self._known[address] = kept
            if len(self._known) > _MOST:
                self._known.popitem(last=False)

    async def _again(self, address: tuple[str, bytes]) -> bytes | None:
        """Return what is to be shown at an address; None where only the route can tell."""
        kept = self._known.get(address)
        if kept is None:
            return None
        self._known.move_to_end(address)
        try:
            return await self._answers.now(kept)
        except Exception:
            # How an error is told is for the route to know, which meets it too.
            self._known.pop(address, None)
            return None
