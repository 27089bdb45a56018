"""What every response tells the browser not to do."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["API_POLICY", "PAGE_POLICY", "SecurityHeaders"]

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Data are no page: nothing in them is loaded, run or framed."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""All comes from the console itself; no script and no style stands in the page, and none is made of text."""

# As they are sent: they go out with every response.
_ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_UNLESS_SAID = {b"content-security-policy": API_POLICY.encode(), b"cache-control": b"no-store"}
_OVER_TLS = {b"strict-transport-security": b"max-age=31536000"}


class SecurityHeaders:
    """Middleware that adds the headers; what a response says of itself about its content is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        ours = {**_ALWAYS, **_OVER_TLS} if scope.get("scheme") == "https" else _ALWAYS

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = [pair for pair in message.get("headers", ()) if pair[0] not in ours]
                names = {name for name, _ in said}
                silent = [pair for pair in _UNLESS_SAID.items() if pair[0] not in names]
                message["headers"] = [*said, *silent, *ours.items()]
            await send(message)

        await self._app(scope, receive, guarded)
