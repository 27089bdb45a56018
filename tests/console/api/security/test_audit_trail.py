"""What operators do, and try to do, stands in the history; what they keep secret does not."""

from __future__ import annotations

from typing import Any

import pytest

from resources.parameter_store import ParameterStore, StoreError

JSON = {"Content-Type": "application/json"}
MARK = "/api/things/BTC/mark"
BODY = {"reason": "to see", "scope": "symbol:BTC/USDT", "password": "swordfish"}


def test_a_call_is_recorded_with_who_what_why_and_what_came_of_it(serve: Any, store: ParameterStore) -> None:
    headers = {"Confirmation": "swordfish", "Idempotency-Key": "k"}
    serve().post(MARK, json=BODY, headers=headers)
    (event,) = store.history()
    assert (event.kind, event.actor, event.reason) == ("console.mark", "ann", "to see")
    assert (event.scope, event.subject) == ("symbol:BTC/USDT", MARK)
    assert event.content == {"status": 202, "method": "POST", "address": "127.0.0.1", "run_id": "r1"}
    assert store.verify().intact


def test_of_what_is_to_be_confirmed_the_reason_of_the_change_is_recorded(
    serve: Any, store: ParameterStore
) -> None:
    serve().post(MARK, json={"action": "reset", "change": BODY})
    (event,) = store.history()
    assert (event.reason, event.scope) == ("to see", "symbol:BTC/USDT")
    assert "swordfish" not in str(event)


def test_an_answer_that_is_given_again_is_recorded_as_that(serve: Any, store: ParameterStore) -> None:
    client = serve()
    for _ in range(2):
        client.post(MARK, json=BODY, headers={"Idempotency-Key": "k"})
    assert [event.content.get("replayed") for event in store.history()] == [True, None]


@pytest.mark.parametrize(
    ("path", "sent", "status", "problem", "kind"),
    [
        ("refuse", {"json": BODY}, 409, "busy", "console.refuse"),
        ("fail", {"json": BODY}, 500, "unexpected", "console.fail"),
        ("refuse", {"json": []}, 422, "invalid-request", "console.refuse"),
        ("refuse", {"content": b"x" * 70_000}, 413, "body-too-large", "console.refuse"),
        ("refuse", {"content": b"{", "headers": JSON}, 400, "malformed-json", "console.refuse"),
        ("nothing/like/that", {"json": BODY}, 404, "not-found", "console.unknown"),
        ("%E2%80%AE/mark?x=1", {"json": []}, 422, "invalid-request", "console.mark"),
    ],
)  # fmt: skip
def test_what_was_refused_is_recorded_too(
    serve: Any, store: ParameterStore, path: str, sent: Any, status: int, problem: str, kind: str
) -> None:
    assert serve().post(f"/api/things/{path}", **sent).status_code == status
    (event,) = store.history()
    assert (event.kind, event.content["status"], event.content["problem"]) == (kind, status, problem)
    assert event.subject is not None
    assert event.subject.isascii()
    assert "swordfish" not in str(event)


def test_what_viewers_and_strangers_try_is_not(serve: Any, store: ParameterStore) -> None:
    client = serve("viewer")
    client.post(MARK, json=BODY)
    serve(None, app=client.app).post(MARK, json=BODY)
    client.get("/api/things")
    assert store.history() == []


def test_a_flood_leaves_one_row(serve: Any, store: ParameterStore) -> None:
    client = serve(writes_per_minute=0.1)
    for _ in range(5):
        client.post(MARK, json=BODY)
    assert [event.content["status"] for event in store.history()] == [429, 202]


@pytest.mark.parametrize("reason", ["", "   ", None, 3, "long " * 3_000, "\u202e\ud7ff\n", "x\ty"])
def test_any_reason_can_be_recorded(serve: Any, store: ParameterStore, reason: Any) -> None:
    assert serve().post(MARK, json={"reason": reason, "scope": "nowhere"}).status_code == 202
    (event,) = store.history()
    stated = isinstance(reason, str) and bool(reason.strip())
    assert event.reason == (reason[:4_000] if stated else "none was given")
    assert event.scope is None


def test_what_was_done_is_answered_even_if_the_history_is_lost(
    serve: Any, store: ParameterStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    client = serve()
    monkeypatch.setattr(ParameterStore, "record", lost)
    assert client.post(MARK, json=BODY).status_code == 202
    assert "the history does not take /api/things/BTC/mark of ann" in caplog.text
