"""Requests with a key: begun once, remembered for a day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from resources.parameter_store import ParameterStore
from resources.parameter_store.requests import KEPT

BODY = b'{"run_id": "\xc3\xa9\x00"}'


def test_a_request_is_begun_finished_and_known(either_store: ParameterStore) -> None:
    requests = either_store.requests
    assert requests.begin("operator:ann", "k", "f") is None
    running = requests.begin("operator:ann", "k", "f")
    assert running is not None
    assert (running.status, running.body, running.fingerprint) == (None, b"", "f")
    requests.finish("operator:ann", "k", 202, {"content-type": "application/json"}, BODY)
    known = requests.begin("operator:ann", "k", "other")
    assert known is not None
    assert (known.status, known.body, known.fingerprint) == (202, BODY, "f")
    assert (known.at, known.headers) == (running.at, {"content-type": "application/json"})
    assert either_store.history() == []


def test_callers_have_keys_of_their_own(either_store: ParameterStore) -> None:
    assert either_store.requests.begin("operator:ann", "k", "f") is None
    assert either_store.requests.begin("operator:bob", "k", "f") is None


def test_what_was_released_is_new_and_what_was_answered_stays(either_store: ParameterStore) -> None:
    requests = either_store.requests
    requests.begin("a", "k", "f")
    requests.release("a", "k")
    assert requests.begin("a", "k", "g") is None
    requests.finish("a", "k", 200, {}, b"")
    requests.release("a", "k")
    assert requests.begin("a", "k", "g") is not None


def test_of_many_at_once_one_begins(either_store: ParameterStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: either_store.requests.begin("a", "k", "f"), range(16)))
    assert [one is None for one in found].count(True) == 1


def test_a_day_later_it_is_forgotten(tmp_path: object) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = ParameterStore(f"sqlite:///{tmp_path}/p.sqlite", clock=lambda: now)
    store.requests.begin("a", "k", "f")
    store.requests.finish("a", "k", 200, {}, b"x")
    now += KEPT - timedelta(seconds=1)
    assert store.requests.begin("a", "k", "f") is not None
    now += timedelta(seconds=1)
    assert store.requests.begin("a", "k", "f") is None
    assert timedelta(hours=24) == KEPT
