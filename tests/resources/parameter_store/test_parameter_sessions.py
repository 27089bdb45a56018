"""Sessions: one at a time in a scope, in the hands of one process."""

from __future__ import annotations

import os
import pickle
import struct
from datetime import timedelta
from typing import Any

import pytest
from safetensors.numpy import save as save_safetensors
from sqlalchemy import text

from resources.parameter_store import BusyError, LeaseLostError, ParameterStore, StoreError

ABOUT: dict[str, Any] = {"actor": "alice", "reason": "volatile night"}


def test_a_session_from_start_to_end(either_store: ParameterStore, clock: Any) -> None:
    session = either_store.sessions.start("global", "quick_tune", configuration={"seed": 7}, **ABOUT)
    record = either_store.sessions.get(session.id)
    assert (record.status, record.running, record.holder.pid) == ("snapshot", True, os.getpid())
    assert (record.started_at, record.lease_until) == (clock(), clock() + timedelta(minutes=2))
    assert record.configuration == {"seed": 7}
    clock.forward(seconds=90)
    session.advance("searching")
    record = either_store.sessions.get(session.id)
    assert (record.status, record.lease_until) == ("searching", clock() + timedelta(minutes=2))
    session.finish("applied", actor="alice", reason="passed", result={"best": 1.5})
    record = either_store.sessions.get(session.id)
    assert (record.status, record.ended_at, record.result) == ("applied", clock(), {"best": 1.5})
    assert either_store.sessions.running() == []
    assert either_store.sessions.recent() == [record]
    assert [event.kind for event in either_store.history()] == ["session.ended", "session.started"]
    assert {event.subject for event in either_store.history()} == {session.id}


def test_a_second_session_in_a_scope_is_told_who_holds_it(either_store: ParameterStore) -> None:
    first = either_store.sessions.start("global", "quick_tune", **ABOUT)
    with pytest.raises(
        BusyError,
        match=rf"global: quick_tune is already running as session {first.id}, started by alice at "
        rf"2026-03-01 12:00:00 UTC and held by process {os.getpid()} on .* until 2026-03-01 12:02:00 UTC",
    ) as caught:
        either_store.sessions.start("global", "risk_optimizer", actor="bob", reason="me too")
    assert caught.value.running.id == first.id
    assert either_store.history()[0].content["attempt"] == "start risk_optimizer"
    assert either_store.sessions.start("symbol:BTC/USDT", "risk_optimizer", **ABOUT).id != first.id
    assert [record.id for record in either_store.sessions.running("global")] == [first.id]


def test_the_database_itself_lets_one_run(either_store: ParameterStore) -> None:
    either_store.sessions.start("global", "quick_tune", **ABOUT)
    columns = (
        "scope, scenario, actor, reason, configuration, started_at, status, host, pid, token, lease_seconds, "
        "heartbeat_at, lease_until"
    )
    with pytest.raises(StoreError, match=r"(?i)unique"), either_store._database.write() as connection:
        connection.execute(text(f"INSERT INTO sessions (id, {columns}) SELECT 'x', {columns} FROM sessions"))


def test_a_session_whose_holder_is_gone_gives_way(either_store: ParameterStore, clock: Any) -> None:
    gone = either_store.sessions.start("global", "quick_tune", **ABOUT)
    clock.forward(minutes=2)
    next_one = either_store.sessions.start("global", "quick_tune", **ABOUT)
    record = either_store.sessions.get(gone.id)
    assert (record.status, record.ended_at) == ("failed", clock())
    assert "its lease was over since 2026-03-01 12:02:00 UTC" in str(record.result)
    for write in (gone.heartbeat, lambda: gone.report({}), lambda: gone.advance("gate")):
        with pytest.raises(LeaseLostError, match=r"has ended \(failed\); this process no longer writes"):
            write()
    assert [record.id for record in either_store.sessions.running()] == [next_one.id]


def test_a_session_is_taken_over_once_its_lease_is_over(either_store: ParameterStore, clock: Any) -> None:
    before = either_store.sessions.start("global", "quick_tune", lease=timedelta(seconds=30), **ABOUT)
    before.save_state(b'{"episode": 4}')
    before.report({"episode": 4})
    with pytest.raises(BusyError, match="held by"):
        either_store.sessions.resume(before.id, **ABOUT)
    clock.forward(seconds=30)
    after = either_store.sessions.resume(before.id, **ABOUT)
    assert (after.id, either_store.sessions.state(after.id)) == (before.id, b'{"episode": 4}')
    assert after.report({"episode": 5}) == 2
    with pytest.raises(LeaseLostError, match="was taken over by process"):
        before.report({"episode": 5})
    assert either_store.history()[0].kind == "session.taken_over"
    after.finish("stopped", **ABOUT)
    with pytest.raises(StoreError, match=r"has ended \(stopped\); start another"):
        either_store.sessions.resume(before.id, **ABOUT)
    with pytest.raises(StoreError, match="there is no session 'none'"):
        either_store.sessions.resume("none", **ABOUT)


def test_a_late_heartbeat_keeps_a_session_that_nobody_took(store: ParameterStore, clock: Any) -> None:
    session = store.sessions.start("global", "quick_tune", **ABOUT)
    clock.forward(minutes=10)
    assert session.heartbeat() is False
    with pytest.raises(BusyError):
        store.sessions.start("global", "quick_tune", **ABOUT)


def test_a_request_to_stop_reaches_the_holder(either_store: ParameterStore, clock: Any) -> None:
    session = either_store.sessions.start("global", "quick_tune", **ABOUT)
    assert not session.heartbeat()
    clock.forward(seconds=5)
    record = either_store.sessions.request_stop(session.id, actor="bob", reason="enough")
    assert record.stop is not None
    assert (record.stop.actor, record.stop.reason, record.stop.at) == ("bob", "enough", clock())
    assert either_store.sessions.request_stop(session.id, actor="eve", reason="again") == record
    assert session.heartbeat()
    session.finish("stopped", actor="bob", reason="enough")
    rows = len(either_store.history())
    assert either_store.sessions.request_stop(session.id, actor="bob", reason="late").status == "stopped"
    assert len(either_store.history()) == rows


def test_progress_is_read_on_from_a_cursor(either_store: ParameterStore, clock: Any) -> None:
    session = either_store.sessions.start("global", "quick_tune", **ABOUT)
    for episode in range(5):
        assert session.report({"episode": episode, "score": episode / 10}) == episode + 1
    sessions = either_store.sessions
    assert [event.content["episode"] for event in sessions.progress(session.id)] == [0, 1, 2, 3, 4]
    assert [event.number for event in sessions.progress(session.id, after=3)] == [4, 5]
    assert [event.number for event in sessions.progress(session.id, after=1, limit=2)] == [2, 3]
    assert sessions.progress(session.id, after=5) == []
    with pytest.raises(ValueError, match=r"progress\.score is nan"):
        session.report({"score": float("nan")})
    with pytest.raises(StoreError, match="there is no session"):
        sessions.progress("none")
    with pytest.raises(ValueError, match="limit = 0 must be at least 1"):
        sessions.progress(session.id, limit=0)


def test_state_is_data_and_never_code(either_store: ParameterStore) -> None:
    import numpy as np

    session = either_store.sessions.start("global", "quick_tune", **ABOUT)
    assert either_store.sessions.state(session.id) is None
    tensors = save_safetensors({"mean": np.arange(11.0)})
    session.save_state(tensors)
    assert either_store.sessions.state(session.id) == tensors
    bad = [pickle.dumps({"a": 1}), b"", b"\x80\x04", struct.pack("<Q", 10**9) + b"{}", "text"]
    for state in bad:
        with pytest.raises(ValueError, match="must be the bytes of safetensors or of JSON"):
            session.save_state(state)  # type: ignore[arg-type]
    assert either_store.sessions.state(session.id) == tensors


def test_sessions_of_the_dead_are_ended_in_one_call(store: ParameterStore, clock: Any) -> None:
    dead = store.sessions.start("global", "quick_tune", **ABOUT)
    clock.forward(minutes=1)
    alive = store.sessions.start("symbol:BTC/USDT", "quick_tune", **ABOUT)
    clock.forward(minutes=1)
    ended = store.sessions.end_abandoned(actor="recovery", reason="its process is gone")
    assert [(record.id, record.status) for record in ended] == [(dead.id, "failed")]
    assert store.sessions.end_abandoned(actor="recovery", reason="again") == []
    assert [record.id for record in store.sessions.running()] == [alive.id]


def test_bad_arguments_name_what_is_wrong(store: ParameterStore) -> None:
    with pytest.raises(ValueError, match="scenario = ' ' must be text of at most 40 characters"):
        store.sessions.start("global", " ", **ABOUT)
    with pytest.raises(ValueError, match=r"lease = .* must last at least one second"):
        store.sessions.start("global", "quick_tune", lease=timedelta(0), **ABOUT)
    assert store.sessions.recent() == []
    assert store.history() == []


def test_sessions_are_paged_and_told_apart_by_scenario(either_store: ParameterStore, clock: Any) -> None:
    made = []
    for number in range(6):
        # Two began at the same moment: the page goes on between them.
        clock.forward(seconds=number % 2)
        scenario = "quick_tune" if number < 4 else "risk_optimizer"
        made.append(either_store.sessions.start(f"symbol:S{number}", scenario, **ABOUT).id)
    newest = [one.id for one in either_store.sessions.recent()]
    assert sorted(newest) == sorted(made)
    pages, last = [], None
    while page := [one.id for one in either_store.sessions.recent(1, before=last)]:
        pages += page
        last = page[-1]
    assert pages == newest
    risky = [one.id for one in either_store.sessions.recent(scenario="risk_optimizer")]
    assert set(risky) == set(made[4:])
    with pytest.raises(StoreError, match="no session"):
        either_store.sessions.recent(before="0" * 32)


def test_the_pulse_changes_with_whatever_a_session_says(either_store: ParameterStore, clock: Any) -> None:
    seen = {either_store.sessions.pulse()}
    session = either_store.sessions.start("global", "quick_tune", **ABOUT)
    seen.add(either_store.sessions.pulse())
    for say in (lambda: session.report({"episode": 1}), lambda: session.advance("gate"), session.heartbeat):
        clock.forward(seconds=1)
        say()
        seen.add(either_store.sessions.pulse())
    assert len(seen) == 5
    assert either_store.sessions.pulse() in seen
