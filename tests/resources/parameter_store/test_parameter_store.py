"""Versions, overrides and resolution."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from resources.parameter_store import OverriddenError, ParameterStore, Scope, StaleBaseline, StoreError
from resources.parameter_store.triggers import RollbackTrigger

ABOUT: dict[str, Any] = {"actor": "alice", "reason": "a test"}
MEASURED: dict[str, Any] = {**ABOUT, "evidence": {"lower_bound": 0.01}}
BTC, PANIC = "symbol:BTC/USDT", "regime:PANIC"


def a_set(social_go: float = 0.8, **values: float) -> ParameterSet:
    return ParameterSet(social_go=social_go, **values)


def test_an_empty_store_gives_the_defaults(either_store: ParameterStore) -> None:
    found = either_store.in_force("BTC/USDT", "PANIC")
    assert (found.parameters, found.version, found.scope, found.overridden) == (DEFAULTS, 0, None, ())
    assert found.hash == DEFAULTS.content_hash
    assert either_store.history() == []


def test_a_version_is_read_back_as_it_was_written(either_store: ParameterStore, clock: Any) -> None:
    trigger = RollbackTrigger("sharpe", -1.0, timedelta(days=3))
    written = either_store.commit(
        "global", a_set(), expected=None, session="s1", triggers=[trigger], **MEASURED
    )
    assert either_store.version(1) == written
    assert written.at == clock()
    assert (written.scope, written.kind, written.replaces, written.session) == (Scope(), "apply", 0, "s1")
    assert written.changes == {"socialGo": (0.75, 0.8)}
    assert written.evidence == {"lower_bound": 0.01}
    assert written.triggers == (trigger,)
    assert either_store.in_force().parameters == a_set()
    assert either_store.versions() == [written]


def test_symbol_comes_before_regime_before_global(either_store: ParameterStore) -> None:
    either_store.commit("global", a_set(0.5), expected=None, **MEASURED)
    either_store.commit(PANIC, a_set(0.6), expected=1, **MEASURED)
    assert either_store.in_force("BTC/USDT", "PANIC").parameters.social_go == 0.6
    either_store.commit(BTC, a_set(0.7), expected=1, **MEASURED)
    asked = {
        ("BTC/USDT", "PANIC"): (0.7, 3, BTC),
        ("BTC/USDT", None): (0.7, 3, BTC),
        ("ETH/USDT", "PANIC"): (0.6, 2, PANIC),
        ("ETH/USDT", "TREND"): (0.5, 1, "global"),
        (None, None): (0.5, 1, "global"),
    }
    for (symbol, regime), expected in asked.items():
        found = either_store.in_force(symbol, regime)
        assert (found.parameters.social_go, found.version, str(found.scope)) == expected


def test_a_moved_baseline_is_refused_and_the_attempt_recorded(either_store: ParameterStore) -> None:
    either_store.commit("global", a_set(0.5), expected=None, **MEASURED)
    with pytest.raises(StaleBaseline, match=r"measured against the defaults, but version 1 .* by alice") as e:
        either_store.commit("global", a_set(0.6), expected=None, actor="bob", reason="mine", evidence={})
    assert (e.value.scope, e.value.expected) == ("global", 0)
    assert e.value.found == either_store.version(1)
    assert either_store.in_force().parameters.social_go == 0.5
    refused = either_store.history()[0]
    assert (refused.kind, refused.actor, refused.content["error"]) == ("refused", "bob", "StaleBaseline")
    assert either_store.verify().intact


def test_a_symbol_without_versions_rests_on_the_global_ones(store: ParameterStore) -> None:
    assert store.baseline(BTC).version == 0
    store.commit("global", a_set(0.5), expected=None, **MEASURED)
    with pytest.raises(StaleBaseline, match="version 1 is in force"):
        store.commit(BTC, a_set(0.6), expected=None, **MEASURED)
    store.commit(BTC, a_set(0.6), expected=store.baseline(BTC).version, **MEASURED)
    store.commit("global", a_set(0.7), expected=1, **MEASURED)
    # What the symbol rests on has not moved.
    assert store.commit(BTC, a_set(0.8), expected=2, **MEASURED).replaces == 2


def test_rollback_goes_to_any_version_in_one_call(either_store: ParameterStore) -> None:
    for number, value in enumerate((0.5, 0.6, 0.7)):
        either_store.commit("global", a_set(value), expected=number, **MEASURED)
    back = either_store.rollback("global", 1, **ABOUT)
    assert (back.version, back.kind, back.replaces, back.parameters.social_go) == (4, "rollback", 3, 0.5)
    assert back.evidence["back_to"] == 1
    assert either_store.in_force().parameters == a_set(0.5)
    assert either_store.rollback("global", 0, **ABOUT).parameters == DEFAULTS
    with pytest.raises(StaleBaseline, match="measured against version 3, but version 5"):
        either_store.rollback("global", 1, expected=3, **ABOUT)
    with pytest.raises(StoreError, match="no version 99 to go back to; the newest is 5"):
        either_store.rollback("global", 99, **ABOUT)


def test_reset_lets_what_holds_more_widely_hold_again(store: ParameterStore) -> None:
    store.commit(BTC, a_set(0.6), expected=None, **MEASURED)
    store.commit("global", a_set(0.5), expected=None, **MEASURED)
    reset = store.reset(BTC, **ABOUT)
    assert (reset.kind, reset.inherits, reset.parameters.social_go) == ("reset", True, 0.5)
    assert store.in_force("BTC/USDT").version == 2
    store.commit("global", a_set(0.7), expected=2, **MEASURED)
    assert store.in_force("BTC/USDT").parameters.social_go == 0.7
    store.reset("global", **ABOUT)
    assert store.in_force("BTC/USDT").version == 0


def test_an_override_holds_only_what_it_names(either_store: ParameterStore) -> None:
    either_store.commit("global", a_set(0.5, cost_cap_bps=9.0), expected=None, **MEASURED)
    either_store.commit(BTC, a_set(0.6, cost_cap_bps=10.0), expected=1, **MEASURED)
    either_store.override("global", {"socialGo": 0.9, "costCapBps": 4}, **ABOUT)
    either_store.override(BTC, {"socialGo": 0.95}, **ABOUT)
    btc, eth = either_store.in_force("BTC/USDT"), either_store.in_force("ETH/USDT")
    assert (btc.parameters.social_go, btc.parameters.cost_cap_bps, btc.version) == (0.95, 4.0, 2)
    assert (eth.parameters.social_go, eth.parameters.cost_cap_bps, eth.version) == (0.9, 4.0, 1)
    assert btc.overridden == ("socialGo", "costCapBps")
    assert [str(hold.scope) for hold in btc.holds] == [BTC, "global"]
    assert len(either_store.holds()) == 3
    lifted = either_store.lift("global", ["socialGo"], **ABOUT)
    assert [(hold.name, hold.value) for hold in lifted] == [("socialGo", 0.9)]
    assert either_store.in_force("ETH/USDT").overridden == ("costCapBps",)
    either_store.lift(BTC, **ABOUT)
    assert either_store.in_force("BTC/USDT").parameters.social_go == 0.6


def test_automation_does_not_change_what_a_person_holds(store: ParameterStore) -> None:
    store.commit("global", a_set(0.5), expected=None, **MEASURED)
    store.override(BTC, {"socialGo": 0.9}, actor="bob", reason="news week")
    with pytest.raises(
        OverriddenError, match=r"socialGo is held at 0.9 .* by bob .*news week.* would become 0.6"
    ):
        store.commit(BTC, a_set(0.6, cost_cap_bps=5.0), expected=1, **MEASURED)
    assert store.history()[0].content["error"] == "OverriddenError"
    made = store.commit(BTC, a_set(0.6, cost_cap_bps=5.0), expected=1, leave_out=True, **MEASURED)
    assert (made.parameters.social_go, made.parameters.cost_cap_bps) == (0.5, 5.0)
    assert "held at 0.9" in made.left_out["socialGo"]
    # Elsewhere it is not held.
    assert store.commit("global", a_set(0.6), expected=1, **MEASURED).left_out == {}


def test_what_is_held_does_not_become_part_of_a_version(store: ParameterStore) -> None:
    store.override("global", {"socialGo": 0.9}, **ABOUT)
    searched = ParameterSet.from_mapping({"costCapBps": 5.0}, store.baseline("global").parameters)
    made = store.commit("global", searched, expected=None, **MEASURED)
    assert made.parameters == ParameterSet(cost_cap_bps=5.0)
    assert set(made.left_out) == {"socialGo"}
    assert store.in_force().parameters == searched
    store.lift("global", **ABOUT)
    assert store.in_force().parameters.social_go == DEFAULTS.social_go


@pytest.mark.parametrize("kind", ["override", "reset", "rollback"])
def test_a_person_may_change_what_is_underneath(store: ParameterStore, kind: Any) -> None:
    store.override("global", {"socialGo": 0.9}, **ABOUT)
    store.commit("global", a_set(0.6), expected=None, kind=kind, **MEASURED)
    assert store.in_force().parameters.social_go == 0.9
    store.rollback("global", 0, **ABOUT)
    assert store.in_force().parameters.social_go == 0.9


def test_an_override_ends_at_its_moment_and_not_silently(either_store: ParameterStore, clock: Any) -> None:
    until = clock() + timedelta(hours=1)
    either_store.override("global", {"socialGo": 0.9, "costCapBps": 5}, until=until, **ABOUT)
    clock.forward(minutes=59, seconds=59)
    assert either_store.in_force().overridden == ("socialGo", "costCapBps")
    clock.forward(seconds=1)
    found = either_store.in_force()
    assert (found.parameters, found.overridden) == (DEFAULTS, ())
    assert [hold.name for hold in found.expired] == ["socialGo", "costCapBps"]
    either_store.commit("global", a_set(0.6), expected=None, **MEASURED)
    assert [event.kind for event in either_store.history()] == [
        "version.apply",
        "override.expired",
        "override.expired",
        "override.set",
    ]
    assert either_store.in_force().expired == ()
    assert either_store.in_force(at=until - timedelta(seconds=1)).parameters.social_go == 0.9


def test_recover_records_what_has_expired(store: ParameterStore, clock: Any) -> None:
    store.override(BTC, {"socialGo": 0.9}, until=clock() + timedelta(hours=1), **ABOUT)
    assert store.recover() == []
    clock.forward(hours=2)
    store.recover()
    store.recover()
    assert [event.kind for event in store.history()] == ["override.expired", "override.set"]


def test_an_override_set_anew_takes_the_place_of_one_that_expires(store: ParameterStore, clock: Any) -> None:
    store.override("global", {"socialGo": 0.9}, until=clock() + timedelta(hours=1), **ABOUT)
    store.override("global", {"socialGo": 0.8}, **ABOUT)
    clock.forward(hours=2)
    assert store.in_force().parameters.social_go == 0.8


def test_history_can_be_looked_at_as_it_was(either_store: ParameterStore, clock: Any) -> None:
    moments = []
    for number, value in enumerate((0.5, 0.6, 0.7)):
        either_store.commit("global", a_set(value), expected=number, **MEASURED)
        moments.append(clock())
        clock.forward(hours=1)
    for moment, value in zip(moments, (0.5, 0.6, 0.7), strict=True):
        assert either_store.in_force(at=moment).parameters.social_go == value
    assert either_store.in_force(at=moments[0] - timedelta(microseconds=1)).version == 0
    later = moments[1].astimezone(tz=None)
    assert either_store.in_force(at=later).version == 2


def test_pages_of_history_neither_miss_nor_repeat_a_row(store: ParameterStore) -> None:
    for scope in (BTC, "global"):
        store.commit(scope, a_set(), expected=None, **MEASURED)
    for number in range(5):
        store.override("global", {"socialGo": 0.5 + number / 100}, **ABOUT)
    seen: list[int] = []
    while rows := store.history(limit=3, before=seen[-1] if seen else None):
        seen += [row.seq for row in rows]
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert [version.version for version in store.versions(limit=1)] == [2]
    assert [version.version for version in store.versions(before=2)] == [1]
    assert [row.seq for row in store.history(BTC)] == [1]


def test_triggers_are_armed_while_their_version_is_in_force(store: ParameterStore, clock: Any) -> None:
    trigger = RollbackTrigger("drawdown", 0.05, timedelta(days=2), "above")
    store.commit(BTC, a_set(), expected=None, triggers=[trigger], **MEASURED)
    (armed,) = store.armed_triggers()
    assert (armed.scope, armed.version, armed.replaces, armed.trigger) == (BTC, 1, 0, trigger)
    assert (armed.since, armed.until) == (clock(), clock() + timedelta(days=2))
    assert [trigger.fires(value) for value in (0.06, 0.05, float("nan"))] == [True, False, False]
    store.rollback(armed.scope, armed.replaces, expected=armed.version, **ABOUT)
    assert store.armed_triggers() == []
    store.commit(BTC, a_set(), expected=2, triggers=[trigger], **MEASURED)
    clock.forward(days=2)
    assert store.armed_triggers() == []


def test_other_parts_can_record_but_not_in_the_stores_name(store: ParameterStore) -> None:
    event = store.record("login.refused", actor="mallory", reason="wrong password", content={"tries": 3})
    assert store.history() == [event]
    for kind in ("version.apply", "journal.applied", "refused", " "):
        with pytest.raises(ValueError, match="does not begin with version, override, journal"):
            store.record(kind, **ABOUT)


NAIVE = datetime(2026, 5, 1)
BAD_INPUT: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unknown name": ({"values": {"socialgo": 0.5}}, ValueError, "'socialgo' is not a parameter; known are"),
    "out of bounds": ({"values": {"socialGo": 2}}, ValueError, "socialGo = 2 must lie between 0.4 and 0.95"),
    "not a number": ({"values": {"socialGo": float("nan")}}, ValueError, "socialGo = nan must lie between"),
    "text": ({"values": {"socialGo": "0.5"}}, TypeError, "must be a number from 0.4 to 0.95"),
    "truth": ({"values": {"socialGo": True}}, TypeError, "must be a number from 0.4 to 0.95"),
    "nothing": ({"values": {}}, ValueError, "needs at least one value"),
    "no zone": ({"until": NAIVE}, ValueError, "until = 2026-05-01 00:00:00 has no zone"),
    "no moment": ({"until": "tomorrow"}, TypeError, "until = 'tomorrow' must be a datetime"),
    "past": (
        {"until": datetime(2026, 3, 1, 12, tzinfo=UTC)},
        ValueError,
        "is already past: it is 2026-03-01",
    ),
    "nobody": ({"actor": " "}, ValueError, "actor = ' ' must be text"),
    "no reason": ({"reason": ""}, ValueError, "reason = '' must be text"),
    "scope": ({"scope": "symbol"}, ValueError, "must be global, symbol:NAME such as symbol:BTC/USDT"),
    "regime": ({"scope": "regime:CALM"}, ValueError, "regime:TREND, regime:RANGE, regime:PANIC"),
    "type of scope": ({"scope": 3}, TypeError, "scope = 3 must be text"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_its_bound(store: ParameterStore, case: str) -> None:
    change, error, match = BAD_INPUT[case]
    arguments: dict[str, Any] = {"scope": "global", "values": {"socialGo": 0.5}, **ABOUT, **change}
    with pytest.raises(error, match=match):
        store.override(**arguments)
    assert store.history() == []


def test_a_commit_of_something_else_is_refused(store: ParameterStore) -> None:
    with pytest.raises(TypeError, match="parameters must be a ParameterSet, not a dict"):
        store.commit("global", {"socialGo": 0.5}, expected=None, **MEASURED)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected = '1' must be the number of a version"):
        store.commit("global", a_set(), expected="1", **MEASURED)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind = 'try' must be one of apply, rollback"):
        store.commit("global", a_set(), expected=None, kind="try", **MEASURED)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"content.evidence.p\[1\] is nan; give a number, or None"):
        store.commit("global", a_set(), expected=None, **ABOUT, evidence={"p": [0.1, float("nan")]})
    with pytest.raises(TypeError, match="version = True must be a whole number"):
        store.rollback("global", True, **ABOUT)
    with pytest.raises(ValueError, match="at = 2026-05-01 00:00:00 has no zone"):
        store.in_force(at=NAIVE)
    assert store.history() == []


def test_only_what_is_held_can_be_lifted(store: ParameterStore) -> None:
    with pytest.raises(ValueError, match="global: nothing can be lifted: nothing is held there"):
        store.lift("global", **ABOUT)
    store.override("global", {"socialGo": 0.5}, **ABOUT)
    with pytest.raises(ValueError, match="global: costCapBps can be lifted: held are socialGo there"):
        store.lift("global", ["costCapBps"], **ABOUT)
    with pytest.raises(TypeError, match=r"must be several names, such as \['socialGo'\]"):
        store.lift("global", "socialGo", **ABOUT)


@pytest.mark.parametrize("seed", range(4))
def test_resolution_is_that_of_a_model_kept_by_hand(store: ParameterStore, clock: Any, seed: int) -> None:
    """Any mixture of commits, overrides, lifts, expiries and resets, beside plain dictionaries."""
    rng = random.Random(seed)
    scopes = ("global", BTC, PANIC)
    own: dict[str, ParameterSet] = {}
    held: dict[str, dict[str, tuple[float, datetime | None]]] = {scope: {} for scope in scopes}
    for _ in range(14):
        scope, name = rng.choice(scopes), rng.choice(list(PARAMETERS))
        value = rng.uniform(PARAMETERS[name].low, PARAMETERS[name].high)
        clock.forward(minutes=rng.randrange(1, 30))
        for holder in held.values():
            for lapsed in [n for n, (_, until) in holder.items() if until is not None and until <= clock()]:
                del holder[lapsed]
        match rng.randrange(5):
            case 0 | 1:
                own[scope] = ParameterSet.from_mapping({name: value}, own.get(scope, own.get("global")))
                expected = store.baseline(scope).version
                store.commit(scope, own[scope], expected=expected, kind="override", **MEASURED)
            case 2:
                until = clock() + timedelta(minutes=30) if rng.random() < 0.5 else None
                store.override(scope, {name: value}, until=until, **ABOUT)
                held[scope][name] = value, until
            case 3 if held[scope]:
                store.lift(scope, [lifted := rng.choice(list(held[scope]))], **ABOUT)
                del held[scope][lifted]
            case 4:
                store.reset(scope, **ABOUT)
                own.pop(scope, None)
        for symbol, regime, order in (
            ("BTC/USDT", "PANIC", (BTC, PANIC, "global")),
            ("ETH/USDT", "PANIC", (PANIC, "global")),
            ("BTC/USDT", "TREND", (BTC, "global")),
        ):
            values = next((own[place] for place in order if place in own), DEFAULTS).to_dict()
            for place in reversed(order):
                values |= {n: number for n, (number, _) in held[place].items()}
            assert store.in_force(symbol, regime).parameters.to_dict() == values
    assert store.verify().intact


def test_the_history_is_read_on_from_a_row_and_by_subject(either_store: ParameterStore) -> None:
    for number in range(4):
        either_store.record("login.accepted", subject=f"user {number % 2}", **ABOUT)
    assert [event.seq for event in either_store.since(0)] == [1, 2, 3, 4]
    assert [event.seq for event in either_store.since(1, limit=2)] == [2, 3]
    assert either_store.since(4) == []
    assert [event.seq for event in either_store.about("user 1")] == [2, 4]
    assert either_store.about("nobody") == []
