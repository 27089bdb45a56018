"""Parameter training in the graph: a run is a session, and parameters come into force by the gate alone."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from sqlalchemy import create_engine, text

import engine_assets.tuning as graph
from engine.evaluation.attempts import level_of
from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from engine.tuning.shadow import shadow
from engine_assets.tuning import TABLES, chain_verifies, parameter_tables, tuning_runs
from engine_assets.tuning_experiments import follow_experiments
from engine_assets.tuning_frames import experiments_frame, runs_frame
from engine_assets.tuning_inputs import costs_of, open_store, tape_of
from engine_assets.tuning_order import TuneOrder
from engine_assets.tuning_promotions import TRIGGER_RATIO, apply_session
from engine_assets.tuning_sessions import attempts_before, conduct
from engine_assets.tuning_tables import AB_RESULTS, EPISODES, HISTORY, LIVE_PARAMETERS, RUNS
from resources.parameter_store import BusyError, ParameterStore, RefusedError, StoreError
from resources.parameter_store.experiments import Experiment
from resources.settings import CostSettings, Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

BAR = timedelta(hours=4)
START = datetime(2023, 1, 1)
DAYS = 460
TYPES = {
    "symbol": "VARCHAR",
    "series": "VARCHAR",
    "ts": "TIMESTAMP",
    "available_at": "TIMESTAMP",
    "known_at": "TIMESTAMP",
}


def stored(warehouse: Warehouse, name: str, frame: pl.DataFrame) -> None:
    columns = tuple(Column(each, TYPES.get(each, "DOUBLE"), "-", nullable=True) for each in frame.columns)  # type: ignore[arg-type]
    table = Table("staging", name, "Stand-in.", columns)
    warehouse.replace(table, table.of(frame))


def planted(warehouse: Warehouse, symbol: str = "BTC/USDT") -> None:
    """A market whose breakouts go on for days, and whose news is strong and wrong: `socialGo` is too low."""
    rng = np.random.default_rng(5)
    bars = DAYS * 6
    side = np.repeat(rng.choice([-1.0, 1.0], DAYS // 20 + 1), 120)[:bars]
    steps = 0.0025 * side + 0.0016 * rng.standard_normal(bars)
    close = 100.0 * np.exp(np.cumsum(steps))
    start = np.concatenate([[100.0], close[:-1]])
    width = 1.0 + 0.0005 * np.abs(rng.standard_normal(bars))
    ts = [START + i * BAR for i in range(bars)]
    candles = pl.DataFrame(
        {
            "symbol": symbol,
            "ts": ts,
            "open": start,
            "high": np.maximum(start, close) * width,
            "low": np.minimum(start, close) / width,
            "close": close,
            "volume": 1e7,
            "log_return": steps,
            "known_at": [moment + BAR for moment in ts],
        }
    )
    said = pl.DataFrame({"symbol": symbol, "ts": ts, "available_at": ts, "value": 0.5 - 0.4 * side})
    stored(warehouse, "candles", candles)
    scores = [said.select(pl.lit(name).alias("series"), "*") for name in ("social_score", "news_score")]
    stored(warehouse, "alternative", pl.concat(scores))


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tuning") / "engine.duckdb"
    planted(Warehouse(address=str(path)))
    return path


@pytest.fixture
def settings(market: Path, tmp_path: Path) -> Settings:
    """Each test has parameters of its own, on a copy of the one market."""
    shutil.copy(market, tmp_path / market.name)
    # Small enough for the market, so that it is the parameters that decide what is traded.
    costs = CostSettings(capital=50_000.0)
    return Settings(warehouse=str(tmp_path / market.name), bar="4h", reports=tmp_path, costs=costs)


@pytest.fixture
def store(settings: Settings) -> ParameterStore:
    return open_store(settings)


@pytest.fixture
def warehouse(settings: Settings) -> Warehouse:
    return Warehouse(address=settings.warehouse)


def order(**more: Any) -> TuneOrder:
    return TuneOrder(**{"episodes": 2, "seed": 1, "actor": "test", "reason": "to see", **more})


@cache
def instance() -> dg.DagsterInstance:
    """Dagster's own storage, which says nothing of a store of parameters and takes long to make."""
    return dg.DagsterInstance.ephemeral()


def run(settings: Settings, asked: TuneOrder, **more: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [tuning_runs, parameter_tables, chain_verifies],
        resources={"warehouse": Warehouse(address=settings.warehouse), "settings": settings},
        run_config={"ops": {graph.TUNING_OP: {"config": asked.model_dump(exclude_none=True)}}},
        instance=instance(),
        **more,
    )


def shown(result: dg.ExecuteInProcessResult, table: Table) -> dict[str, Any]:
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key.path[-1] == table.name  # type: ignore[union-attr]
    ]
    metadata = event.step_materialization_data.materialization.metadata
    return {name: value.value for name, value in metadata.items()}


def test_a_planted_improvement_is_found_applied_and_watched(
    settings: Settings, store: ParameterStore, warehouse: Warehouse
) -> None:
    result = run(settings, order())
    assert result.success
    live = store.in_force()
    assert live.version == 1
    assert live.parameters.social_go > 0.80 > DEFAULTS.social_go

    (row,) = warehouse.frame(f"FROM {RUNS.full_name}").filter(verdict="applied").iter_rows(named=True)
    assert (row["scenario"], row["scope"], row["method"], row["goal"]) == (
        "quick_tune",
        "global",
        "pgpe",
        "balanced",
    )
    assert (row["version"], row["attempt"], row["actor"], row["reason"]) == (1, 1, "test", "to see")
    assert row["alpha"] == pytest.approx(0.05 * 6 / np.pi**2)
    assert row["p_value"] <= row["alpha"]
    assert row["low"] > 0
    assert json.loads(row["best"]) == live.parameters.to_dict()
    assert row["search_end"] < row["evidence_start"]
    assert (row["episodes"], row["evaluations"]) == (2, 65)
    assert json.loads(row["symbols"]) == ["BTC/USDT"]

    version = store.version(1)
    assert version.session == row["session"]
    assert version.evidence["family_hash"]
    assert [kind["stress"] for kind in version.evidence["stress"]] == [
        "calm",
        "dear",
        "late",
        "gaps",
        "panic",
    ]
    assert all(kind["passed"] and kind["paths"] >= 8 for kind in version.evidence["stress"])
    assert "no kind of stress is clearly too much" in row["reasons"]
    assert set(version.evidence["trigger"]) == {"horizon", "alpha", "fall", "bound", "worst"}
    (armed,) = store.armed_triggers()
    assert (armed.trigger.metric, armed.trigger.when, armed.replaces) == (TRIGGER_RATIO, "above", 0)
    assert armed.trigger.threshold == 1.0, "the ratio of what it watches to its limit"
    assert armed.trigger.horizon == timedelta(days=version.evidence["trigger"]["horizon"] + 2)
    assert store.journal.entry(row["session"]).state == "applied"

    kept = store.sessions.get(row["session"]).result
    assert kept is not None
    front = kept["front"]
    assert 1 <= len(front["sets"]) <= min(front["size"], 24)
    assert front["promoted"]["parameters"] == live.parameters.to_dict()
    assert front["in_force"]["parameters"] == DEFAULTS.to_dict()
    assert front["promoted"]["return"] > front["in_force"]["return"]
    risks = [one["risk"] for one in front["sets"]]
    assert risks == sorted(risks)
    assert set(front["sets"][0]) == {"parameters", "score", "return", "risk", "cost"}

    for picture in ("reward by episode", "parameter paths", "front", "evidence", "stress"):
        assert "data:image/png" in shown(result, RUNS)[picture]
    told = [one for one in result.all_events if one.event_type_value == "ASSET_OBSERVATION"]
    observed = [one.asset_observation_data.asset_observation.metadata for one in told]
    assert [facts["episode"].value for facts in observed] == [1, 2]


def test_what_stress_would_break_is_refused_with_the_figures(
    settings: Settings, store: ParameterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fall is too deep here, so that the gate alone would have promoted."""
    monkeypatch.setattr("engine.tuning.stress.ALLOWED", SimpleNamespace(limit=lambda fall: fall - 1.0))
    monkeypatch.setattr("engine.tuning.stress._surely_earned", lambda *_: -1.0)
    result = run(settings, order())
    assert result.success
    (record,) = store.sessions.recent()
    assert record.status == "refused"
    assert store.in_force().version == 0
    assert record.result is not None
    evidence = record.result["evidence"]
    assert not evidence["promoted"]
    assert any(not kind["passed"] for kind in evidence["stress"])
    assert evidence["reasons"][0].startswith("refused under stress: ")
    assert evidence["figures"]["p_value"] <= record.result["alpha"], "the gate had let it pass"
    assert record.result["promoted"] is None
    assert "data:image/png" in shown(result, RUNS)["stress"]


def test_the_tables_say_what_the_store_says(
    settings: Settings, store: ParameterStore, warehouse: Warehouse
) -> None:
    store.override("symbol:BTC/USDT", {"tpNews": 3.0}, actor="ann", reason="earnings")
    result = run(settings, order(mode="shadow"))
    for table in TABLES:
        assert shown(result, table)["dagster/row_count"] == warehouse.frame(f"FROM {table.full_name}").height
    live = warehouse.frame(f"FROM {LIVE_PARAMETERS.full_name}")
    assert live.height == 2 * len(PARAMETERS)
    held = live.filter(pl.col("overridden")).row(0, named=True)
    assert (held["scope"], held["parameter"], held["value"], held["held_by"]) == (
        "symbol:BTC/USDT",
        "tpNews",
        3.0,
        "ann",
    )
    assert set(live["comes_from"]) == {"defaults"}
    episodes = warehouse.frame(f"FROM {EPISODES.full_name} ORDER BY session, episode")
    assert episodes.filter(session=store.sessions.recent()[0].id)["episode"].to_list() == [1, 2]
    history = warehouse.frame(f"FROM {HISTORY.full_name} ORDER BY number")
    assert history.tail(1)["hash"][0] == store.head()[1]


def test_a_shadow_leaves_the_parameters_and_runs_beside_them(
    settings: Settings, store: ParameterStore, warehouse: Warehouse
) -> None:
    assert run(settings, order(mode="shadow")).success
    assert store.in_force().version == 0
    (experiment,) = store.experiments.running()
    (record,) = store.sessions.recent()
    assert (experiment.kind, experiment.session, record.status) == ("shadow", record.id, "shadow")
    rows = warehouse.frame(f"FROM {AB_RESULTS.full_name}")
    assert rows.filter(experiment=experiment.id)["state"].to_list() == ["running"]

    entry = apply_session(store, record.id, actor="ann", reason="the shadow did well")
    assert (entry.state, entry.version) == ("applied", 1)
    assert store.in_force().parameters == experiment.candidate
    assert store.experiments.get(experiment.id).state == "stopped"
    assert not store.experiments.running(), "the scope is free for the next"


def test_a_run_that_finds_somebody_else_at_work_says_who(settings: Settings, store: ParameterStore) -> None:
    store.sessions.start("global", "risk_optimizer", actor="ann", reason="first")
    with pytest.raises(
        BusyError, match=rf"risk_optimizer is already running .* by ann .* process {os.getpid()} on"
    ):
        run(settings, order())
    # Parameters of a symbol are another matter.
    assert run(settings, order(symbols=["BTC/USDT"])).success
    assert store.in_force("BTC/USDT").version == 1
    assert store.in_force().version == 0


def test_what_moved_meanwhile_is_not_overwritten(
    settings: Settings, store: ParameterStore, warehouse: Warehouse
) -> None:
    def meddle(event: Any) -> None:
        if event["episode"] == 2:
            made = ParameterSet(tp_news=4.0)
            store.commit(
                "global", made, expected=0, actor="ann", reason="by hand", evidence={}, kind="override"
            )

    done = conduct(order(), store, warehouse, settings, progress=meddle)
    assert done.status == "not applied"
    assert "by ann (by hand)" in done.reason
    assert store.in_force().parameters == ParameterSet(tp_news=4.0)
    with pytest.raises(RefusedError):
        apply_session(store, done.session, actor="bob", reason="force it")


@pytest.mark.parametrize("how", ["termination", "request"])
def test_a_session_that_is_stopped_leaves_the_old_parameters(
    settings: Settings, store: ParameterStore, warehouse: Warehouse, how: str
) -> None:
    def stop(event: Any) -> None:
        (running,) = store.sessions.running()
        if how == "request":
            store.sessions.request_stop(running.id, actor="ann", reason="enough")
        else:
            raise KeyboardInterrupt

    if how == "request":
        assert conduct(order(), store, warehouse, settings, progress=stop).status == "stopped"
    else:
        with pytest.raises(KeyboardInterrupt):
            conduct(order(), store, warehouse, settings, progress=stop)
    (record,) = store.sessions.recent()
    assert (record.status, record.running) == ("stopped", False)
    assert store.in_force().version == 0
    assert not store.journal.pending()


class Killed(BaseException):
    """The process is gone: nothing of what follows happens."""


@pytest.mark.parametrize("where", ["after an episode", "before the journal", "after the journal"])
def test_a_session_whose_process_died_is_taken_up_again(
    settings: Settings,
    store: ParameterStore,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    whole = Settings(**{**settings.model_dump(), "parameters": f"{settings.parameter_store}2"})
    expected = conduct(order(), open_store(whole), warehouse, whole)

    from resources.parameter_store.journal import Journal
    from resources.parameter_store.sessions import HeldSession

    def die(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        # A process that was killed ends nothing.
        patch.setattr(HeldSession, "finish", die)
        if where == "before the journal":
            patch.setattr(Journal, "propose", die)
        once = (lambda event: die()) if where == "after an episode" else (lambda event: None)
        with pytest.raises(Killed):
            conduct(order(), store, warehouse, settings, progress=once)
    (record,) = store.sessions.running()
    with pytest.raises(BusyError):
        conduct(order(), store, warehouse, settings)
    with create_engine(settings.parameter_store).begin() as connection:
        connection.execute(text("UPDATE sessions SET lease_until = '2020-01-01T00:00:00.000000Z'"))
    done = conduct(order(), store, warehouse, settings)
    assert done.session == record.id
    assert done.status == expected.status == "applied"
    assert store.in_force().version == 1
    assert done.state["history"] == expected.state["history"]
    assert done.result.evidence == expected.result.evidence
    assert store.verify().intact


def test_a_session_that_an_older_version_left_is_ended_and_says_what_to_do(
    settings: Settings, store: ParameterStore, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings were kept without any stress once."""
    from resources.parameter_store.sessions import HeldSession

    def die(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(HeldSession, "finish", die)
        with pytest.raises(Killed):
            conduct(order(), store, warehouse, settings, progress=die)
    (left,) = store.sessions.running()
    state = json.loads(store.sessions.state(left.id) or b"")
    del state["config"]["stress"]
    with create_engine(settings.parameter_store).begin() as connection:
        connection.execute(
            text("UPDATE sessions SET lease_until = '2020-01-01T00:00:00.000000Z', state = :state"),
            {"state": json.dumps(state).encode()},
        )
    with pytest.raises(ValueError, match=r"differs in stress; .*start a new one"):
        conduct(order(session=left.id), store, warehouse, settings)
    ended = store.sessions.get(left.id)
    assert ended.status == "failed"
    assert "start a new one" in store.about(left.id)[-1].reason
    assert store.in_force().version == 0
    assert conduct(order(), store, warehouse, settings).status == "applied", (
        "nothing is in the way of a new one"
    )


def test_every_attempt_on_a_scope_lowers_the_level_of_the_next(store: ParameterStore) -> None:
    for scope in ("global", "symbol:BTC/USDT", "global"):
        held = store.sessions.start(scope, "quick_tune", actor="test", reason="to count")
        held.finish("failed", actor="test", reason="to count")
    newest = store.sessions.recent()[0]
    assert attempts_before(store, newest) == 1
    assert level_of(2) == pytest.approx(level_of(1) / 4)


def test_what_a_person_holds_is_not_searched(
    settings: Settings, store: ParameterStore, warehouse: Warehouse
) -> None:
    store.override("global", {"socialGo": 0.75, "costCapBps": 8.0}, actor="ann", reason="mine")
    done = conduct(order(episodes=1), store, warehouse, settings)
    assert done.config.search.targets == ("volPctBreakout",)
    store.override("global", {"volPctBreakout": 70.0}, actor="ann", reason="mine too")
    with pytest.raises(RefusedError, match="all targets of quick_tune are held by a person"):
        conduct(order(episodes=1), store, warehouse, settings)
    assert store.sessions.recent()[0].status == "failed"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scenario": "quick"}, "scenario 'quick' is not known; known are quick_tune"),
        ({"episodes": 11}, "episodes = 11 is more than the 10 of quick_tune"),
        ({"minutes": 20.0}, "minutes = 20 is more than the 15 of quick_tune"),
        ({"method": "grid"}, "'pgpe', 'cma-es', 'tpe' or 'random'"),
        ({"mode": "now"}, "'apply', 'shadow' or 'ab'"),
        ({"scope": "regime:CALM"}, "regime:PANIC"),
        ({"scope": "symbol:ETH/USDT", "symbols": ["BTC/USDT"]}, "trained on ETH/USDT alone"),
    ],
)
def test_an_order_out_of_bounds_names_the_bound(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        order(**asked)


def test_a_symbol_that_is_not_stored_fails_the_session_by_name(
    settings: Settings, store: ParameterStore
) -> None:
    with pytest.raises(ValueError, match=r"staging\.candles has no bar of DOGE/USDT"):
        run(settings, order(symbols=["DOGE/USDT"]))
    assert store.sessions.recent()[0].status == "failed"


def test_figures_that_are_not_known_are_missing_in_the_tables(
    store: ParameterStore, warehouse: Warehouse
) -> None:
    held = store.sessions.start("global", "quick_tune", actor="test", reason="x")
    figures = {"improvement": 0.001, "low": None, "high": None, "p_value": 0.5}
    evidence = {"promoted": False, "searched": 3, "figures": figures, "stress": None}
    held.finish("refused", actor="test", reason="luck", result={"reason": "luck", "evidence": evidence})
    frame = runs_frame(store)
    assert frame.select("improvement", "low", "high", "p_value").row(0) == (0.001, None, None, 0.5)
    warehouse.replace(RUNS, RUNS.check(frame))
    assert warehouse.frame(f"SELECT low FROM {RUNS.full_name}").item() is None


def test_only_what_was_promoted_can_be_applied(store: ParameterStore) -> None:
    held = store.sessions.start("global", "quick_tune", actor="test", reason="x")
    with pytest.raises(StoreError, match="still runs"):
        apply_session(store, held.id, actor="ann", reason="now")
    held.finish("refused", actor="test", reason="luck")
    with pytest.raises(StoreError, match="promoted nothing"):
        apply_session(store, held.id, actor="ann", reason="now")


def test_every_symbol_has_its_share_of_the_capital_of_the_settings(
    settings: Settings, warehouse: Warehouse
) -> None:
    assert tape_of(warehouse, settings).capital == settings.costs.capital
    candles = warehouse.frame("FROM staging.candles")
    both = pl.concat([candles, candles.with_columns(symbol=pl.lit("ETH/USDT"))])
    stored(warehouse, "candles", both)
    half = settings.costs.capital / 2
    assert tape_of(warehouse, settings).capital == half
    # Trained alone it is traded beside the other all the same.
    assert tape_of(warehouse, settings, ("ETH/USDT",)).capital == half


def test_a_regime_is_traded_on_its_own_bars_alone(settings: Settings, warehouse: Warehouse) -> None:
    whole = tape_of(warehouse, settings)
    table = Table(
        "regimes",
        "market_regimes",
        "Stand-in.",
        (Column("symbol", "VARCHAR", "-"), Column("ts", "TIMESTAMP", "-"), Column("regime", "VARCHAR", "-")),
    )
    names = np.where(np.arange(len(whole)) % 3 == 0, "PANIC", "RANGE")
    warehouse.replace(table, pl.DataFrame({"symbol": "BTC/USDT", "ts": whole.ts, "regime": names}))
    panic = tape_of(warehouse, settings, regime="PANIC")
    inside = np.isfinite(whole.expected_cost_bps) & (names == "PANIC")
    np.testing.assert_array_equal(np.isfinite(panic.expected_cost_bps), inside)
    assert inside.any()


def test_the_check_finds_a_changed_row_and_a_cut_off_end(settings: Settings, warehouse: Warehouse) -> None:
    store = open_store(settings)
    store.override("global", {"tpNews": 3.0}, actor="ann", reason="a")
    store.override("global", {"tpNews": 3.5}, actor="ann", reason="b")
    resources = {"warehouse": warehouse, "settings": settings}
    warehouse.replace(RUNS, RUNS.empty())
    dg.materialize([parameter_tables], resources=resources, instance=instance())
    check: Any = chain_verifies
    assert check(warehouse, settings).passed
    database = create_engine(settings.parameter_store)
    with database.begin() as connection:
        for (name,) in connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        ).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("DELETE FROM events WHERE seq = 2"))
    found = check(warehouse, settings)
    assert not found.passed
    assert "cut off after row 1" in found.description
    with database.begin() as connection:
        connection.execute(text("UPDATE events SET actor = 'bob' WHERE seq = 1"))
    assert "row 1 was changed" in check(warehouse, settings).description


def shadowed(store: ParameterStore) -> Experiment:
    return store.experiments.register(
        "shadow", "global", ParameterSet(social_go=0.85), baseline=0, metric="net return per day",
        horizon=timedelta(days=40), seed=0, actor="test", reason="x",
    )  # fmt: skip


def test_a_shadow_is_run_by_whole_days_and_judged_at_its_end(
    settings: Settings, warehouse: Warehouse
) -> None:
    now = [datetime(2023, 12, 1, 5, tzinfo=UTC)]
    store = ParameterStore(settings.parameter_store, clock=lambda: now[0])
    live = Settings(**{**settings.model_dump(), "source": "exchange"})
    experiment = shadowed(store)
    told, drawn = follow_experiments(store, warehouse, live)
    assert len(told) == 1
    apart = re.fullmatch(
        rf"shadow {experiment.id[:8]} for global: 40 days; bars that were decided differently: (\d+)", told[0]
    )
    assert apart is not None
    assert int(apart[1]) > 0
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
    days = [one.key for one in store.experiments.observed(experiment.id)][1:]
    assert (days[0], days[-1], len(days)) == ("2023-12-02", "2024-01-10", 40)
    assert store.experiments.get(experiment.id).state == "running"
    again, _ = follow_experiments(store, warehouse, live)
    assert again == told

    now[0] += timedelta(days=41)
    follow_experiments(store, warehouse, live)
    ended = store.experiments.get(experiment.id)
    assert ended.state == "concluded"
    assert ended.result is not None
    assert ended.result["effect"] > 0
    assert store.in_force().version == 0, "a verdict changes nothing by itself"
    rows = experiments_frame(store).row(0, named=True)
    assert (rows["verdict"], rows["observations"]) == (ended.result["verdict"], 40)


def test_a_shadow_that_has_not_heard_of_its_funding_is_not_judged_without(
    settings: Settings, warehouse: Warehouse
) -> None:
    """The horizon is over and all bars are there, but the rates of the last days come later."""
    now = [datetime(2023, 12, 1, 5, tzinfo=UTC)]
    store = ParameterStore(settings.parameter_store, clock=lambda: now[0])
    live = Settings(**{**settings.model_dump(), "source": "exchange"})
    first, last = datetime(2023, 12, 2), datetime(2024, 1, 11)
    candles = warehouse.frame("FROM staging.candles")
    stored(warehouse, "candles", candles.filter(pl.col("ts") < last))
    said = warehouse.frame("FROM staging.alternative")
    due = pl.datetime_range(first - timedelta(days=9), last, "8h", closed="left", eager=True)
    rates = pl.DataFrame({"ts": due, "available_at": due}).select(
        symbol=pl.lit("BTC/USDT"), ts="ts", available_at="available_at", value=pl.lit(0.01),
        series=pl.lit("funding_rate"),
    )  # fmt: skip

    def heard(until: datetime) -> None:
        known = rates.filter(pl.col("ts") < until)
        stored(warehouse, "alternative", pl.concat([said, known.select(said.columns)]))

    experiment = shadowed(store)
    heard(last - timedelta(days=2))
    now[0] += timedelta(days=41)
    told, _ = follow_experiments(store, warehouse, live)
    assert told[0].startswith(f"shadow {experiment.id[:8]} for global: 38 days, 2 wait for their funding; ")
    assert store.experiments.get(experiment.id).state == "running"
    heard(last)
    told, _ = follow_experiments(store, warehouse, live)
    assert store.experiments.get(experiment.id).state == "concluded"
    days = {one.key: one.content for one in store.experiments.observed(experiment.id)[1:]}
    tape = tape_of(warehouse, live)
    whole = shadow(tape, DEFAULTS, experiment.candidate, first, costs_of(live))
    assert [day["live"] for day in days.values()] == whole.live.tolist()
    assert [day["shadow"] for day in days.values()] == whole.shadow.tolist()
    assert len(days) == 40
    free = shadow(
        replace(tape, funding=0.0 * tape.funding), DEFAULTS, experiment.candidate, first, costs_of(live)
    )
    assert free.live[-2:].tolist() != whole.live[-2:].tolist(), "the last days did pay"


def test_a_session_begins_where_earlier_ones_of_its_goal_ended(
    settings: Settings, store: ParameterStore, warehouse: Warehouse
) -> None:
    first = conduct(order(symbols=["BTC/USDT"]), store, warehouse, settings)
    assert first.state["prior"] is None
    again = conduct(order(episodes=1), store, warehouse, settings)
    assert again.state["prior"]["mean"]["socialGo"] > DEFAULTS.social_go
    other = conduct(order(scenario="risk_optimizer", episodes=1), store, warehouse, settings)
    assert other.state["prior"] is None, "another goal"


def test_a_run_says_which_session_it_holds(settings: Settings, store: ParameterStore) -> None:
    kept = instance().get_run_by_id(run(settings, order()).run_id)
    assert kept is not None
    assert kept.tags[graph.SESSION_TAG] == store.sessions.recent(1)[0].id
