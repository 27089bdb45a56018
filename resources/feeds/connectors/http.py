"""JSON over HTTP: spaced, retried, size-bounded, and with secrets that no log and no error can show."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.request import getproxies, proxy_bypass

import httpx

from resources.feeds.connectors.retry import (
    TRANSIENT,
    MinimumInterval,
    Patience,
    Refusal,
    persist,
    retry_after,
)

__all__ = ["Answer", "JsonClient", "Secret"]

LARGEST_BODY = 64 * 2**20
KEPT_ANSWERS = 32


@dataclass(frozen=True)
class Secret:
    """A credential and where a request carries it. Its value is never shown.

    Parameters
    ----------
    place : {"header", "query"}
        Where it goes.
    name : str
        Name of the header or query parameter.
    value : str
        The credential.
    """

    place: Literal["header", "query"]
    name: str
    value: str = field(repr=False)

    @classmethod
    def from_environment(
        cls, variable: str, *, place: Literal["header", "query"], name: str, prefix: str = ""
    ) -> Secret | None:
        """Read the credential from an environment variable; None where it is not set."""
        value = os.environ.get(variable, "").strip()
        return cls(place, name, prefix + value) if value else None

    def hidden_in(self, text: str) -> str:
        """Replace the credential in a text, with or without the word before it."""
        for part in (self.value, self.value.rpartition(" ")[2]):
            text = text.replace(part, "***")
        return text


@dataclass(frozen=True)
class Answer:
    """A parsed answer: its body and headers."""

    body: Any
    headers: httpx.Headers

    @property
    def next_url(self) -> str | None:
        """Address of the next page by the ``Link`` header (RFC 8288), if there is one."""
        for link in httpx.Response(200, headers=self.headers).links.values():
            if link.get("rel") == "next":
                return link["url"]
        return None


class _SecretTransport(httpx.BaseTransport):
    """Adds the secret after httpx has logged the request, and only for the origin it belongs to."""

    def __init__(self, inner: httpx.BaseTransport, origin: httpx.URL, secret: Secret) -> None:
        self._inner, self._origin, self._secret = inner, origin, secret

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not _same_origin(request.url, self._origin):
            return self._inner.handle_request(request)
        url, headers = request.url, request.headers.copy()
        if self._secret.place == "query":
            url = url.copy_set_param(self._secret.name, self._secret.value)
        else:
            headers[self._secret.name] = self._secret.value
        return self._inner.handle_request(
            httpx.Request(
                request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
            )
        )

    def close(self) -> None:
        self._inner.close()


def _proxy(url: httpx.URL) -> str | None:
    """Proxy that the environment names for ``url``; a client with a transport of its own does not look."""
    return None if proxy_bypass(url.host) else getproxies().get(url.scheme)


def _same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


class JsonClient:
    """Asks one origin for JSON.

    Parameters
    ----------
    base_url : str
        Address that paths are relative to. Absolute addresses must have its origin.
    interval : MinimumInterval
        Spacing between requests.
    patience : Patience
        Retries, waits and deadline.
    timeout : float
        Seconds to wait for a connection or for the next bytes.
    secret : Secret, optional
        Credential, added to each request and shown nowhere.
    headers : mapping, optional
        Further request headers.
    known : dict, optional
        Keeps the latest answers that had an ``ETag``, so that next time only a change is sent. It belongs to
        the caller and outlives the client; without it nothing is kept.
    """

    def __init__(
        self,
        base_url: str,
        *,
        interval: MinimumInterval,
        patience: Patience,
        timeout: float = 20.0,
        secret: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        known: dict[str, Answer] | None = None,
    ) -> None:
        self._base = httpx.URL(base_url.rstrip("/") + "/")
        self._interval, self._patience, self._secret = interval, patience, secret
        transport: httpx.BaseTransport = httpx.HTTPTransport(proxy=_proxy(self._base))
        if secret is not None:
            transport = _SecretTransport(transport, self._base, secret)
        self._client = httpx.Client(
            transport=transport,
            timeout=timeout,
            follow_redirects=True,
            headers={"Accept": "application/json", "User-Agent": "engine-pipeline", **(headers or {})},
        )
        self._known = known

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def get(self, url: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """Fetch ``url``, a path below the base or an absolute address of the same origin.

        Raises
        ------
        FetchError
            If patience ends without an answer, or the request itself is at fault.
        """
        target = self._base.join(url.lstrip("/") if "://" not in url else url)
        if not _same_origin(target, self._base):
            raise ValueError(f"{target.host} is not {self._base.host}, the only host this client asks")
        if self._secret is not None and self._secret.place == "query":
            target = target.copy_remove_param(self._secret.name)
        target = target.copy_merge_params(params or {})
        return persist(lambda: self._attempt(target), self._patience)

    def _attempt(self, target: httpx.URL) -> Answer:
        self._interval.wait()
        shown = str(target)
        known = self._known.get(shown) if self._known is not None else None
        headers = {"If-None-Match": known.headers["ETag"]} if known else {}
        try:
            with self._client.stream("GET", target, headers=headers) as response:
                body = self._read(response, shown)
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise Refusal(self._safe(str(error)), url=shown, transient=False) from error
        except httpx.RequestError as error:
            reason = self._safe(f"{type(error).__name__}: {error}")
            raise Refusal(reason, url=shown, transient=True) from error
        if known and response.status_code == httpx.codes.NOT_MODIFIED:
            return known
        if not response.is_success:
            raise self._refused(response, body, shown)
        try:
            answer = Answer(json.loads(body), response.headers)
        except ValueError as error:
            reason = self._safe(f"answer is not JSON: {body[:80]!r}")
            raise Refusal(reason, url=shown, status=response.status_code, transient=True) from error
        if self._known is not None and "ETag" in response.headers:
            self._known[shown] = answer
            while len(self._known) > KEPT_ANSWERS:
                del self._known[next(iter(self._known))]
        return answer

    def _read(self, response: httpx.Response, shown: str) -> bytes:
        started, body = time.monotonic(), bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > LARGEST_BODY:
                reason = f"answer is larger than {LARGEST_BODY} bytes"
                raise Refusal(reason, url=shown, status=response.status_code, transient=False)
            if time.monotonic() - started > self._patience.deadline:
                reason = f"answer took more than {self._patience.deadline:.0f} s"
                raise Refusal(reason, url=shown, status=response.status_code, transient=True)
        return bytes(body)

    def _refused(self, response: httpx.Response, body: bytes, shown: str) -> Refusal:
        wait = retry_after(response.headers.get("Retry-After"), time.time())
        exhausted = response.headers.get("X-RateLimit-Remaining") == "0"
        if exhausted and not wait:
            reset = response.headers.get("X-RateLimit-Reset", "")
            wait = max(0.0, float(reset) - time.time()) if reset.isdigit() else 0.0
        # GitHub says 403 where others say 429; what tells them apart from "forbidden" are these headers.
        limited = response.status_code == httpx.codes.FORBIDDEN and (exhausted or wait > 0)
        said = " ".join(body[:300].decode("utf-8", "replace").split())
        return Refusal(
            self._safe(f"{response.reason_phrase}: {said}" if said else response.reason_phrase),
            url=shown,
            status=response.status_code,
            transient=response.status_code in TRANSIENT or limited,
            wait=wait,
        )

    def _safe(self, text: str) -> str:
        return self._secret.hidden_in(text) if self._secret is not None else text
