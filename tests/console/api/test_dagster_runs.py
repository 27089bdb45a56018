"""Runs in Dagster: against its real web server once, and its answers to what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from console.api import dagster_runs
from console.api.dagster_runs import DagsterRuns, Seen
from console.api.problems import Problem
from engine_assets.tuning import SESSION_TAG
from engine_assets.tuning_order import TuneOrder

LOCATION = """
import dagster as dg
from engine_jobs.tuning_job import tuning_defs
from resources.settings import Settings

defs = tuning_defs(Settings(warehouse={warehouse!r}))
"""
ORDER = TuneOrder(scenario="risk_optimizer", symbols=["BTC/USDT"], actor="ann", reason="to see", episodes=2)


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Dagster's web server without its daemon: what is launched stays in the queue."""
    home = tmp_path_factory.mktemp("dagster")
    (home / "location.py").write_text(LOCATION.format(warehouse=str(home / "engine.duckdb")))
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: QueuedRunCoordinator}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "dagster_webserver", "-f", str(home / "location.py"), "-h", "127.0.0.1", "-p", str(port)]
    log = home / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(Path.cwd())},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(900):
            assert process.poll() is None, log.read_text()
            try:
                if httpx.get(f"{url}/server_info", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url, home
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_a_run_is_launched_seen_found_by_its_session_and_terminated(dagster: tuple[str, Path]) -> None:
    url, home = dagster
    runs = DagsterRuns(url + "/")
    assert runs.active() == []
    run = runs.launch(ORDER)
    assert runs.run_url(run) == f"{url}/runs/{run}"
    assert httpx.get(runs.run_url(run)).is_success
    [found] = runs.active()
    assert (found.id, found.state, found.active) == (run, "QUEUED", True)
    assert (found.scenario, found.scope, found.actor) == ("risk_optimizer", "symbol:BTC/USDT", "ann")
    assert (found.session, runs.of_session("s" * 32)) == (None, None)
    assert found.created_at is not None

    with dg.DagsterInstance.from_config(str(home)) as instance:
        kept = instance.get_run_by_id(run)
        assert kept is not None
        config: Any = kept.run_config["ops"]["tuning_session"]  # type: ignore[index]
        config = config["config"]
        assert TuneOrder(**config) == ORDER
        assert kept.tags["dagster/max_runtime"] == "7200"
        # As the asset does it once it holds its session.
        instance.add_run_tags(run, {SESSION_TAG: "s" * 32})
    tagged = runs.of_session("s" * 32)
    assert tagged is not None
    assert (tagged.id, tagged.session) == (run, "s" * 32)
    seen = runs.seen()
    assert (seen.reachable, seen.detail, [one.id for one in seen.active]) == (True, None, [run])

    runs.terminate(run)
    ended = runs.get(run)
    assert ended is not None
    assert (ended.state, ended.active) == ("CANCELED", False)
    assert runs.active() == []
    runs.terminate(run)
    assert runs.get("0" * 8 + "-0000-0000-0000-" + "0" * 12) is None
    runs.close()


def answering(*answers: Mapping[str, Any] | Exception) -> tuple[DagsterRuns, list[dict[str, Any]]]:
    """Dagster's web server that gives these answers one after the other."""
    asked: list[dict[str, Any]] = []
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer)

    return DagsterRuns("http://dagster", transport=httpx.MockTransport(handle)), asked


def nodes(*jobs: str) -> dict[str, Any]:
    node = {"name": "__repository__", "location": {"name": "engine"}, "jobs": [{"name": job} for job in jobs]}
    return {"data": {"repositoriesOrError": {"__typename": "RepositoryConnection", "nodes": [node]}}}


def row(**more: Any) -> dict[str, Any]:
    return {
        "runId": "r", "status": "STARTED", "creationTime": 0.0, "runConfigYaml": "", "tags": [], **more,
    }  # fmt: skip


def listed(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"runsOrError": {"__typename": "Runs", "results": list(rows)}}}


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        {"data": None, "errors": [{"message": "broken"}]},
        {"data": {"runsOrError": {"__typename": "PythonError", "message": "no storage"}}},
        ["no object"],
    ],
)
def test_what_does_not_answer_is_a_problem_that_says_how_to_start_it(answer: Any) -> None:
    runs, _ = answering(answer)
    with pytest.raises(Problem, match="make ui") as problem:
        runs.active()
    assert (problem.value.status, problem.value.kind) == (503, "dagster-unreachable")


def look_again(runs: DagsterRuns) -> Seen:
    """Once what was seen is no longer fresh."""
    runs._seen._fresh_s = 0.0
    return runs.seen(5.0)


def test_what_does_not_answer_may_be_starting_and_is_then_seen_as_not_reachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, _ = answering(httpx.ConnectError("refused"), httpx.ConnectError("refused"))
    seen = look_again(runs)
    assert (seen.reachable, seen.runs) == (None, ())
    assert "make ui" in str(seen.detail)
    monkeypatch.setattr(dagster_runs, "_STARTS_WITHIN_S", 0.0)
    assert look_again(runs).reachable is False


def test_what_has_answered_before_is_not_starting() -> None:
    runs, _ = answering(listed(), listed(), httpx.ConnectError("refused"))
    assert look_again(runs).reachable is True
    assert look_again(runs).reachable is False


def test_an_order_goes_to_the_location_that_has_the_job() -> None:
    launched = {"data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "r"}}}}
    runs, asked = answering(nodes("ingest", "optimize_parameters"), launched)
    assert runs.launch(ORDER) == "r"
    params = asked[1]["variables"]["params"]
    assert params["selector"] == {
        "repositoryLocationName": "engine",
        "repositoryName": "__repository__",
        "jobName": "optimize_parameters",
    }
    tags = {tag["key"]: tag["value"] for tag in params["executionMetadata"]["tags"]}
    assert tags == {
        "engine/scenario": "risk_optimizer", "engine/scope": "symbol:BTC/USDT", "engine/actor": "ann",
    }  # fmt: skip


def test_a_dagster_of_somebody_else_is_no_place_to_launch() -> None:
    runs, _ = answering(nodes("another_job"))
    with pytest.raises(Problem, match="optimize_parameters") as problem:
        runs.launch(ORDER)
    assert problem.value.status == 503


def test_a_refused_launch_says_why() -> None:
    refused = {"__typename": "RunConfigValidationInvalid", "errors": [{"message": "no such field"}]}
    runs, _ = answering(nodes("optimize_parameters"), {"data": {"launchRun": refused}})
    with pytest.raises(Problem, match="no such field") as problem:
        runs.launch(ORDER)
    assert problem.value.status == 422


@pytest.mark.parametrize(
    ("config", "scope", "scenario"),
    [
        ("", "global", "quick_tune"),
        ("ops: {tuning_session: {config: {scope: 'regime:PANIC'}}}", "regime:PANIC", "quick_tune"),
        ("ops: {tuning_session: {config: {scenario: nonsense}}}", "global", None),
        ("[1, 2", "global", None),
    ],
)
def test_a_run_launched_elsewhere_is_known_by_its_config(
    config: str, scope: str, scenario: str | None
) -> None:
    runs, _ = answering(listed(row(runConfigYaml=config)))
    [found] = runs.active()
    assert (found.scope, found.scenario) == (scope, scenario)


def test_one_that_waits_behind_hundreds_is_still_seen() -> None:
    runs, asked = answering(listed(row(runId="new")), listed(row(runId="new"), row(runId="old")))
    assert [run.id for run in runs.seen(5.0).runs] == ["new", "old"]
    assert "statuses" not in asked[0]["variables"]["filter"]


def test_what_cannot_be_terminated_is_told() -> None:
    failure = {"data": {"terminateRun": {"__typename": "TerminateRunFailure", "message": "not now"}}}
    runs, _ = answering(failure, listed(row()))
    with pytest.raises(Problem, match="not now") as problem:
        runs.terminate("r")
    assert problem.value.status == 409
    runs, _ = answering(failure, listed(row(status="SUCCESS")))
    runs.terminate("r")
