"""Starting and stopping: one training in a scope, whoever asks, and an order is checked as a whole."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from console.api import training
from console.api.app import create_app
from console.api.dagster_runs import DagsterRuns, Run, Seen
from console.api.desk import Desk
from console.api.problems import Problem
from console.api.security.callers import Role
from engine_assets.tuning_order import TuneOrder
from resources.warehouse import Warehouse

P = "/api/rl-training"
WHY = {"reason": "to see"}


class QueueOfRuns(DagsterRuns):
    """Dagster as the console sees it: runs that are launched wait in a queue until they are terminated."""

    def __init__(self) -> None:
        super().__init__("http://dagster")
        self.runs: list[Run] = []
        self.orders: list[TuneOrder] = []
        self.reachable = True
        self.lock = threading.Lock()

    def seen(self, within_s: float = 0.0) -> Seen:
        return Seen(self.reachable, None, tuple(self.runs))

    def active(self) -> list[Run]:
        if not self.reachable:
            raise Problem(503, "dagster-unreachable", "down")
        with self.lock:
            return [run for run in self.runs if run.active]

    def get(self, run: str) -> Run | None:
        return next((one for one in self.runs if one.id == run), None)

    def of_session(self, session: str) -> Run | None:
        return next((one for one in self.active() if one.session == session), None)

    def launch(self, order: TuneOrder) -> str:
        time.sleep(0.05)  # as long as others need to come in between
        with self.lock:
            run = f"00000000-0000-0000-0000-{len(self.runs):012d}"
            self.orders.append(order)
            self.add(run, "QUEUED", scope=str(order.where), scenario=order.scenario, actor=order.actor)
        return run

    def add(self, run: str, state: str = "STARTED", **more: Any) -> Run:
        values = {"scope": "global", "scenario": None, "actor": None, "session": None} | more
        self.runs.append(Run(id=run, state=state, created_at=datetime.now(UTC), **values))
        return self.runs[-1]

    def terminate(self, run: str) -> None:
        [index] = [i for i, one in enumerate(self.runs) if one.id == run]
        self.runs[index] = Run(**{**vars(self.runs[index]), "state": "CANCELED"})


@pytest.fixture
def runs(desk: Desk) -> QueueOfRuns:
    desk.runs = QueueOfRuns()
    return desk.runs


def begun(desk: Desk, scope: str = "global", **more: Any) -> Any:
    return desk.store.sessions.start(scope, "quick_tune", actor="bob", reason="nightly", **more)


def kind(response: Any) -> str:
    return str(response.json()["type"]).removeprefix("urn:engine:problem:")


def test_a_start_launches_the_order_and_says_where_to_look(operator: TestClient, runs: QueueOfRuns) -> None:
    asked = {"scenario": "risk_optimizer", "symbols": ["BTC/USDT"], "mode": "shadow", "episodes": 3, **WHY}
    response = operator.post(f"{P}/start", json=asked)
    assert response.status_code == 202
    answer = response.json()
    [order] = runs.orders
    assert (order.scenario, order.symbols, order.mode, order.episodes) == (
        "risk_optimizer", ["BTC/USDT"], "shadow", 3,
    )  # fmt: skip
    assert (order.actor, order.reason) == ("ann", "to see")
    assert answer["run_url"] == f"http://dagster/runs/{answer['run_id']}"
    assert (answer["order"]["scope"], answer["order"]["minutes"]) == ("symbol:BTC/USDT", 25)


def test_without_a_scenario_it_is_the_recommended_one(operator: TestClient, runs: QueueOfRuns) -> None:
    wanted = operator.get(f"{P}/scenarios").json()["recommendation"]["scenario"]
    assert operator.post(f"{P}/start", json=WHY).status_code == 202
    assert [order.scenario for order in runs.orders] == [wanted]


def test_a_scenario_is_started_by_its_path(operator: TestClient, runs: QueueOfRuns) -> None:
    assert operator.post(f"{P}/scenarios/quick_tune/start", json=WHY).status_code == 202
    assert operator.post(f"{P}/scenarios/slow_tune/start", json=WHY).status_code == 422
    assert [order.scenario for order in runs.orders] == ["quick_tune"]


def test_a_body_is_not_needed_in_full(operator: TestClient, runs: QueueOfRuns) -> None:
    assert operator.post(f"{P}/scenarios/quick_tune/start", json={}).status_code == 202
    assert runs.orders[0].reason


def test_of_many_who_start_at_once_one_wins_and_the_others_are_told_who(
    operator: TestClient, runs: QueueOfRuns
) -> None:
    body = {"scenario": "quick_tune", **WHY}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: operator.post(f"{P}/start", json=body), range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    [won] = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]
    for answer in answers:
        if answer.status_code == 409:
            assert kind(answer) == "busy"
            assert (answer.json()["holder"], answer.json()["actor"]) == (f"run {won}", "ann")
    assert len(runs.orders) == 1


def test_scopes_do_not_stand_in_each_others_way(operator: TestClient, runs: QueueOfRuns) -> None:
    for symbol in ("BTC/USDT", "ETH/USDT"):
        body = {"scenario": "quick_tune", "symbols": [symbol], **WHY}
        assert operator.post(f"{P}/start", json=body).status_code == 202
        assert operator.post(f"{P}/start", json=body).status_code == 409


def test_a_session_of_another_process_is_the_holder(
    operator: TestClient, runs: QueueOfRuns, desk: Desk
) -> None:
    held = begun(desk)
    response = operator.post(f"{P}/start", json={"scenario": "quick_tune", **WHY})
    assert (response.status_code, kind(response)) == (409, "busy")
    assert response.json()["session"] == held.id
    assert "process" in response.json()["holder"]
    assert runs.orders == []


def test_a_session_whose_process_is_gone_holds_nobody_up(
    operator: TestClient, runs: QueueOfRuns, desk: Desk
) -> None:
    begun(desk, lease=timedelta(seconds=1))
    time.sleep(1.1)
    assert operator.post(f"{P}/start", json={"scenario": "quick_tune", **WHY}).status_code == 202


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"scenario": "quick_tune", "episodes": 11}, "more than the 10"),
        ({"scenario": "quick_tune", "minutes": 16}, "more than the 15"),
        ({"episodes": 0}, "greater than or equal to 1"),
        ({"days": 366}, "less than or equal to 365"),
        ({"mode": "perhaps"}, "'apply'"),
        ({"scope": "planet:Mars"}, "pattern"),
        ({"symbols": ["BTC/USDT", "BTC/USDT"]}, "twice"),
        ({"scope": "symbol:BTC/USDT", "symbols": ["ETH/USDT"]}, "alone"),
        ({"symbols": ["DOGE/USDT"]}, "stored are BTC/USDT, ETH/USDT"),
        ({"unheard_of": 1}, "not permitted"),
        ({"reason": "  "}, "pattern"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    operator: TestClient, runs: QueueOfRuns, body: dict[str, Any], said: str
) -> None:
    response = operator.post(f"{P}/start", json={"scenario": "quick_tune", **body})
    assert (response.status_code, said in response.json()["detail"]) == (422, True), response.text
    assert runs.orders == []


def test_without_market_data_there_is_nothing_to_train_on(
    operator: TestClient, runs: QueueOfRuns, desk: Desk, tmp_path: Any
) -> None:
    desk.warehouse = Warehouse(address=str(tmp_path / "none.duckdb"))
    response = operator.post(f"{P}/start", json={"scenario": "quick_tune", **WHY})
    assert (response.status_code, kind(response)) == (409, "not-enough-data")
    assert "run ingest" in response.json()["detail"]


def test_a_session_is_asked_to_stop_and_its_run_terminated_after_a_grace(
    operator: TestClient, runs: QueueOfRuns, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "GRACE_S", 0.2)
    held = begun(desk)
    runs.add("11111111-1111-1111-1111-111111111111", session=held.id)
    response = operator.post(f"{P}/stop", json={"session": held.id, **WHY})
    assert (response.status_code, response.json()["outcome"]) == (200, "stopping")
    assert held.heartbeat()
    stop = desk.store.sessions.get(held.id).stop
    assert stop is not None
    assert (stop.actor, stop.reason) == ("ann", "to see")
    assert runs.runs[0].state == "STARTED"
    for _ in range(100):
        if runs.runs[0].state == "CANCELED":
            break
        time.sleep(0.05)
    assert runs.runs[0].state == "CANCELED"


def test_a_console_that_is_started_again_terminates_what_was_asked_to_stop_before(
    runs: QueueOfRuns, desk: Desk, tokens: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    authorized = {"Authorization": f"Bearer {tokens['operator']}"}
    monkeypatch.setattr(training, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(training, "GRACE_S", 1.0)
    held, other = begun(desk), begun(desk, "symbol:BTC/USDT")
    for session in (held, other):
        runs.add(f"{session.id[:8]}-1111-1111-1111-111111111111", session=session.id)
    with TestClient(create_app(desk), "http://127.0.0.1:3001", headers=authorized) as first:
        answer = first.post(f"{P}/stop", json={"session": held.id, **WHY})
    assert answer.json()["outcome"] == "stopping"
    time.sleep(1.2)
    assert [run.state for run in runs.runs] == ["STARTED", "STARTED"], "nobody is there to terminate it"
    again = Desk.open(desk.settings, desk.access)
    again.runs = runs
    with TestClient(create_app(again)):
        for _ in range(100):
            if not runs.runs[0].active:
                break
            time.sleep(0.05)
    assert [run.state for run in runs.runs] == ["CANCELED", "STARTED"], "the other was not asked to stop"


def test_what_cannot_be_terminated_yet_is_tried_again(
    operator: TestClient, runs: QueueOfRuns, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "GRACE_S", 0.0)
    monkeypatch.setattr(training, "_LOOK_EVERY_S", 0.05)
    held = begun(desk)
    runs.add("11111111-1111-1111-1111-111111111111", session=held.id)
    runs.reachable = False
    assert operator.post(f"{P}/stop", json={"session": held.id, **WHY}).json()["outcome"] == "stopping"
    time.sleep(1.2)
    assert runs.runs[0].state == "STARTED"
    runs.reachable = True
    for _ in range(100):
        if not runs.runs[0].active:
            break
        time.sleep(0.05)
    assert runs.runs[0].state == "CANCELED"


def test_a_session_that_ends_within_the_grace_is_left_to_it(
    operator: TestClient, runs: QueueOfRuns, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "GRACE_S", 0.2)
    held = begun(desk)
    runs.add("11111111-1111-1111-1111-111111111111", session=held.id)
    operator.post(f"{P}/scenarios/stop", json=WHY)
    held.finish("stopped", actor="bob", reason="asked to")
    time.sleep(0.5)
    assert runs.runs[0].state == "STARTED"
    again = operator.post(f"{P}/stop", json={"session": held.id, **WHY})
    assert (again.json()["outcome"], "stopped" in again.json()["detail"]) == ("ended", True)


def test_a_queued_run_is_terminated_at_once(operator: TestClient, runs: QueueOfRuns) -> None:
    run = operator.post(f"{P}/start", json={"scenario": "quick_tune", **WHY}).json()["run_id"]
    response = operator.post(f"{P}/stop", json={"run_id": run, **WHY})
    assert response.json()["outcome"] == "terminated"
    assert runs.runs[0].state == "CANCELED"
    assert operator.post(f"{P}/stop", json={"run_id": run, **WHY}).json()["outcome"] == "ended"


def test_the_only_one_needs_no_name(operator: TestClient, runs: QueueOfRuns, desk: Desk) -> None:
    nothing = operator.post(f"{P}/scenarios/stop", json=WHY)
    assert (nothing.status_code, kind(nothing)) == (409, "nothing-runs")
    run = operator.post(f"{P}/start", json={"scenario": "quick_tune", **WHY}).json()["run_id"]
    held = begun(desk, "symbol:BTC/USDT")
    both = operator.post(f"{P}/scenarios/stop", json=WHY)
    assert (both.status_code, kind(both)) == (409, "several-run")
    assert (both.json()["sessions"], both.json()["runs"]) == ([held.id], [run])
    held.finish("refused", actor="bob", reason="luck")
    assert operator.post(f"{P}/scenarios/stop", json=WHY).json()["outcome"] == "terminated"


def test_a_session_stops_without_dagster_too(operator: TestClient, runs: QueueOfRuns, desk: Desk) -> None:
    held = begun(desk)
    runs.reachable = False
    assert operator.post(f"{P}/stop", json={"session": held.id, **WHY}).json()["outcome"] == "stopping"
    assert held.heartbeat()


def test_a_session_whose_process_is_gone_is_ended(
    operator: TestClient, runs: QueueOfRuns, desk: Desk
) -> None:
    held = begun(desk, lease=timedelta(seconds=1))
    time.sleep(1.1)
    response = operator.post(f"{P}/stop", json={"session": held.id, **WHY})
    assert response.json()["outcome"] == "ended"
    assert desk.store.sessions.get(held.id).status == "failed"


def test_nobody_can_be_stopped_who_does_not_exist(operator: TestClient, runs: QueueOfRuns) -> None:
    assert operator.post(f"{P}/stop", json={"session": "0" * 32, **WHY}).status_code == 404
    run = "00000000-0000-0000-0000-000000000009"
    assert operator.post(f"{P}/stop", json={"run_id": run, **WHY}).status_code == 404
