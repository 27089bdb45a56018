"""Clients of the console for `benchmarks.console_load`: pages that listen, and reads at a fixed rate."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

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


class _Clients:
    def __init__(self, url: str, symbol: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host, self.port = parts.hostname, parts.port or 80
        self.paths = [path.format(symbol=symbol.replace("/", "-")) for path in READS]
        self.latencies: list[tuple[int, float]] = []
        self.refused: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.listening = 0

    def request(self, path: str, accept: str) -> bytes:
        lines = (
            f"GET {PREFIX}{path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            f"Accept: {accept}",
            "",
            "",
        )
        return "\r\n".join(lines).encode()

    async def read(self, first: int, began: float, rate: float, over: asyncio.Event) -> None:
        """Send the reads of one connection, each when it is due or the one before it was answered."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        requests = [self.request(path, "application/json") for path in self.paths]
        clock = asyncio.get_running_loop().time
        for turn in itertools.count(first, _CONNECTIONS):
            due, number = began + turn / rate, turn % len(requests)
            await asyncio.sleep(max(0.0, due - clock()))
            if over.is_set():
                break
            writer.write(requests[number])
            status = await _answer(reader)
            if due < began + _WARM_UP_S:
                continue
            self.latencies.append((number, 1e3 * (clock() - due)))
            if status != 200:
                self.refused[f"{status} {self.paths[number]}"] += 1
        writer.close()

    async def listen(self) -> None:
        """Take in events until the end."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(self.request("/events", "text/event-stream"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == b"200", head
        self.listening += 1
        try:
            while line := await reader.readline():
                if line.startswith(b"event:"):
                    self.events[line[6:].strip().decode()] += 1
            self.refused["stream ended"] += 1
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"\r\ntransfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1])


async def load(
    url: str, symbol: str, *, pages: int, rate: float, ready: Callable[[], None], over: asyncio.Event
) -> Measured:
    """Let `pages` clients listen and send `rate` reads a second until it is over."""
    clients, clock = _Clients(url, symbol), asyncio.get_running_loop().time
    listening = [asyncio.create_task(clients.listen()) for _ in range(pages)]
    while clients.listening < pages:
        for task in listening:
            if task.done():
                task.result()
        await asyncio.sleep(0.01)
    ready()
    spent, began = time.process_time(), clock()
    await asyncio.gather(*(clients.read(first, began, rate, over) for first in range(_CONNECTIONS)))
    whole = clock() - began
    spent = time.process_time() - spent
    streams = sum(not task.done() for task in listening)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    every = np.array([latency for _, latency in clients.latencies])
    slowest = {
        path: round(float(np.percentile([ms for at, ms in clients.latencies if at == number], 99)), 1)
        for number, path in enumerate(READS)
    }
    median, p95, p99 = (float(np.percentile(every, q)) for q in (50, 95, 99))
    return Measured(
        reads=len(every),
        seconds=whole - _WARM_UP_S,
        refused=dict(clients.refused),
        median=median,
        p95=p95,
        p99=p99,
        worst=float(every.max()),
        slowest=dict(sorted(slowest.items(), key=lambda item: -item[1])[:3]),
        streams=streams,
        events=dict(clients.events),
        cpu=spent / whole,
    )
