"""Answers that are made once for all who ask."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import BaseModel

from console.api.problems import problem_of
from console.api.reads.answers import Answers
from console.api.reads.kept import Kept
from resources.warehouse import WarehouseError


class Counted(BaseModel):
    n: int


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


class Source:
    """Counts how often it is read; reading takes as long as `gate` is shut."""

    def __init__(self) -> None:
        self.reads, self.version = 0, 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def read(self) -> Counted:
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.reads += 1
        return Counted(n=self.reads)


async def get(answers: Answers, key: object, read: Callable[[], Counted], *, slow: bool = False) -> bytes:
    return await answers.now(answers.kept(key, read, slow=slow))


def test_many_who_ask_at_once_are_answered_by_one_read(answers: Answers) -> None:
    source = Source()

    async def ask() -> list[bytes]:
        return await asyncio.gather(*(get(answers, "a", source.read) for _ in range(50)))

    assert set(asyncio.run(ask())) == {b'{"n":1}'}
    assert source.reads == 1


def test_while_its_version_is_the_same_nothing_is_read_again(pool: ThreadPoolExecutor) -> None:
    source = Source()
    kept = Kept(source.read, pool, version=lambda: source.version, fresh_s=0.0)

    def newest() -> int:
        value, future = kept.look()
        return (value if future is None else future.result(5)).n  # type: ignore[union-attr]

    assert [newest(), newest()] == [1, 1]
    source.version = 1
    assert newest() == 2


def test_what_is_fresh_is_not_looked_at(pool: ThreadPoolExecutor) -> None:
    source = Source()
    kept = Kept(source.read, pool, fresh_s=60.0)
    assert kept.soon(5.0) == Counted(n=1)
    assert kept.look() == (Counted(n=1), None)
    assert kept.soon(0.0) == Counted(n=1)


def test_whoever_has_written_sees_it_and_not_what_was_read_before(answers: Answers) -> None:
    source = Source()

    async def story() -> None:
        assert await get(answers, "a", source.read) == b'{"n":1}'
        assert await get(answers, "a", source.read) == b'{"n":1}'
        answers.moved()
        assert await get(answers, "a", source.read) == b'{"n":2}'
        # A read that began before the write does not count for the time after it.
        source.gate.clear()
        answers.moved()
        early = asyncio.ensure_future(get(answers, "a", source.read))
        await asyncio.sleep(0.05)
        answers.moved()
        late = asyncio.ensure_future(get(answers, "a", source.read))
        await asyncio.sleep(0.05)
        source.gate.set()
        assert {await early, await late} == {b'{"n":3}', b'{"n":4}'}
        assert source.reads == 4

    asyncio.run(story())


def test_what_others_wrote_is_made_before_anything_older_is_hidden(answers: Answers) -> None:
    source, other = Source(), Source()

    async def story() -> None:
        assert [await get(answers, "a", source.read), await get(answers, "b", other.read)] == [b'{"n":1}'] * 2
        source.gate.clear()
        renewed = asyncio.ensure_future(answers.renew())
        while other.reads < 2:
            await asyncio.sleep(0.01)
        # While it is being made, all get what there is.
        assert await get(answers, "a", source.read) == b'{"n":1}'
        source.gate.set()
        await renewed
        assert await get(answers, "a", source.read) == b'{"n":2}'
        assert (source.reads, other.reads) == (2, 2)

    asyncio.run(story())


def test_what_was_begun_before_a_write_here_is_not_shown_after_it(answers: Answers) -> None:
    source = Source()

    async def story() -> None:
        await get(answers, "a", source.read)
        source.gate.clear()
        renewed = asyncio.ensure_future(answers.renew())
        await asyncio.sleep(0.05)
        answers.moved()
        late = asyncio.ensure_future(get(answers, "a", source.read))
        await asyncio.sleep(0.05)
        source.gate.set()
        await renewed
        assert json.loads(await late)["n"] > 1
        assert source.reads == 3

    asyncio.run(story())


def test_what_nobody_asks_for_is_not_made_anew(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()

    async def story() -> None:
        await get(answers, "a", source.read)
        monkeypatch.setattr("console.api.reads.answers._ASKED_FOR_S", 0.0)
        await answers.renew()
        assert source.reads == 1
        assert await get(answers, "a", source.read) == b'{"n":2}'

    asyncio.run(story())


def test_nobody_waits_while_what_is_known_is_not_old(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.api.reads.answers._OLD_S", 600.0)
    source = Source()

    async def story() -> None:
        await get(answers, "a", source.read)
        await asyncio.sleep(0.6)
        source.gate.clear()
        asked = asyncio.ensure_future(get(answers, "a", source.read))
        await asyncio.sleep(0)
        assert asked.done(), "not even for a turn of the loop"
        assert asked.result() == b'{"n":1}'
        source.gate.set()
        while await get(answers, "a", source.read) == b'{"n":1}':
            await asyncio.sleep(0.01)
        assert source.reads == 2, "it was made anew all the same, once"

    asyncio.run(story())


@pytest.mark.parametrize(("slow", "shown"), [(False, b'{"n":2}'), (True, b'{"n":1}')])
def test_what_nobody_asked_for_in_a_while_is_waited_for(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, slow: bool, shown: bytes
) -> None:
    monkeypatch.setattr("console.api.reads.answers._OLD_S", 0.5)
    monkeypatch.setattr("console.api.reads.answers._PATIENCE_S", 20.0)
    source = Source()

    async def story() -> None:
        await get(answers, "a", source.read, slow=slow)
        await asyncio.sleep(0.6)
        source.gate.clear()
        asked = asyncio.create_task(get(answers, "a", source.read, slow=slow))
        await asyncio.sleep(0.5)  # longer than anybody waits for a step
        source.gate.set()
        assert await asked == shown

    asyncio.run(story())


@pytest.mark.parametrize("old_s", [0.5, 2.0])
def test_a_warehouse_that_cannot_be_read_leaves_what_is_known(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, old_s: float
) -> None:
    monkeypatch.setattr("console.api.reads.answers._OLD_S", old_s)
    source = Source()

    async def story() -> None:
        await get(answers, "a", source.read, slow=True)
        source.error = WarehouseError("held by a step")
        await asyncio.sleep(0.6)
        assert await get(answers, "a", source.read, slow=True) == b'{"n":1}'
        with pytest.raises(WarehouseError, match="held by a step") as error:
            await get(answers, "b", source.read, slow=True)
        assert problem_of(error.value).status == 503

    asyncio.run(story())


def test_any_other_error_is_told_and_asked_again(answers: Answers) -> None:
    source = Source()

    async def story() -> None:
        source.error = ValueError("no such thing")
        with pytest.raises(ValueError, match="no such thing"):
            await get(answers, "a", source.read)
        source.error = None
        assert await get(answers, "a", source.read) == b'{"n":1}'

    asyncio.run(story())


def test_only_so_many_answers_are_kept(answers: Answers) -> None:
    async def story() -> None:
        for number in range(600):
            await get(answers, number, lambda: Counted(n=0))

    asyncio.run(story())
    assert len(answers._kept) == 512
