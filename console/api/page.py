"""The built page, served from memory: nothing that a request says becomes the path of a file."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from console.api.problems import Problem, response_of
from console.api.security.headers import PAGE_POLICY

__all__ = ["STATIC", "Page"]

STATIC = Path(__file__).parents[1] / "static"
"""Where `make web` puts the built page."""

_HASHED = re.compile(r"/assets/.+-[A-Za-z0-9_-]{8,}\.[a-z0-9]+")
_FOR_EVER, _ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"
_TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json", ".woff2": "font/woff2"}
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Engine</title>
<h1>The page was not built</h1>
<p>The API runs; <a href="/api/openapi.json">/api/openapi.json</a> describes it. A package of Engine holds
the built page; in a copy of the sources run <code>make web</code>, then start the console again.</p></html>
"""


@dataclass(frozen=True)
class _File:
    media_type: str
    cache: str
    tag: str
    plain: bytes
    packed: bytes | None

    @classmethod
    def read(cls, file: Path, path: str) -> _File:
        content, packed = file.read_bytes(), file.with_name(f"{file.name}.gz")
        kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return cls(
            media_type=f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
            cache=_FOR_EVER if _HASHED.fullmatch(path) else _ASK_AGAIN,
            tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            plain=content,
            packed=packed.read_bytes() if packed.is_file() else None,
        )

    def response(self, headers: Headers) -> Response:
        """Return it, packed where the browser takes that, or say that the browser has it."""
        about = {
            "Cache-Control": self.cache,
            "Content-Security-Policy": PAGE_POLICY,
            "ETag": self.tag,
            "Vary": "Accept-Encoding",
        }
        if self.tag in headers.get("if-none-match", ""):
            return Response(status_code=304, headers=about)
        if self.packed is not None and _takes_gzip(headers.get("accept-encoding", "")):
            return Response(
                self.packed, headers={**about, "Content-Encoding": "gzip"}, media_type=self.media_type
            )
        return Response(self.plain, headers=about, media_type=self.media_type)


class Page:
    """Middleware that answers whatever is not the API's.

    Paths that name no file are views of the page, which finds its way by itself.

    Parameters
    ----------
    app : callable
        Serves what begins with ``/api/``.
    folder : Path
        Of the built page. Its files are read once.
    """

    def __init__(self, app: ASGIApp, folder: Path = STATIC) -> None:
        self._app = app
        self._files = {
            path: _File.read(file, path)
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.suffix != ".gz"
            for path in [f"/{file.relative_to(folder).as_posix()}"]
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] == "/api" or scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        response = self._response(scope["method"], scope["path"], Headers(scope=scope))
        await response(scope, receive, send)

    def _response(self, method: str, path: str, headers: Headers) -> Response:
        if method not in ("GET", "HEAD"):
            problem = Problem(
                405, "method-not-allowed", "pages are only read", headers={"Allow": "GET, HEAD"}
            )
            return response_of(problem, path)
        file = self._files.get(path)
        if file is None and not _names_a_file(path):
            file = self._files.get("/index.html")
        if file is not None:
            return file.response(headers)
        if "/index.html" in self._files or _names_a_file(path):
            return response_of(Problem(404, "not-found", "there is no such file"), path)
        if "text/html" in headers.get("accept", ""):
            return HTMLResponse(_MISSING, 404)
        return response_of(
            Problem(
                404, "page-not-built", "the page was not built: run make web and start the console again"
            ),
            path,
        )


def _names_a_file(path: str) -> bool:
    return path.startswith("/assets/") or "." in path.rpartition("/")[2]


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        coding, _, quality = each.partition(";")
        if coding.strip() in ("gzip", "*"):
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", quality)
    return False
