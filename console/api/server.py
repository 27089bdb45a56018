"""The web server under the application: what it takes from one connection, and how it parts."""

from __future__ import annotations

import gc

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from console.api.settings import ConsoleSettings

__all__ = ["BoundedHead", "server", "settle"]

_HEAD_BYTES = 16_384
_CONNECTIONS = 1_000
_KEEP_ALIVE_S, _GRACE_S = 15, 5


class BoundedHead(HttpToolsProtocol):
    """HTTP/1.1 by a parser that is quick and strict, and for which no request has an endless head."""

    _unfinished: int | None = None

    def data_received(self, data: bytes) -> None:
        """Take in what came; 400 for a head that is longer than it may be, finished or not."""
        super().data_received(data)
        if self._unfinished is None or self.transport.is_closing():
            return
        self._unfinished += len(data)
        if self._unfinished > _HEAD_BYTES:
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._unfinished = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to serve it, or refuse it by raising."""
        self._unfinished = None
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > _HEAD_BYTES:
            raise ValueError(f"a head of {size} bytes")
        super().on_headers_complete()


def settle() -> None:
    """Let the garbage collector leave alone what there is once all libraries are loaded.

    It is there to stay, and to look through it again stops everything for as long as hundreds of reads take.
    """
    gc.freeze()


def server(app: ASGIApp, access: ConsoleSettings) -> uvicorn.Server:
    """Return what serves an application where the settings say.

    Parameters
    ----------
    app : callable
    access : ConsoleSettings
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=access.host.strip("[]"),
            port=access.port,
            http=BoundedHead,
            ws="none",
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
            # Whom a request comes from is not for the request to say.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_level="warning",
        )
    )
