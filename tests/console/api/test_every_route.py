"""What holds for every route of the API, whichever there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from console.api.app import PREFIX
from console.api.desk import Desk
from console.api.problems import ProblemDetails

REFUSALS = {"invalid-request", "unknown", "nothing-runs", "dagster-unreachable"}
READS, CHANGES = ("get",), ("post",)
PROMISED = {
    "POST /start", "GET /status", "POST /stop", "GET /targets", "POST /update-parameter",
    "GET /performance/{symbol}", "POST /reset", "GET /scenarios", "POST /scenarios/{id}/start",
    "POST /scenarios/stop", "GET /scenarios/results/{id}", "GET /sessions", "GET /sessions/{id}/episodes",
    "GET /parameters", "GET /versions", "GET /history", "GET /verify", "POST /rollback", "POST /apply",
    "POST /override", "POST /lift", "GET /overrides", "GET /experiments", "GET /experiments/{id}",
    "POST /experiments/{id}/stop", "GET /decisions", "GET /symbols", "GET /me", "GET /events",
    "POST /confirmations",
}  # fmt: skip


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "BTC-USDT", path)


def kind(response: Any) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    problem = ProblemDetails.model_validate(response.json())
    assert problem.status == response.status_code
    return problem.type.removeprefix("urn:engine:problem:")


def test_all_that_is_promised_is_there(document: dict[str, Any]) -> None:
    found = {
        f"{method.upper()} {re.sub(r'{(?!symbol)[^}]*}', '{id}', path.removeprefix(PREFIX))}"
        for method, path, _ in operations(document)
    }
    assert found >= PROMISED
    assert all(path.startswith(f"{PREFIX}/") for path in document["paths"])


def test_routes_either_read_or_change(document: dict[str, Any]) -> None:
    assert {method for method, _, _ in operations(document)} == {*READS, *CHANGES}


def test_nobody_gets_in_without_a_token(document: dict[str, Any], stranger: TestClient) -> None:
    for method, path, _ in operations(document):
        response = stranger.request(method, filled(path), json={} if method in CHANGES else None)
        assert (response.status_code, kind(response)) == (401, "unauthorized"), path
    assert stranger.get("/api/openapi.json").status_code == 401


def test_only_an_operator_changes_things(document: dict[str, Any], viewer: TestClient, desk: Desk) -> None:
    for method, path, _ in operations(document):
        if method in CHANGES:
            response = viewer.request(method, filled(path), json={})
            assert (response.status_code, kind(response)) == (403, "forbidden"), path
    assert desk.store.history() == []


def test_pages_of_others_reach_no_route(document: dict[str, Any], operator: TestClient, desk: Desk) -> None:
    for method, path, _ in operations(document):
        response = operator.request(method, filled(path), headers={"Origin": "http://evil.example"})
        assert (response.status_code, kind(response)) == (403, "foreign-origin"), path
    assert desk.store.history() == []


def test_every_change_asks_for_an_operator_and_every_read_for_a_caller(app: FastAPI) -> None:
    """The document says so too: what is read from a signature is what a program is told."""
    for _, path, operation in operations(app.openapi()):
        assert operation["security"] == [{"token": []}], path


def test_a_body_that_says_nothing_is_refused_and_recorded(
    document: dict[str, Any], operator: TestClient, desk: Desk
) -> None:
    posts = [path for method, path, _ in operations(document) if method in CHANGES]
    for path in posts:
        for body in ({}, [], None, "text", {"reason": 5, "nothing": ["like", "that"]}):
            response = operator.post(filled(path), json=body)
            assert kind(response) in REFUSALS, (path, response.text)
    recorded = desk.store.history(limit=1_000)
    assert len(recorded) == 5 * len(posts)
    assert all(event.kind.startswith("console.") and event.actor == "ann" for event in recorded)
    assert "console.unknown" not in {event.kind for event in recorded}
    assert len({event.kind for event in recorded}) == len(posts)


def test_other_methods_are_told_which_there_are(document: dict[str, Any], operator: TestClient) -> None:
    for path, methods in document["paths"].items():
        for method in {"get", "post", "put", "delete", "patch"} - set(methods):
            response = operator.request(method, filled(path))
            assert (response.status_code, kind(response)) == (405, "method-not-allowed"), (method, path)


def test_problems_are_in_the_document(document: dict[str, Any]) -> None:
    problem = {"$ref": "#/components/schemas/ProblemDetails"}
    for _, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert response["content"] == {"application/problem+json": {"schema": problem}}, (
                    path,
                    status,
                )
    assert "HTTPValidationError" not in json.dumps(document)
    assert ProblemDetails.model_json_schema() == document["components"]["schemas"]["ProblemDetails"]


def test_every_change_may_carry_a_key_and_has_an_example(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if method in CHANGES:
            names = [parameter["name"] for parameter in operation["parameters"]]
            assert names.count("Idempotency-Key") == 1, path
        assert operation["description"], path
