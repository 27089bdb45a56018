"""Applications: once, whole, or not at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine.tuning.parameters import ParameterSet
from resources.parameter_store import (
    OverriddenError,
    ParameterStore,
    RefusedError,
    StaleBaseline,
    StoreError,
)
from resources.parameter_store.ledger import Transaction
from resources.parameter_store.triggers import RollbackTrigger

ABOUT: dict[str, Any] = {"actor": "alice", "reason": "gate passed"}
FOUND = ParameterSet(social_go=0.8)
TRIGGER = RollbackTrigger("sharpe", -1.0, timedelta(days=3))
CANDIDATE: dict[str, Any] = {
    "parameters": FOUND,
    "expected": None,
    "evidence": {"p": 0.01},
    "session": "s1",
    "triggers": [TRIGGER],
    **ABOUT,
}


def test_pending_then_applied_with_its_version(either_store: ParameterStore, clock: Any) -> None:
    pending = either_store.journal.propose("k", "global", **CANDIDATE)
    assert (pending.state, pending.version, pending.until) == ("pending", None, clock() + timedelta(days=1))
    assert either_store.in_force().version == 0
    assert either_store.journal.pending() == [pending]
    applied = either_store.journal.apply("k", actor="alice")
    assert (applied.state, applied.version) == ("applied", 1)
    version = either_store.version(1)
    assert (version.parameters, version.session, version.triggers) == (FOUND, "s1", (TRIGGER,))
    assert version.evidence == {"p": 0.01, "journal": "k"}
    assert either_store.journal.pending() == []
    assert [event.kind for event in either_store.history()] == [
        "journal.applied",
        "version.apply",
        "journal.pending",
    ]


def test_an_application_is_measured_against_the_version_that_it_names(store: ParameterStore) -> None:
    store.commit("global", ParameterSet(tp_news=3.0), expected=None, evidence={}, **ABOUT)
    store.journal.propose("k", "global", **{**CANDIDATE, "expected": 1})
    store.journal.propose("old", "global", **CANDIDATE)
    with pytest.raises(StaleBaseline):
        store.journal.apply("old", actor="alice")
    assert store.journal.apply("k", actor="alice").version == 2
    assert store.version(2).replaces == 1


def test_trying_again_changes_nothing(either_store: ParameterStore) -> None:
    proposed = either_store.journal.propose("k", "global", **CANDIDATE)
    assert either_store.journal.propose("k", "global", **CANDIDATE) == proposed
    applied = either_store.journal.apply("k", actor="alice")
    assert either_store.journal.apply("k", actor="bob") == applied
    assert either_store.journal.propose("k", "global", **CANDIDATE) == applied
    assert either_store.journal.recover() == []
    assert len(either_store.history()) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": ParameterSet()},
        {"expected": 3},
        {"evidence": {"p": 0.02}},
        {"scope": "symbol:BTC/USDT"},
        {"triggers": []},
    ],
)
def test_a_key_stands_for_one_application(store: ParameterStore, change: dict[str, Any]) -> None:
    arguments = {"scope": "global", **CANDIDATE}
    store.journal.propose("k", **arguments)
    with pytest.raises(ValueError, match="'k' already stands for another application, by alice for global"):
        store.journal.propose("k", **{**arguments, **change})


def test_a_moved_baseline_refuses_for_good(either_store: ParameterStore) -> None:
    either_store.journal.propose("k", "global", **CANDIDATE)
    either_store.commit("global", ParameterSet(social_go=0.6), expected=None, evidence={}, **ABOUT)
    with pytest.raises(StaleBaseline, match="measured against the defaults, but version 1 is in force"):
        either_store.journal.apply("k", actor="alice")
    entry = either_store.journal.entry("k")
    assert (entry.state, entry.version) == ("refused", None)
    assert "version 1 is in force" in entry.reason
    rows = len(either_store.history())
    with pytest.raises(RefusedError, match=r"k was refused at .*propose it anew under another key"):
        either_store.journal.apply("k", actor="alice")
    assert len(either_store.history()) == rows
    assert either_store.in_force().version == 1


def test_an_override_refuses_it(store: ParameterStore) -> None:
    store.journal.propose("k", "global", **CANDIDATE)
    store.journal.propose("l", "global", leave_out=True, **CANDIDATE)
    store.override("global", {"socialGo": 0.5}, **ABOUT)
    with pytest.raises(OverriddenError, match=r"socialGo is held at 0.5"):
        store.journal.apply("k", actor="alice")
    assert store.journal.entry("k").state == "refused"
    assert store.journal.apply("l", actor="alice").version == 1
    assert set(store.version(1).left_out) == {"socialGo"}


def test_its_time_can_be_over(store: ParameterStore, clock: Any) -> None:
    store.journal.propose("k", "global", valid_for=timedelta(hours=1), **CANDIDATE)
    clock.forward(hours=1)
    with pytest.raises(RefusedError, match="could be applied until 2026-03-01 13:00:00 UTC"):
        store.journal.apply("k", actor="alice")
    assert store.journal.entry("k").state == "refused"


def test_recovery_resolves_each_pending_one_once(either_store: ParameterStore, clock: Any) -> None:
    journal = either_store.journal
    journal.propose("old", "symbol:ETH/USDT", valid_for=timedelta(hours=1), **CANDIDATE)
    journal.propose("first", "global", **CANDIDATE)
    journal.propose("second", "global", **CANDIDATE)
    clock.forward(hours=2)
    resolved = {entry.key: (entry.state, entry.version) for entry in either_store.recover()}
    assert resolved == {"old": ("refused", None), "first": ("applied", 1), "second": ("refused", None)}
    rows = len(either_store.history())
    assert either_store.recover() == []
    assert len(either_store.history()) == rows


def test_a_crash_inside_leaves_it_pending(store: ParameterStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.journal.propose("k", "global", **CANDIDATE)
    append = Transaction.append

    def crash(self: Transaction, kind: str, **rest: Any) -> Any:
        if kind == "journal.applied":
            raise KeyboardInterrupt
        return append(self, kind, **rest)

    monkeypatch.setattr(Transaction, "append", crash)
    with pytest.raises(KeyboardInterrupt):
        store.journal.apply("k", actor="alice")
    monkeypatch.undo()
    assert store.in_force().version == 0
    assert [entry.version for entry in store.recover()] == [1]


def test_a_rollback_moves_the_application_that_made_the_version(either_store: ParameterStore) -> None:
    either_store.journal.propose("k", "global", **CANDIDATE)
    either_store.journal.apply("k", actor="alice")
    either_store.rollback("global", 0, actor="trigger", reason="sharpe below -1", expected=1)
    entry = either_store.journal.entry("k")
    assert (entry.state, entry.version, entry.actor) == ("rolled back", 1, "trigger")
    assert either_store.journal.apply("k", actor="alice") == entry
    assert either_store.in_force().version == 2
    # A later rollback of what the rollback made leaves it alone.
    either_store.rollback("global", 1, **ABOUT)
    assert either_store.journal.entry("k") == entry


def test_a_pending_one_can_be_given_up(store: ParameterStore) -> None:
    store.journal.propose("k", "global", **CANDIDATE)
    given_up = store.journal.refuse("k", actor="bob", reason="not tonight")
    assert (given_up.state, given_up.reason) == ("refused", "not tonight")
    assert store.journal.refuse("k", actor="bob", reason="again") == given_up
    store.journal.propose("l", "global", **CANDIDATE)
    store.journal.apply("l", actor="alice")
    with pytest.raises(StoreError, match="l was applied as version 1; roll that back instead"):
        store.journal.refuse("l", actor="bob", reason="late")


def test_bad_arguments_name_what_is_wrong(store: ParameterStore) -> None:
    with pytest.raises(ValueError, match="key = ' ' must be text"):
        store.journal.propose(" ", "global", **CANDIDATE)
    with pytest.raises(ValueError, match=r"valid_for = .* must be longer than nothing"):
        store.journal.propose("k", "global", valid_for=timedelta(0), **CANDIDATE)
    with pytest.raises(StoreError, match="the journal has no application 'x'"):
        store.journal.apply("x", actor="alice")
    assert store.history() == []


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"metric": " "}, "must name the metric"),
        ({"threshold": float("nan")}, "threshold = nan of sharpe must be a finite number"),
        ({"horizon": timedelta(0)}, "horizon = 0:00:00 of sharpe must be longer"),
        ({"when": "near"}, "when = 'near' of sharpe must be 'below' or 'above'"),
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused(change: dict[str, Any], match: str) -> None:
    arguments: dict[str, Any] = {"metric": "sharpe", "threshold": 0.0, "horizon": timedelta(days=1), **change}
    with pytest.raises(ValueError, match=match):
        RollbackTrigger(**arguments)
