"""Runs of the training in Dagster: launched, watched and terminated through its GraphQL API."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import yaml
from pydantic import ValidationError

from console.api.problems import Problem
from console.api.reads.kept import Kept
from engine_assets.tuning import SESSION_TAG, TUNING_OP
from engine_assets.tuning_order import TuneOrder
from engine_jobs.tuning_job import OPTIMIZE, run_config
from resources.parameter_store import Scope

__all__ = [
    "ACTIVE",
    "ACTOR_TAG",
    "CANCELING",
    "SCENARIO_TAG",
    "SCOPE_TAG",
    "SESSION_TAG",
    "DagsterRuns",
    "Run",
    "Seen",
]

SCENARIO_TAG, SCOPE_TAG, ACTOR_TAG = "engine/scenario", "engine/scope", "engine/actor"

CANCELING = "CANCELING"
ACTIVE: Mapping[str, str] = {
    "QUEUED": "queued",
    "NOT_STARTED": "queued",
    "MANAGED": "queued",
    "STARTING": "starting",
    "STARTED": "started",
    CANCELING: "canceling",
}
"""States of a run that has not ended, in the words of the API."""

_TIMEOUT = httpx.Timeout(10.0, connect=2.0)
_SEEN_EVERY_S, _KNOWN_RUNS, _MOST_ACTIVE = 1.5, 200, 500
_STARTS_WITHIN_S = 60.0
"""Its web server starts together with the console, and takes longer."""

_RUN = "runId status creationTime runConfigYaml tags { key value }"
_RUNS = f"""
query Runs($filter: RunsFilter!, $limit: Int!) {{
  runsOrError(filter: $filter, limit: $limit) {{
    __typename
    ... on Runs {{ results {{ {_RUN} }} }}
    ... on Error {{ message }}
  }}
}}
"""
_WHERE = """
query Where {
  repositoriesOrError {
    __typename
    ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
    ... on Error { message }
  }
}
"""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
  }
}
"""
_TERMINATE = """
mutation Terminate($run: String!) {
  terminateRun(runId: $run) {
    __typename
    ... on TerminateRunFailure { message }
    ... on Error { message }
  }
}
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run of the training.

    Parameters
    ----------
    id : str
    state : str
        As Dagster has it, such as QUEUED or SUCCESS.
    scope : str
        Whose parameters it trains.
    scenario, actor, session : str or None
        As its tags and its config say; the session once a process holds it.
    created_at : datetime or None
    """

    id: str
    state: str
    scope: str
    scenario: str | None
    actor: str | None
    session: str | None
    created_at: datetime | None

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class Seen:
    """What Dagster said last.

    Parameters
    ----------
    reachable : bool or None
        None while it has not answered yet and may be starting.
    detail : str or None
        What to do where it is not reachable.
    runs : tuple of Run
        Those that have not ended, and the newest of the others.
    """

    reachable: bool | None
    detail: str | None = None
    runs: tuple[Run, ...] = field(default=())

    @property
    def active(self) -> tuple[Run, ...]:
        """Runs that have not ended."""
        return tuple(run for run in self.runs if run.active)

    def of_session(self, session: str) -> Run | None:
        """Return the newest run that held a session; None where none is known."""
        return next((run for run in self.runs if run.session == session), None)


class DagsterRuns:
    """Runs of ``optimize_parameters``.

    Parameters
    ----------
    url : str
        Of Dagster's web server.
    transport : httpx.BaseTransport, optional
        By default the network.
    """

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        # No proxy of the environment: it is a neighbour.
        self._client = httpx.Client(timeout=_TIMEOUT, transport=transport, trust_env=False)
        self._pool = ThreadPoolExecutor(1, "dagster")
        self._seen = Kept(self._look, self._pool, fresh_s=_SEEN_EVERY_S)
        self._began, self._answered = time.monotonic(), False

    def close(self) -> None:
        """Let go of connections and of the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def run_url(self, run: str) -> str:
        """Address of a run in Dagster's UI."""
        return f"{self.url}/runs/{run}"

    def seen(self, within_s: float = 0.0) -> Seen:
        """Return what Dagster said last, without waiting for it unless nothing is known.

        Parameters
        ----------
        within_s : float
            Longest wait for what it says now.
        """
        found = self._seen.soon(within_s) or self._seen.soon(_TIMEOUT.connect or 0.0)
        return found or Seen(self._starting(), f"{self.url} has not answered yet")

    def active(self) -> list[Run]:
        """Ask for the runs that have not ended, the newest first.

        Raises
        ------
        Problem
            503 if Dagster cannot be reached.
        """
        return self._runs({"pipelineName": OPTIMIZE, "statuses": list(ACTIVE)}, _MOST_ACTIVE)

    def get(self, run: str) -> Run | None:
        """Ask for one run; None where there is none of this job."""
        found = self._runs({"runIds": [run], "pipelineName": OPTIMIZE}, 1)
        return found[0] if found else None

    def of_session(self, session: str) -> Run | None:
        """Ask for the newest run that held a session."""
        found = self._runs({"tags": [{"key": SESSION_TAG, "value": session}]}, 1)
        return found[0] if found else None

    def launch(self, order: TuneOrder) -> str:
        """Launch a run for an order and return its id.

        Raises
        ------
        Problem
            503 if Dagster cannot be reached, or has not loaded the job; 422 if it refuses the order.
        """
        location, repository = self._where()
        tags = {SCENARIO_TAG: order.scenario, SCOPE_TAG: str(order.where), ACTOR_TAG: order.actor}
        params = {
            "selector": {
                "repositoryLocationName": location,
                "repositoryName": repository,
                "jobName": OPTIMIZE,
            },
            "runConfigData": run_config(order),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(_LAUNCH, {"params": params})["launchRun"]
        if answer["__typename"] == "LaunchRunSuccess":
            return str(answer["run"]["runId"])
        why = "; ".join(one["message"] for one in answer.get("errors", [])) or answer.get("message", "")
        raise Problem(422, "run-refused", f"Dagster refused the run: {why}", title="Run refused")

    def terminate(self, run: str) -> None:
        """Terminate a run; one that has ended stays as it is.

        Raises
        ------
        Problem
            503 if Dagster cannot be reached; 409 if it cannot terminate the run.
        """
        answer = self._ask(_TERMINATE, {"run": run})["terminateRun"]
        if answer["__typename"] == "TerminateRunSuccess":
            return
        found = self.get(run)
        if found is None or found.active:
            why = f"run {run} could not be terminated: {answer.get('message', answer['__typename'])}"
            raise Problem(409, "not-terminated", why, title="Run not terminated", run=run)

    def _look(self) -> Seen:
        try:
            newest = self._runs({"pipelineName": OPTIMIZE}, _KNOWN_RUNS)
            known = {run.id for run in newest}
            # A run may wait in the queue while hundreds begin after it.
            older = [run for run in self.active() if run.id not in known]
        except Problem as problem:
            return Seen(self._starting(), problem.detail)
        except Exception:
            _log.exception("what %s said cannot be read", self.url)
            return Seen(False, f"{self.url} gave an answer that cannot be read; see the console's log")
        self._answered = True
        return Seen(True, None, (*newest, *older))

    def _starting(self) -> bool | None:
        """Return None as long as silence may mean that it is starting."""
        early = time.monotonic() - self._began < _STARTS_WITHIN_S
        return None if early and not self._answered else False

    def _runs(self, of: Mapping[str, Any], limit: int) -> list[Run]:
        answer = self._ask(_RUNS, {"filter": of, "limit": limit})["runsOrError"]
        if answer["__typename"] != "Runs":
            raise self._unreachable(answer.get("message", answer["__typename"]))
        return [_run(each) for each in answer["results"]]

    def _where(self) -> tuple[str, str]:
        """Find the code location and the repository that have the job."""
        answer = self._ask(_WHERE, {})["repositoriesOrError"]
        for node in answer.get("nodes", []):
            if any(job["name"] == OPTIMIZE for job in node["jobs"]):
                return node["location"]["name"], node["name"]
        raise Problem(
            503,
            "dagster-unreachable",
            f"{self.url} answers, but has loaded no code location with the job {OPTIMIZE}; start it with "
            "make ui, or dagster dev -w workspace.yaml",
            title="Dagster has no such job",
        )

    def _ask(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            response = self._client.post(
                f"{self.url}/graphql", json={"query": query, "variables": dict(variables)}
            )
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unreachable(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        if not isinstance(answer, dict) or not answer.get("data"):
            said = answer.get("errors") if isinstance(answer, dict) else answer
            raise self._unreachable(f"status {response.status_code}, {str(said)[:500]}")
        return answer["data"]

    def _unreachable(self, why: str) -> Problem:
        return Problem(
            503,
            "dagster-unreachable",
            f"Dagster does not answer at {self.url} ({why}); start it with make ui, or dagster dev -w "
            "workspace.yaml -p 3000, or set ENGINE_CONSOLE_DAGSTER_URL to where it is",
            title="Dagster cannot be reached",
            headers={"Retry-After": "5"},
        )


def _run(row: Mapping[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in row["tags"]}
    order = _order(row.get("runConfigYaml") or "")
    created = row.get("creationTime")
    return Run(
        id=row["runId"],
        state=row["status"],
        scope=tags.get(SCOPE_TAG) or str(Scope() if order is None else order.where),
        scenario=tags.get(SCENARIO_TAG) or (None if order is None else order.scenario),
        actor=tags.get(ACTOR_TAG) or (None if order is None else order.actor),
        session=tags.get(SESSION_TAG),
        created_at=None if created is None else datetime.fromtimestamp(created, UTC),
    )


def _order(config: str) -> TuneOrder | None:
    """Read the order of a run that was launched elsewhere, such as by a sensor or in Dagster's UI."""
    try:
        ops = (yaml.safe_load(config) or {}).get("ops") or {}
        return TuneOrder(**((ops.get(TUNING_OP) or {}).get("config") or {}))
    except (yaml.YAMLError, ValidationError, AttributeError, TypeError):
        return None
