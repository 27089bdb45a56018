"""Shadow runs and A/B tests: fixed before, observed once, concluded not before their time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from engine.tuning.parameters import ParameterSet
from resources.parameter_store import ParameterStore, RefusedError, StoreError
from resources.parameter_store.triggers import RollbackTrigger

ABOUT: dict[str, Any] = {"actor": "alice", "reason": "gate passed"}
CANDIDATE = ParameterSet(social_go=0.8)
DESIGN: dict[str, Any] = {
    "candidate": CANDIDATE,
    "baseline": 0,
    "metric": "net return",
    "horizon": timedelta(days=14),
    "seed": 11,
    **ABOUT,
}


def test_an_experiment_is_fixed_before_it_starts(either_store: ParameterStore, clock: Any) -> None:
    trigger = RollbackTrigger("drawdown", 0.05, timedelta(days=14), "above")
    made = either_store.experiments.register("ab", "global", trigger=trigger, session="s1", **DESIGN)
    assert either_store.experiments.get(made.id) == made
    assert (made.state, made.candidate, made.baseline, made.seed) == ("running", CANDIDATE, 0, 11)
    assert (made.start, made.end, made.block) == (
        clock(),
        clock() + timedelta(days=14),
        timedelta(days=1),
    )
    assert (made.trigger, made.session, made.metric) == (trigger, "s1", "net return")
    assert either_store.experiments.running() == [made]
    assert either_store.in_force().version == 0


def test_one_of_a_kind_runs_in_a_scope(store: ParameterStore) -> None:
    first = store.experiments.register("ab", "global", **DESIGN)
    with pytest.raises(RefusedError, match=rf"global: ab {first.id} of alice runs until 2026-03-15"):
        store.experiments.register("ab", "global", **DESIGN)
    store.experiments.register("shadow", "global", **DESIGN)
    store.experiments.register("ab", "symbol:BTC/USDT", **DESIGN)
    store.experiments.stop(first.id, actor="bob", reason="no longer wanted")
    again = store.experiments.register("ab", "global", **DESIGN)
    assert [one.state for one in store.experiments.recent()] == ["running", "running", "running", "stopped"]
    assert store.experiments.recent(1) == [again]


def test_what_is_seen_is_appended_once(either_store: ParameterStore, clock: Any) -> None:
    experiments = either_store.experiments
    made = experiments.register("ab", "global", **DESIGN)
    first = experiments.observe(made.id, "BTC/USDT 2026-03-02", {"arm": "a", "net": 0.01})
    clock.forward(hours=1)
    assert experiments.observe(made.id, "BTC/USDT 2026-03-02", {"net": 0.01, "arm": "a"}) == first
    with pytest.raises(ValueError, match="'BTC/USDT 2026-03-02' was already seen otherwise"):
        experiments.observe(made.id, "BTC/USDT 2026-03-02", {"arm": "a", "net": 0.02})
    second = experiments.observe(made.id, "ETH/USDT 2026-03-02", {"arm": "b", "net": -0.01})
    assert experiments.observed(made.id) == [first, second]
    assert experiments.observed(made.id, after=1) == [second]
    with pytest.raises(ValueError, match=r"observation\.net is nan"):
        experiments.observe(made.id, "x", {"net": float("nan")})
    with pytest.raises(StoreError, match="there is no experiment 'none'"):
        experiments.observe("none", "x", {})


def test_no_conclusion_before_the_horizon(either_store: ParameterStore, clock: Any) -> None:
    experiments = either_store.experiments
    made = experiments.register("ab", "global", **DESIGN)
    experiments.observe(made.id, "k", {"net": 0.01})
    clock.forward(days=13)
    with pytest.raises(
        RefusedError, match=r"was registered to run until 2026-03-15 12:00:00 UTC; wait, or stop"
    ):
        experiments.conclude(made.id, {"better": True}, **ABOUT)
    assert either_store.history()[0].kind == "refused"
    clock.forward(days=1)
    ended = experiments.conclude(made.id, {"better": True}, **ABOUT)
    assert (ended.state, ended.result) == ("concluded", {"better": True})
    for late in (
        lambda: experiments.conclude(made.id, {}, **ABOUT),
        lambda: experiments.stop(made.id, **ABOUT),
        lambda: experiments.observe(made.id, "l", {}),
    ):
        with pytest.raises(StoreError, match="concluded"):
            late()
    assert either_store.verify().intact


def test_observations_changed_afterwards_are_found(either_store: ParameterStore, clock: Any) -> None:
    experiments = either_store.experiments
    made = experiments.register("ab", "global", **DESIGN)
    for number in range(3):
        experiments.observe(made.id, str(number), {"net": 0.01})
    clock.forward(days=14)
    experiments.conclude(made.id, {}, **ABOUT)
    with either_store._database.write() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER observations_no_update"))
        else:
            connection.execute(text("ALTER TABLE observations DISABLE TRIGGER USER"))
        changed = "UPDATE observations SET content = replace(content, '0.01', '0.02') WHERE number = 2"
        connection.execute(text(changed))
    report = either_store.verify()
    assert (report.intact, report.broken_row) == (False, 2)
    assert made.id in report.reason


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "try"}, "kind = 'try' must be 'shadow' or 'ab'"),
        ({"metric": ""}, "must name the metric"),
        ({"block": timedelta(days=15)}, "at most the horizon 14 days"),
        ({"block": timedelta(0)}, "block = 0:00:00 must be longer than nothing"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(
    store: ParameterStore, change: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        store.experiments.register(**{"kind": "ab", "scope": "global", **DESIGN, **change})
    assert store.history() == []


def test_experiments_are_paged(either_store: ParameterStore) -> None:
    experiments = either_store.experiments
    made = [experiments.register("shadow", f"symbol:S{number}", **DESIGN).id for number in range(3)]
    experiments.stop(made[1], actor="bob", reason="no longer wanted")
    assert [one.id for one in experiments.recent(2)] == [made[2], made[1]]
    assert [one.id for one in experiments.recent(2, before=made[1])] == [made[0]]
    assert experiments.recent(before=made[0]) == []
    with pytest.raises(StoreError, match="no experiment"):
        experiments.recent(before="0" * 32)
