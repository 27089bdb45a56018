"""A request that is sent twice under a key is executed once; what was refused was not executed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from console.api.security.callers import Caller
from console.api.security.idempotency import Idempotency
from resources.parameter_store import ParameterStore

MARK = "/api/things/a/mark"
BODY = {"reason": "because", "value": 1.5}


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_answer_is_given_again_and_nothing_is_done_again(serve: Any) -> None:
    client = serve()
    first = client.post(MARK, json=BODY, headers=keyed("k"))
    again = client.post(MARK, content=b'{ "value":1.5, "reason":"because" }', headers=keyed("k") | JSON)
    assert (first.status_code, first.json()["count"]) == (202, 1)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert client.post(MARK, json=BODY).json()["count"] == 2
    assert client.post(MARK, json=BODY, headers=keyed("l")).json()["count"] == 3


JSON = {"Content-Type": "application/json"}


def test_a_key_belongs_to_one_request(serve: Any) -> None:
    client = serve()
    client.post(MARK, json=BODY, headers=keyed("k"))
    for path, body in ((MARK, BODY | {"value": 2}), ("/api/things/b/mark", BODY), (f"{MARK}?x=1", BODY)):
        other = client.post(path, json=body, headers=keyed("k"))
        assert (other.status_code, other.json()["type"]) == (422, "urn:engine:problem:idempotency-key-reused")
    assert client.app.state.done == {"a": 1}


def test_the_answer_outlives_the_console(serve: Any) -> None:
    first = serve().post(MARK, json=BODY, headers=keyed("k"))
    restarted = serve()
    again = restarted.post(MARK, json=BODY, headers=keyed("k"))
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert not restarted.app.state.done


def test_two_at_once_are_one(serve: Any) -> None:
    client = serve()
    client.app.state.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/api/things/slow", json=BODY, headers=keyed("k"))
        client.portal.call(client.app.state.entered.wait)
        second = client.post("/api/things/slow", json=BODY, headers=keyed("k"))
        client.portal.call(client.app.state.proceed.set)
        assert first.result().json() == {"count": 1}
    assert (second.status_code, second.json()["type"]) == (409, "urn:engine:problem:idempotency-running")
    again = client.post("/api/things/slow", json=BODY, headers=keyed("k"))
    assert (again.status_code, again.json(), client.app.state.done["slow"]) == (200, {"count": 1}, 1)


def test_a_request_whose_console_died_is_not_executed_again(serve: Any, store: ParameterStore) -> None:
    client = serve()
    client.post(MARK, json=BODY, headers=keyed("k"))
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE requests SET status = NULL, headers = NULL, body = NULL")
    again = serve().post(MARK, json=BODY, headers=keyed("k"))
    assert (again.status_code, again.json()["type"]) == (409, "urn:engine:problem:idempotency-running")
    assert "look at the status and the history" in again.json()["detail"]


def test_what_was_refused_may_be_sent_again(serve: Any) -> None:
    client = serve()
    for count in (1, 2):
        refused = client.post("/api/things/refuse", json=BODY, headers=keyed("k"))
        assert (refused.status_code, "idempotent-replayed" in refused.headers) == (409, False)
        assert client.app.state.done["refuse"] == count
    assert client.post(MARK, json=BODY, headers=keyed("k")).status_code == 202


def test_what_failed_without_being_foreseen_is_not_tried_again(serve: Any) -> None:
    client = serve()
    failed = [client.post("/api/things/fail", json=BODY, headers=keyed("k")) for _ in range(2)]
    assert [one.status_code for one in failed] == [500, 500]
    assert failed[0].json() == failed[1].json()
    assert client.app.state.done["fail"] == 1
    assert "swordfish" not in failed[0].text


@pytest.mark.parametrize("key", ["", " ", "x" * 129, "a\tb", "é", " a"])
def test_a_key_is_printable_and_short(serve: Any, key: str) -> None:
    client = serve()
    sent = client.post(MARK, json=BODY, headers=[(b"Idempotency-Key", key.encode())])
    assert (sent.status_code, sent.json()["type"]) == (400, "urn:engine:problem:malformed-idempotency-key")
    assert client.post(MARK, json=BODY, headers=keyed("x" * 128)).status_code == 202


def test_one_key_is_enough(serve: Any) -> None:
    client: TestClient = serve()
    twice = client.post(MARK, json=BODY, headers=[("Idempotency-Key", "k"), ("Idempotency-Key", "l")])
    assert twice.status_code == 400


def test_reads_have_no_use_for_a_key(serve: Any) -> None:
    client = serve()
    for _ in range(2):
        assert "idempotent-replayed" not in client.get("/api/things", headers=keyed("k")).headers


def executed(store: ParameterStore, status: int, *names: str) -> list[str]:
    """Send the same request under one key, once by each caller; return by whom it was executed."""
    done: list[str] = []

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        done.append(scope["state"]["caller"].name)
        await Response("said", status)(scope, receive, send)

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ignored(message: Message) -> None:
        pass

    guard = Idempotency(served, store.requests)
    for name in names:
        scope = {
            "type": "http", "method": "POST", "path": "/x", "query_string": b"",
            "headers": [(b"idempotency-key", b"k")], "state": {"caller": Caller(name, "operator")},
        }  # fmt: skip
        asyncio.run(guard(scope, nothing, ignored))
    return done


def test_a_key_belongs_to_one_caller(store: ParameterStore) -> None:
    assert executed(store, 202, "ann", "bob", "ann") == ["ann", "bob"]


@pytest.mark.parametrize(("status", "count"), [(499, 2), (503, 2), (500, 1), (202, 1)])
def test_what_could_not_be_done_for_now_is_done_when_it_is_sent_again(
    store: ParameterStore, status: int, count: int
) -> None:
    assert len(executed(store, status, "ann", "ann")) == count
