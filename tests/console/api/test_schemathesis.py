"""Requests made up from the OpenAPI document: none fails in a way that the document does not name."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import BaseSchema, Case, GenerationMode, Response, openapi
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from console.api.app import PREFIX
from console.api.dagster_runs import DagsterRuns, Run
from console.api.desk import Desk
from console.api.security.callers import Role
from console.api.security.confirmations import Confirmations
from engine.tuning.parameters import ParameterSet
from engine_assets.tuning_order import TuneOrder
from resources.parameter_store import ParameterStore


def lived_in(store: ParameterStore) -> None:
    """Leave something to be found: two versions, a hold, and a session that has ended."""
    for expected, value in enumerate((0.7, 0.8)):
        parameters = ParameterSet.from_mapping({"socialGo": value})
        store.commit("global", parameters, expected=expected, actor="ann", reason="to see", evidence={})
    store.override("symbol:BTC/USDT", {"costCapBps": 7.0}, actor="ann", reason="to see")


class Willing(DagsterRuns):
    """A Dagster that takes every run and forgets it."""

    def launch(self, order: TuneOrder) -> str:
        return str(uuid.uuid4())

    def terminate(self, run: str) -> None:
        return

    def _runs(self, of: Mapping[str, Any], limit: int) -> list[Run]:
        return []


@pytest.fixture
def api_schema(
    app: FastAPI, desk: Desk, tokens: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[BaseSchema]:
    lived_in(desk.store)
    desk.runs = Willing(desk.runs.url)
    # Each is made up, and far more of them are wrong than a person types; changes are to be carried out.
    monkeypatch.setattr(Confirmations, "consume", lambda *_: None)
    monkeypatch.setattr("console.api.security.admission._WRONG_AT_ONCE", 1_000_000)
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="h11", log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    sent = {"Authorization": f"Bearer {tokens['operator']}"}
    url = f"http://127.0.0.1:{port}/api/openapi.json"
    document = openapi.from_url(url, headers=sent)
    # What nobody asks for is passed over; the token is ours, and the form of its header is the framework's.
    document.config.generation.update(allow_extra_parameters=False, with_security_parameters=False)
    yield document
    server.should_exit = True
    thread.join(10)


def explained(response: Response) -> bool:
    """Tell whether a request of the right form was refused for what it says, which no form can rule out.

    That is a bound of the parameter or the scenario that it names, a symbol that is not stored, a page that
    never was, nothing to be lifted, a key that another request came with, or a control character in a query.
    """
    if response.status_code not in (400, 422):
        return False
    problem = response.json()
    kind = problem["type"].removeprefix("urn:engine:problem:")
    of_its_form = any(each["at"] for each in problem.get("errors", []))
    return kind in OF_CONTENT or (kind == "invalid-request" and not of_its_form)


OF_CONTENT = {"idempotency-key-reused", "malformed-path", "out-of-bounds", "unknown-symbol"}
EXAMPLES = {"get": 2, "post": 5}
"""Of each method, right ones and wrong ones; what is only read has little to be asked for."""
CHOICES = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@pytest.mark.slow
def test_no_request_fails_in_a_way_that_is_not_named(api_schema: BaseSchema, tokens: dict[Role, str]) -> None:
    sent = {"Authorization": f"Bearer {tokens['operator']}"}
    failures: list[str] = []
    for found in api_schema.exclude(path=f"{PREFIX}/events").get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:

            @settings(CHOICES, max_examples=EXAMPLES[operation.method])
            @given(case=operation.as_strategy(generation_mode=mode))
            def try_out(case: Case) -> None:
                response = case.call(headers=sent)
                excluded = [positive_data_acceptance] if explained(response) else []
                case.validate_response(response, excluded_checks=excluded, headers=sent)

            try:
                try_out()
            except Unsatisfiable:
                assert mode.is_negative  # what has no parameters cannot be asked wrongly
            except (FailureGroup, Failure) as failure:
                failures.append(f"{operation.label} {mode}: {failure}")
    assert not failures, "\n\n".join(failures)
