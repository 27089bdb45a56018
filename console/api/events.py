"""The event stream: one reader of the store for all clients, and each event written out once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from console.api.positions import Happened, Position, TooFarError, happened, present
from console.api.reads.decisions import TABLES, newest_decisions
from console.api.reads.status import status
from console.api.schemas.events import DecisionEvent, ResetEvent, SessionEvent
from console.api.schemas.status import Status
from console.api.schemas.wire import Wire
from engine.errors import EngineError
from resources.parameter_store.sessions import SessionRecord

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["Events"]

_EVERY_S, _DECISIONS_EVERY_S, _STATUS_EVERY_S, _HEARTBEAT_S = 0.5, 1.0, 15.0, 10
_WAITING = 256
"""Events that wait for one client; one that is slower is sent away, and comes back where it stood."""
_AT_ONCE, _APART_S = 10, 0.01
"""Clients that are told at once, and seconds until the next so many are."""
_SEND_TIMEOUT_S, _GRACE_S = 30.0, 2.0
_FIRST_STAGE = "snapshot"
_RETRY = b"retry: 1000\n\n"
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Client:
    """Somebody who listens; None at the end of the queue closes the stream."""

    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_WAITING + 2))

    def send(self, chunk: bytes, farewell: bytes) -> bool:
        """Put an event into the queue; where it is full, empty it and part."""
        if self.queue.qsize() < _WAITING:
            self.queue.put_nowait(chunk)
            return True
        self.part(farewell)
        return False

    async def due(self) -> list[bytes]:
        """Wait until there is something, and return all that there is; nothing once the stream is closed."""
        chunks, chunk = [], await self.queue.get()
        while chunk is not None:
            chunks.append(chunk)
            if self.queue.empty():
                return chunks
            chunk = self.queue.get_nowait()
        self.queue.put_nowait(None)  # for whoever asks again
        return chunks

    def part(self, farewell: bytes | None = None) -> None:
        """Close the stream, whatever waits."""
        while not self.queue.empty():
            self.queue.get_nowait()
        if farewell is not None:
            self.queue.put_nowait(farewell)
        self.queue.put_nowait(None)


class Events:
    """All streams of a process. Nothing is read while nobody listens.

    Parameters
    ----------
    desk : Desk
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._clients: set[_Client] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._at = Position(0)
        self._standing: Status  # as it was at that position, or later; known once somebody listens
        self._stages: dict[str, str] = {}
        self._told: dict[str, Any] = {}
        self._told_at = 0.0
        self._joining, self._telling = asyncio.Lock(), asyncio.Lock()
        self._closed = False

    def response(self, last: str | None) -> Response:
        """Return the answer that streams, from the event with this id on."""
        ending = anyio.Event()
        return EventSourceResponse(
            self._pieces(last, ending),
            ping=_HEARTBEAT_S,
            send_timeout=_SEND_TIMEOUT_S,
            shutdown_event=ending,
            shutdown_grace_period=_GRACE_S,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def stream(self, last: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield events as they are written out: first where everything stands, then what was missed.

        Parameters
        ----------
        last : str, optional
            Id of the last event that the client knows.
        """
        async with contextlib.aclosing(self._due(last)) as due:
            async for chunks in due:
                for chunk in chunks:
                    yield chunk

    async def _pieces(self, last: str | None, ending: anyio.Event) -> AsyncGenerator[bytes, None]:
        """Yield what is to be sent at once: with hundreds of clients it is the sending that costs."""
        async with contextlib.aclosing(self._due(last, ending)) as due:
            async for chunks in due:
                yield b"".join(chunks)

    async def _due(
        self, last: str | None, ending: anyio.Event | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the events that are due, all of them at a time, until the server ends."""
        client = _Client(asyncio.get_running_loop())
        parting = None if ending is None else asyncio.ensure_future(_parting(client, ending))
        try:
            async with self._joining:
                await self._awake()
                if self._closed:
                    return
                # From here on the queue gets what comes after this position.
                self._clients.add(client)
                here, standing = self._at, self._standing
            yield [_RETRY]
            if last is None:
                yield [_written("status", standing, here)]
            else:
                yield await self._read(self._missed, last, here, standing)
            while chunks := await client.due():
                yield chunks
        finally:
            self._clients.discard(client)
            if parting is not None:
                parting.cancel()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for client in list(self._clients):
            with contextlib.suppress(RuntimeError):  # its loop has ended before
                client.loop.call_soon_threadsafe(client.part)
        for task in self._tasks:
            with contextlib.suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)
        self._tasks = []

    async def _awake(self) -> None:
        """Begin to read, for the first who listens."""
        loop = asyncio.get_running_loop()
        alive = [not task.done() and task.get_loop() is loop for task in self._tasks]
        if self._closed or (alive and all(alive)):
            return
        for task in self._tasks:
            task.cancel()
        self._at = await self._read(present, self._desk.store, await self._read(self._now))
        self._standing = await self._read(status, self._desk)
        self._stages, self._told, self._told_at = {}, {}, 0.0
        self._tasks = [loop.create_task(self._follow()), loop.create_task(self._follow_decisions())]

    def _now(self) -> Position:
        return Position(self._desk.store.head()[0])

    async def _read(self, function: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._desk.answers.pool, function, *arguments)

    def _missed(self, last: str, here: Position, standing: Status) -> list[bytes]:
        """Write out where everything stands, and what a client that comes back has missed."""
        start = Position.parse(last)
        try:
            if start is None:
                raise TooFarError(f"{last[:80]!r} is no id of this stream")
            missed = list(happened(self._desk.store, start, here))
        except (TooFarError, EngineError) as why:
            reset = ResetEvent(why=f"too much was missed ({why})")
            return [_written("reset", reset, here), _written("status", standing, here)]
        return [
            _written("status", standing, start),
            *(_written(one.kind, one.data, one.at) for one in missed),
        ]

    async def _follow(self) -> None:
        """Read what happens while somebody listens, and tell everybody."""
        while self._clients and not self._closed:
            began = time.monotonic()
            try:
                told, at, found = await self._read(self._step, self._at)
            except EngineError as error:
                _log.warning("the parameter store cannot be read for the event stream: %s", error)
            except Exception:
                _log.exception("the event stream stands still")
            else:
                if told:
                    # Whoever hears of it reads again at once, and is not to be answered from before it.
                    await self._desk.answers.renew()
                async with self._telling:
                    self._at, self._standing = at, found
                    news = (*told, *self._news(found, at))
                    await self._tell([_written(one.kind, one.data, one.at) for one in news])
            await asyncio.sleep(max(_EVERY_S - (time.monotonic() - began), _EVERY_S / 5))

    def _step(self, start: Position) -> tuple[list[Happened], Position, Status]:
        store = self._desk.store
        end = present(store, start)
        try:
            told = list(happened(store, start, end))
        except TooFarError as why:
            told = [Happened("reset", ResetEvent(why=f"too much happened at once ({why})"), end)]
        # One that went on to its next stage before it was first seen is told of as well.
        known = {
            **{one.data.session: _FIRST_STAGE for one in told if isinstance(one.data, SessionEvent)},
            **self._stages,
        }
        running = store.sessions.running()
        told += [
            Happened("session", _stage(one), end)
            for one in running
            if known.get(one.id, one.status) != one.status
        ]
        self._stages = {one.id: one.status for one in running}
        return told, end, status(self._desk)

    def _news(self, found: Status, at: Position) -> list[Happened]:
        """Return the status where it is another than was told, or was told long ago; likewise the health."""
        lasting, told = _lasting(found), self._told
        news = []
        if lasting["health"] != told.get("health"):
            news.append(Happened("health", found.health, at))
        if lasting != told or time.monotonic() - self._told_at >= _STATUS_EVERY_S:
            news.append(Happened("status", found, at))
            self._told_at = time.monotonic()
        self._told = lasting
        return news

    async def _follow_decisions(self) -> None:
        """Look for new decisions; the warehouse may keep this waiting, and nothing else."""
        loop, pool, known = asyncio.get_running_loop(), self._desk.answers.slow_pool, None
        first = True
        while self._clients and not self._closed:
            try:
                version = await loop.run_in_executor(pool, self._desk.versions.of, TABLES)
                if version != known and not first:
                    rows = await loop.run_in_executor(pool, newest_decisions, self._desk.warehouse)
                    async with self._telling:
                        await self._tell([_written("decision", DecisionEvent(items=rows), self._at)])
                known, first = version, False
            except EngineError as error:
                _log.debug("decisions cannot be read now: %s", error)
            await asyncio.sleep(_DECISIONS_EVERY_S)

    async def _tell(self, chunks: list[bytes]) -> None:
        """Put events into all queues, a few clients at a time: what else is to be served comes in between.

        Whoever joins meanwhile begins at the position that the events lead to, and gets none of them twice.
        """
        if not chunks:
            return
        farewell = _written("reset", ResetEvent(why="you were too slow; read everything anew"), self._at)
        clients = list(self._clients)
        for first in range(0, len(clients), _AT_ONCE):
            if first:
                await asyncio.sleep(_APART_S)
            for client in clients[first : first + _AT_ONCE]:
                if not all(client.send(chunk, farewell) for chunk in chunks):
                    self._clients.discard(client)


async def _parting(client: _Client, ending: anyio.Event) -> None:
    await ending.wait()
    client.part()


def _written(kind: str, data: Wire, at: Position) -> bytes:
    return f"id: {at}\nevent: {kind}\ndata: {data.model_dump_json()}\n\n".encode()


def _stage(record: SessionRecord) -> SessionEvent:
    return SessionEvent(
        session=record.id,
        scenario=record.scenario,
        scope=str(record.scope),
        stage=record.status,
        verdict=None,
        reason=None,
        at=record.heartbeat_at,
    )


def _lasting(found: Status) -> dict[str, Any]:
    """Leave out what changes with every look and with every episode, of which events of their own tell."""
    values = found.model_dump(exclude={"at"})
    for session in values["sessions"]:
        for name in ("lease_until", "last_episode"):
            del session[name]
    health: dict[str, Any] = values["health"]
    for part, name in (("data", "age_s"), ("chain", "checked_at"), ("chain", "rows")):
        del health[part][name]
    return values
