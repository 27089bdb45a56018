"""Changes by hand: shown before they are made, and made as they were shown or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from console.api.desk import Desk
from engine.tuning.parameters import DEFAULTS, ParameterSet

P = "/api/rl-training"
WHO: dict[str, Any] = {"actor": "bob", "reason": "because"}
BTC = "symbol:BTC/USDT"


def preview(client: TestClient, action: str, **change: Any) -> Any:
    body = {"action": action, "change": {"reason": "to see", **change}}
    return client.post(f"{P}/confirmations", json=body)


def post(client: TestClient, action: str, confirmation: str | None = None, **change: Any) -> Any:
    headers = {} if confirmation is None else {"Confirmation": confirmation}
    return client.post(f"{P}/{action}", json={"reason": "to see", **change}, headers=headers)


def done(client: TestClient, action: str, **change: Any) -> Any:
    """Show a change and make it; what was shown must be what was done."""
    shown = preview(client, action, **change)
    assert shown.status_code == 201, shown.text
    made = post(client, action, shown.json()["confirmation"], **change)
    assert made.status_code == 200, made.text
    assert made.json()["changes"] == shown.json()["changes"]
    return shown.json(), made.json()


def change(name: str, before: float, after: float, unit: str) -> dict[str, Any]:
    return {"parameter": name, "before": before, "after": after, "unit": unit}


def committed(desk: Desk, expected: int = 0, scope: str = "global", **values: float) -> int:
    parameters = ParameterSet.from_mapping(values)
    return desk.store.commit(scope, parameters, expected=expected, evidence={}, **WHO).version


def kind(response: Any) -> str:
    return str(response.json()["type"]).removeprefix("urn:engine:problem:")


CHANGES: dict[str, dict[str, Any]] = {
    "update-parameter": {"name": "costCapBps", "value": 6.0},
    "override": {"values": {"costCapBps": 6.0}},
    "lift": {},
    "rollback": {"version": 0},
    "reset": {},
}


def test_what_was_to_be_confirmed_stands_in_the_history_with_its_reason(
    operator: TestClient, desk: Desk
) -> None:
    change = {"scope": "symbol:BTC/USDT", "name": "costCapBps", "value": 6, "reason": "thin books"}
    body = {"action": "update-parameter", "change": change}
    assert operator.post(f"{P}/confirmations", json=body).status_code == 201
    [event] = desk.store.history()
    assert (event.kind, event.reason, str(event.scope)) == (
        "console.confirmations", "thin books", "symbol:BTC/USDT",
    )  # fmt: skip


@pytest.mark.parametrize("action", CHANGES)
def test_nothing_is_changed_without_a_confirmation(operator: TestClient, desk: Desk, action: str) -> None:
    committed(desk, socialGo=0.8)
    desk.store.override("global", {"socialGo": 0.9}, **WHO)
    before = desk.store.in_force()
    assert (post(operator, action, **CHANGES[action]).status_code) == 428
    assert post(operator, action, "nonsense", **CHANGES[action]).status_code == 403
    given = preview(operator, action, **CHANGES[action]).json()["confirmation"]
    other = {**CHANGES[action], "reason": "another one"}
    assert post(operator, action, given, **other).status_code == 403
    assert desk.store.in_force() == before


def test_one_value_is_held(operator: TestClient, desk: Desk) -> None:
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    shown, made = done(operator, "update-parameter", name="costCapBps", value=6.0, until=until)
    assert shown["changes"] == [change("costCapBps", 8.0, 6.0, "bps per fill")]
    assert (made["version"], made["holds"][0]["actor"]) == (0, "ann")
    [hold] = desk.store.holds()
    assert (hold.value, hold.reason, hold.until) == (6.0, "to see", datetime.fromisoformat(until))
    assert operator.get(f"{P}/overrides").json()["items"][0]["value"] == 6.0


def test_a_confirmation_is_good_once(operator: TestClient) -> None:
    asked = {"values": {"costCapBps": 6.0}}
    given = preview(operator, "override", **asked).json()["confirmation"]
    assert post(operator, "override", given, **asked).status_code == 200
    assert post(operator, "override", given, **asked).status_code == 403


def test_what_moved_since_it_was_shown_is_shown_anew(operator: TestClient, desk: Desk) -> None:
    given = preview(operator, "override", values={"costCapBps": 6.0}).json()["confirmation"]
    committed(desk, socialGo=0.8)
    response = post(operator, "override", given, values={"costCapBps": 6.0})
    assert (response.status_code, kind(response)) == (409, "state-moved")
    assert desk.store.holds() == ()


@pytest.mark.parametrize("value", [1.9, 30.5])
def test_a_value_out_of_bounds_names_the_bounds(operator: TestClient, value: float) -> None:
    for action, asked in (
        ("update-parameter", {"name": "costCapBps", "value": value}),
        ("override", {"values": {"costCapBps": value}}),
    ):
        response = preview(operator, action, **asked)
        assert (response.status_code, kind(response)) == (422, "out-of-bounds")
        problem = response.json()
        assert (problem["parameter"], problem["low"], problem["high"]) == ("costCapBps", 2.0, 30.0)


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("update-parameter", {"name": "nonsense", "value": 1}),
        ("override", {"values": {"nonsense": 1}}),
        ("override", {"values": {}}),
        ("override", {"values": {"costCapBps": "NaN"}}),
        ("update-parameter", {"name": "costCapBps", "value": 6, "until": "2026-12-01T00:00:00"}),
        ("rollback", {"version": -1}),
        ("apply", {"session": "../etc"}),
        ("reset", {"scope": "planet:Mars"}),
        ("nonsense", {}),
    ],
)
def test_what_makes_no_sense_is_refused(operator: TestClient, action: str, asked: dict[str, Any]) -> None:
    assert preview(operator, action, **asked).status_code == 422


def test_a_moment_that_is_past_is_refused_and_changes_nothing(operator: TestClient, desk: Desk) -> None:
    asked = {"values": {"costCapBps": 6.0}, "until": "2020-01-01T00:00:00Z"}
    response = preview(operator, "override", **asked)
    given = response.json().get("confirmation")
    assert post(operator, "override", given, **asked).status_code == 422
    assert desk.store.holds() == ()


def test_warnings_say_who_holds_it_and_what_waits(operator: TestClient, desk: Desk) -> None:
    desk.store.override("global", {"slBreakout": 2.0}, **WHO)
    desk.store.override(BTC, {"slBreakout": 3.0}, **WHO)
    held = desk.store.sessions.start("global", "quick_tune", **WHO)
    warnings = preview(operator, "override", values={"slBreakout": 1.0}).json()["warnings"]
    assert len(warnings) == 4
    assert "held at 2 for global by bob" in warnings[0]
    assert "takes its place" in warnings[0]
    assert "waits until that ends" in warnings[1]
    assert "held at 3 for symbol:BTC/USDT" in warnings[2]
    assert held.id in warnings[3]
    [same] = preview(operator, "override", scope="regime:PANIC", values={"socialGo": 0.75}).json()["warnings"]
    assert same == "no value in force changes"


def test_lifting_shows_what_counts_then(operator: TestClient, desk: Desk) -> None:
    committed(desk, socialGo=0.8)
    desk.store.override("global", {"socialGo": 0.85, "costCapBps": 6.0}, **WHO)
    desk.store.override(BTC, {"socialGo": 0.9, "tpNews": 3.0}, **WHO)
    shown, made = done(operator, "lift", scope=BTC, names=["socialGo"])
    assert shown["changes"] == [change("socialGo", 0.9, 0.85, "score")]
    assert "which then counts" in shown["warnings"][0]
    shown, made = done(operator, "lift")
    assert shown["changes"] == [
        change("socialGo", 0.85, 0.8, "score"), change("costCapBps", 6.0, 8.0, "bps per fill"),
    ]  # fmt: skip
    assert made["holds"] == []
    nothing = preview(operator, "lift", names=["socialGo"])
    assert (nothing.status_code, "nothing is held" in nothing.json()["detail"]) == (422, True)


def test_rolling_back_shows_the_way_and_leaves_what_is_held(operator: TestClient, desk: Desk) -> None:
    committed(desk, socialGo=0.8, costCapBps=5.0)
    committed(desk, 1, socialGo=0.9, costCapBps=7.0)
    desk.store.override("global", {"costCapBps": 6.0}, **WHO)
    shown, made = done(operator, "rollback", version=1, expected=2)
    assert shown["changes"] == [change("socialGo", 0.9, 0.8, "score")]
    assert "and stays so" in shown["warnings"][0]
    assert made["version"] == 3
    assert desk.store.version(3).parameters == desk.store.version(1).parameters
    assert (desk.store.version(3).actor, desk.store.version(3).kind) == ("ann", "rollback")
    _, made = done(operator, "rollback", version=0)
    assert desk.store.version(4).parameters == DEFAULTS
    assert operator.get(f"{P}/parameters").json()["version"] == 4


def test_another_version_than_expected_is_refused(operator: TestClient, desk: Desk) -> None:
    committed(desk, socialGo=0.8)
    response = preview(operator, "rollback", version=0, expected=7)
    assert (response.status_code, kind(response)) == (409, "stale-baseline")
    assert preview(operator, "reset", expected=7).status_code == 409
    assert preview(operator, "rollback", version=9).status_code == 404


def test_a_scope_is_reset_to_what_holds_more_widely(operator: TestClient, desk: Desk) -> None:
    committed(desk, socialGo=0.8)
    committed(desk, 1, BTC, socialGo=0.9)
    shown, made = done(operator, "reset", scope=BTC)
    assert shown["changes"] == [change("socialGo", 0.9, 0.8, "score")]
    assert shown["after"]["comes_from"] == "version 1 of global"
    assert made["version"] == 1
    again = preview(operator, "reset", scope=BTC).json()["warnings"]
    assert f"{BTC} has no parameters of its own" in again


def promoting(desk: Desk, **values: float) -> str:
    """A session that promoted a set and was run as a shadow."""
    held = desk.store.sessions.start("global", "quick_tune", **WHO)
    result = {
        "promoted": DEFAULTS.to_dict() | values, "expected": 0, "attempt": 1, "evidence": {},
        "trigger": {"horizon": 30, "alpha": 0.05, "fall": 0.01, "bound": 0.01, "worst": 0.02},
    }  # fmt: skip
    held.finish("shadow", result=result, **WHO)
    return held.id


def test_what_a_session_promoted_is_applied(operator: TestClient, desk: Desk) -> None:
    session = promoting(desk, socialGo=0.87)
    shown, made = done(operator, "apply", session=session)
    assert shown["changes"] == [change("socialGo", 0.75, 0.87, "score")]
    assert (made["version"], desk.store.version(1).session) == (1, session)
    assert operator.get(f"{P}/scenarios/results/{session}").json()["can_apply"] is False
    assert any(
        "applied already" in one for one in preview(operator, "apply", session=session).json()["warnings"]
    )


def test_an_application_that_will_be_refused_says_so(operator: TestClient, desk: Desk) -> None:
    session = promoting(desk, socialGo=0.87)
    committed(desk, costCapBps=5.0)
    desk.store.override("global", {"socialGo": 0.6}, **WHO)
    shown = preview(operator, "apply", session=session).json()
    said = " ".join(shown["warnings"])
    assert "baseline moved" in said
    assert "held at 0.6" in said
    response = post(operator, "apply", shown["confirmation"], session=session)
    assert (response.status_code, kind(response)) == (409, "stale-baseline")
    assert desk.store.in_force().version == 1


def test_only_what_has_ended_and_was_promoted_can_be_applied(operator: TestClient, desk: Desk) -> None:
    held = desk.store.sessions.start("global", "quick_tune", **WHO)
    assert preview(operator, "apply", session=held.id).status_code == 409
    held.finish("refused", **WHO)
    response = preview(operator, "apply", session=held.id)
    assert (response.status_code, "promoted nothing" in response.json()["detail"]) == (409, True)
    assert preview(operator, "apply", session="0" * 32).status_code == 404
