"""Clients of the console for `benchmarks.console_load`: pages that listen, and reads at a fixed rate."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httptools
import numpy as np

__all__ = ["READS", "Measured", "load"]

PREFIX = "/api/rl-training"
READS = (
    "/status",
    "/scenarios",
    "/targets",
    "/parameters?scope=global",
    "/sessions?limit=20",
    "/versions?limit=20",
    "/history?limit=20",
    "/experiments?limit=20",
    "/overrides",
    "/decisions?limit=50",
    "/performance/{symbol}",
)
"""What the views of the page ask for."""
_CONNECTIONS = 32
_WARM_UP_S = 2.0
_EVENT = re.compile(rb"^event: (\w+)", re.MULTILINE)

Client = TypeVar("Client", bound=asyncio.Protocol)


@dataclass
class Measured:
    """What the clients saw; latencies in milliseconds from the moment at which a request was due."""

    reads: int = 0
    seconds: float = 0.0
    refused: dict[str, int] = field(default_factory=dict)
    median: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    slowest: dict[str, float] = field(default_factory=dict)
    streams: int = 0
    events: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0


@dataclass
class _Log:
    """What happens to the clients; reads count that are due from a moment on."""

    clock: Callable[[], float]
    since: float = math.inf
    latencies: list[tuple[int, float]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)


class _Reader(asyncio.Protocol):
    """One connection and its reads: each is sent when it is due, or once the one before was answered."""

    def __init__(self, log: _Log, requests: Sequence[bytes]) -> None:
        self._log, self._requests = log, requests
        self._parser = httptools.HttpResponseParser(self)
        self._turns: Iterator[tuple[float, int]] = iter(())
        self._due, self._number = 0.0, 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the console hung up"))

    def read(self, turns: Iterator[tuple[float, int]]) -> asyncio.Future[None]:
        """Send the reads of these turns: the moment at which each is due, and its number."""
        self._turns, self._done = turns, asyncio.get_running_loop().create_future()
        self._next()
        return self._done

    def _next(self) -> None:
        turn = next(self._turns, None)
        if turn is None:
            self._done.set_result(None)
            return
        self._due, self._number = turn
        wait = self._due - self._log.clock()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self.transport.write(self._requests[self._number])

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._due >= self._log.since:
            self._log.latencies.append((self._number, 1e3 * (self._log.clock() - self._due)))
        status = self._parser.get_status_code()
        if status != 200:
            self._log.refused[f"{status} {READS[self._number]}"] += 1
        self._next()


class _Listener(asyncio.Protocol):
    """A page that takes in events until the end."""

    def __init__(self, log: _Log, request: bytes) -> None:
        self._log, self._request, self._rest = log, request, b""
        self.listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self._log.refused["stream ended"] += 1
        if not self.listening.done():
            self.listening.set_exception(error or ConnectionError("the console hung up"))

    def data_received(self, data: bytes) -> None:
        if not self.listening.done():
            assert data.startswith(b"HTTP/1.1 200 "), data
            self.listening.set_result(None)
        lines, _, self._rest = (self._rest + data).rpartition(b"\n")
        self._log.events.update(kind.decode() for kind in _EVENT.findall(lines))


def _request(url: str, path: str, accept: str) -> bytes:
    lines = (f"GET {PREFIX}{path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Accept: {accept}", "", "")
    return "\r\n".join(lines).encode()


async def load(
    url: str, symbol: str, *, pages: int, rate: float, ready: Callable[[], None], over: asyncio.Event
) -> Measured:
    """Let `pages` clients listen and send `rate` reads a second until it is over."""
    loop, place = asyncio.get_running_loop(), urlsplit(url)
    host, port = place.hostname or "127.0.0.1", place.port or 80
    log = _Log(loop.time)
    reads = [
        _request(url, path.format(symbol=symbol.replace("/", "-")), "application/json") for path in READS
    ]
    listen = _request(url, "/events", "text/event-stream")

    async def connected(client: Callable[[], Client]) -> Client:
        return (await loop.create_connection(client, host, port))[1]

    listeners = [await connected(lambda: _Listener(log, listen)) for _ in range(pages)]
    await asyncio.gather(*(each.listening for each in listeners))
    readers = [await connected(lambda: _Reader(log, reads)) for _ in range(_CONNECTIONS)]
    # What the pages show has been made for somebody before; libraries come with the first look at it.
    await readers[0].read((0.0, number) for number in range(len(reads)))
    ready()
    spent, began = time.process_time(), loop.time()
    log.since = began + _WARM_UP_S

    def turns(first: int) -> Iterator[tuple[float, int]]:
        for turn in itertools.count(first, _CONNECTIONS):
            if over.is_set():
                return
            yield began + turn / rate, turn % len(reads)

    await asyncio.gather(*(reader.read(turns(first)) for first, reader in enumerate(readers)))
    whole, streams = loop.time() - began, pages - log.refused["stream ended"]
    spent, refused = time.process_time() - spent, dict(+log.refused)
    for transport in [each.transport for each in readers] + [each.transport for each in listeners]:
        transport.close()
    every = np.array([latency for _, latency in log.latencies])
    slowest = {
        path: round(float(np.percentile([ms for at, ms in log.latencies if at == number], 99)), 1)
        for number, path in enumerate(READS)
    }
    median, p95, p99 = (float(np.percentile(every, q)) for q in (50, 95, 99))
    return Measured(
        reads=len(every),
        seconds=whole - _WARM_UP_S,
        refused=refused,
        median=median,
        p95=p95,
        p99=p99,
        worst=float(every.max()),
        slowest=dict(sorted(slowest.items(), key=lambda item: -item[1])[:3]),
        streams=streams,
        events=dict(log.events),
        cpu=spent / whole,
    )
