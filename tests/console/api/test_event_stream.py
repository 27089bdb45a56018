"""The event stream: what happens is told in order, once, and to whoever comes back from where they stood."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn

from console.api import events as module
from console.api.app import create_app
from console.api.desk import Desk
from console.api.positions import MOST, Position, TooFarError, happened, present
from console.api.schemas.events import ParametersEvent
from console.api.schemas.sessions import EpisodeRow
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine_assets.live_tables import LIVE_DECISIONS

P = "/api/rl-training"
WHO: dict[str, Any] = {"actor": "bob", "reason": "because"}
EPISODE = {
    "episodes": 10, "mean_score": -0.4, "best_score": 0.2, "best_so_far": 0.3, "searched": 33,
    **DEFAULTS.to_dict(),
}  # fmt: skip
Told = tuple[str, str, dict[str, Any]]


def read(chunk: bytes) -> Told | None:
    """Id, kind and data of an event; None of anything else."""
    lines = dict(line.split(": ", 1) for line in chunk.decode().strip().split("\n") if ": " in line)
    return (lines["id"], lines["event"], json.loads(lines["data"])) if "event" in lines else None


@asynccontextmanager
async def listening(desk: Desk, last: str | None = None) -> AsyncIterator[Callable[..., Any]]:
    """Yield what returns the next event that is no status and no health."""
    stream = desk.events.stream(last)

    async def following(*, all_of_them: bool = False) -> Told:
        while True:
            told = read(await asyncio.wait_for(anext(stream), 20))
            if told is not None and (all_of_them or told[1] not in ("status", "health")):
                return told

    assert (await following(all_of_them=True))[1] == "status"
    try:
        yield following
    finally:
        await stream.aclose()


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def a_session(desk: Desk, scope: str = "global") -> Any:
    return desk.store.sessions.start(scope, "quick_tune", configuration={"order": {}}, **WHO)


def test_positions_are_read_back_as_they_were_written() -> None:
    for position in (Position(0), Position(17, {"a" * 32: 3, "b" * 32: 0})):
        assert Position.parse(str(position)) == position
        again = Position.parse(str(position))
        assert again is not None
        assert again.numbers == position.numbers
    for nonsense in ("", "x", "-1", "1,zz.1", "1," + "a" * 32, "9" * 30, "1;drop table"):
        assert Position.parse(nonsense) is None


def _key(data: Any) -> tuple[Any, ...]:
    if isinstance(data, ParametersEvent):
        return (data.kind,)
    return data.session, data.number if isinstance(data, EpisodeRow) else data.stage


def test_from_any_position_on_all_is_told_once_and_in_order(desk: Desk) -> None:
    store = desk.store
    first, second = a_session(desk), a_session(desk, "symbol:BTC/USDT")
    for number in range(1, 4):
        first.report({**EPISODE, "episode": number})
        second.report({**EPISODE, "episode": number})
    first.finish("refused", **WHO)
    second.report({**EPISODE, "episode": 4})
    store.override("global", {"costCapBps": 6.0}, **WHO)
    store.commit("global", ParameterSet(social_go=0.9), expected=None, evidence={}, **WHO)
    store.record("console.test", **WHO)
    end = present(store, Position(0))
    told = list(happened(store, Position(0), end))
    keys = [_key(one.data) for one in told]
    assert len(set(keys)) == len(keys)
    assert [key[1:] for key in keys if key[0] == first.id] == [("started",), (1,), (2,), (3,), ("ended",)]
    assert [key[1:] for key in keys if key[0] == second.id] == [("started",), (1,), (2,), (3,), (4,)]
    assert [key for key in keys if key[0] not in (first.id, second.id)] == [("hold set",), ("apply",)]
    assert told[-1].at.numbers == end.numbers == {second.id: 4}
    # Whoever lost the connection after any of them gets the others, and no other.
    for index, one in enumerate(told):
        left = Position.parse(str(one.at))
        assert left is not None
        rest = [(each.kind, each.data) for each in happened(store, left, end)]
        assert rest == [(each.kind, each.data) for each in told[index + 1 :]], index


def test_too_much_or_another_store_is_told_as_that(desk: Desk) -> None:
    with pytest.raises(TooFarError):
        list(happened(desk.store, Position(0), Position(MOST + 1)))
    with pytest.raises(TooFarError):
        list(happened(desk.store, Position(5), Position(3)))


def test_what_happens_is_told_to_all_who_listen(desk: Desk) -> None:
    async def story() -> None:
        async with listening(desk) as one, listening(desk) as other:
            held = await asyncio.to_thread(a_session, desk)
            await asyncio.to_thread(held.report, {**EPISODE, "episode": 1})
            await asyncio.to_thread(held.advance, "evidence")
            for each in (one, other):
                assert (await each())[2]["stage"] == "started"
                identity, kind, data = await each()
                assert (kind, data["session"], data["episode"]) == ("episode", held.id, 1)
                assert Position.parse(identity) is not None
            assert (await one())[2]["stage"] == "evidence"
            await asyncio.to_thread(
                desk.store.experiments.register, "shadow", "global", DEFAULTS, baseline=0, metric="m",
                horizon=timedelta(days=30), seed=1, **WHO,
            )  # fmt: skip
            assert (await one())[1] == "experiment"

    run(story())


def test_who_joins_while_others_are_told_gets_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two clients has been told of an episode, the second has not, and a third comes."""
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    monkeypatch.setattr(module, "_APART_S", 2.0)

    async def story() -> None:
        held = await asyncio.to_thread(a_session, desk)
        async with listening(desk) as one, listening(desk) as other:
            await asyncio.to_thread(held.report, {**EPISODE, "episode": 1})
            told = [asyncio.ensure_future(each()) for each in (one, other)]
            (first,), _ = await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
            identity, _, data = first.result()
            assert data["episode"] == 1
            async with listening(desk) as late, listening(desk, identity) as back:
                await asyncio.gather(*told)
                await asyncio.to_thread(held.report, {**EPISODE, "episode": 2})
                for each in (one, other, late, back):
                    assert (await each())[2]["episode"] == 2

    run(story())


def test_whoever_comes_back_gets_what_was_missed_and_then_what_is_new(desk: Desk) -> None:
    async def story() -> None:
        held = await asyncio.to_thread(a_session, desk)
        await asyncio.to_thread(held.report, {**EPISODE, "episode": 1})
        async with listening(desk) as each:
            await asyncio.to_thread(held.report, {**EPISODE, "episode": 2})
            last, kind, data = await each()
            assert (kind, data["episode"]) == ("episode", 2)
        await asyncio.to_thread(held.report, {**EPISODE, "episode": 3})
        await asyncio.to_thread(desk.store.override, "global", {"socialGo": 0.8}, **WHO)
        async with listening(desk, last) as each:
            missed = [await each(), await each()]
            assert {kind for _, kind, _ in missed} == {"episode", "parameters"}
            await asyncio.to_thread(held.report, {**EPISODE, "episode": 4})
            _, kind, data = await each()
            assert (kind, data["episode"]) == ("episode", 4)

    run(story())


@pytest.mark.parametrize("last", ["nonsense", "99999"])
def test_an_id_of_another_stream_means_to_read_everything_anew(desk: Desk, last: str) -> None:
    async def story() -> None:
        stream = desk.events.stream(last)
        told = [read(await anext(stream)) for _ in range(3)]
        kinds = [one[1] for one in told if one is not None]
        assert kinds == ["reset", "status"]
        await stream.aclose()

    run(story())


def test_new_decisions_are_told(desk: Desk) -> None:
    async def story() -> None:
        async with listening(desk) as each:
            await asyncio.sleep(2.0)
            rows = desk.warehouse.frame("FROM trading.live_decisions WHERE ts < '2026-01-02'")
            await asyncio.to_thread(desk.warehouse.replace, LIVE_DECISIONS, rows)
            _, kind, data = await each()
            assert kind == "decision"
            assert [row["symbol"] for row in data["items"]] == ["BTC/USDT", "ETH/USDT"]
            assert data["items"][0]["ts"] == "2026-01-01T20:00:00Z"

    run(story())


def test_the_status_is_told_when_something_lasting_changed(desk: Desk) -> None:
    async def story() -> None:
        async with listening(desk) as each:
            await asyncio.to_thread(desk.store.override, "global", {"socialGo": 0.8}, **WHO)
            while True:
                _, kind, data = await each(all_of_them=True)
                if kind == "status" and data["overridden"]:
                    break
            assert data["overridden"][0]["value"] == 0.8

    run(story())


def test_a_slow_client_is_sent_away_and_nobody_waits_for_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAITING", 12)

    async def story() -> None:
        slow = desk.events.stream()
        await anext(slow)
        async with listening(desk) as quick:
            held = await asyncio.to_thread(a_session, desk)
            for number in range(1, 30):
                await asyncio.to_thread(held.report, {**EPISODE, "episode": number})
                while (await quick())[2].get("episode") != number:
                    pass
                if len(desk.events._clients) == 1:
                    break
        rest = [told for chunk in [chunk async for chunk in slow] if (told := read(chunk))]
        assert rest[-1][1] == "reset"
        assert Position.parse(rest[-1][0]) is not None
        assert len(desk.events._clients) == 0

    run(story())


def test_nothing_is_read_while_nobody_listens(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with listening(desk):
            pass
        await asyncio.sleep(1.5)
        assert all(task.done() for task in desk.events._tasks)
        async with listening(desk) as each:
            await asyncio.to_thread(desk.store.override, "global", {"socialGo": 0.8}, **WHO)
            assert (await each())[1] == "parameters"

    run(story())


# Over the wire


@pytest.fixture
def served(desk: Desk, tokens: dict[Any, str]) -> Iterator[tuple[str, dict[str, str]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = uvicorn.Config(create_app(desk), host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}{P}", {"Authorization": f"Bearer {tokens['viewer']}"}
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def test_the_stream_over_the_wire_resumes_and_ends_with_the_desk(
    served: tuple[str, dict[str, str]], desk: Desk
) -> None:
    url, headers = served

    def next_of(lines: Iterator[str], kind: str) -> tuple[str, dict[str, Any]]:
        identity = ""
        for line in lines:
            if line.startswith("id: "):
                identity = line[4:]
            if line == f"event: {kind}":
                return identity, json.loads(next(lines).removeprefix("data: "))
        raise AssertionError(f"no {kind}")

    with httpx.stream("GET", f"{url}/events", headers=headers, timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        _, status = next_of(lines, "status")
        assert status["sessions"] == []
        held = a_session(desk)
        began = time.monotonic()
        last, told = next_of(lines, "session")
        assert (told["session"], time.monotonic() - began < 5) == (held.id, True)
    held.report({**EPISODE, "episode": 1})
    with httpx.stream(
        "GET", f"{url}/events", headers={**headers, "Last-Event-ID": last}, timeout=20
    ) as response:
        lines = response.iter_lines()
        assert next_of(lines, "episode")[1]["episode"] == 1
        desk.events.close()
        assert list(lines)[-1:] in ([""], [])
