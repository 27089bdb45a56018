"""``engine tune`` end to end in this process: what it prints, what it refuses, and with which exit status."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.scenarios import SCENARIOS
from engine_assets.tuning_inputs import open_store
from engine_jobs.cli import by_hand
from engine_jobs.cli.main import main
from engine_jobs.cli.start import _Episodes
from engine_jobs.cli.tune import stressed
from resources.parameter_store import ParameterStore
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

BAR = timedelta(hours=4)
BARS = 460 * 6
WHY = ("--reason", "a test", "--actor", "ann")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = Settings(warehouse=str(tmp_path / "engine.duckdb"), bar="4h", reports=tmp_path)
    for module in (sys.modules["engine_jobs.cli.tune"], by_hand):
        monkeypatch.setattr(module, "load_settings", lambda: found)
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return found


@pytest.fixture
def store(settings: Settings) -> ParameterStore:
    return open_store(settings)


@pytest.fixture
def engine(settings: Settings) -> Callable[..., Result]:
    runner = CliRunner()

    def run(*arguments: str) -> Result:
        return runner.invoke(main, ["tune", *arguments])

    return run


def random_walk(settings: Settings) -> None:
    """Store a market in which nothing can be found."""
    steps = 0.01 * np.random.default_rng(3).standard_normal(BARS)
    close = 100.0 * np.exp(np.cumsum(steps))
    before = np.concatenate([[100.0], close[:-1]])
    ts = [datetime(2023, 1, 1) + i * BAR for i in range(BARS)]
    prices = {
        "open": before,
        "high": np.maximum(before, close),
        "low": np.minimum(before, close),
        "close": close,
    }
    candles = pl.DataFrame(
        {"symbol": "BTC/USDT", "ts": ts, **prices, "volume": 1e7, "log_return": steps}
    ).with_columns(known_at=pl.col("ts") + BAR)
    observations = pl.DataFrame(
        schema={
            "series": pl.String,
            "symbol": pl.String,
            "ts": pl.Datetime("us"),
            "available_at": pl.Datetime("us"),
            "value": pl.Float64,
        }
    )
    types = {pl.String: "VARCHAR", pl.Datetime: "TIMESTAMP", pl.Float64: "DOUBLE"}
    for name, frame in (("candles", candles), ("alternative", observations)):
        columns = tuple(Column(one, types[type(kind)], "-") for one, kind in frame.schema.items())  # type: ignore[arg-type]
        table = Table("staging", name, "Stand-in.", columns)
        Warehouse(address=settings.warehouse).replace(table, table.of(frame))


def test_a_session_from_start_to_history(
    settings: Settings, store: ParameterStore, engine: Callable[..., Result]
) -> None:
    random_walk(settings)
    told = engine("start", "quick_tune", "--episodes", "1", "--symbol", "BTC/USDT", "--seed", "1")
    assert told.exit_code == 0, told.output
    (record,) = store.sessions.recent()
    assert record.status == "refused"
    assert f"refused quick_tune for symbol:BTC/USDT, session {record.id}" in told.output
    rows = json.loads(engine("history", "--json").output)
    assert [row["kind"] for row in rows] == ["session.ended", "session.started"]
    assert engine("apply", record.id, *WHY).exit_code == 1


def test_what_stress_refused_is_shown_even_where_a_bound_is_unknown() -> None:
    kind = {"paths": 12, "incumbent": 0.03, "candidate": 0.09, "difference": 0.06, "allowed": 0.02}
    rows: list[dict[str, Any]] = [
        {"stress": "dear", **kind, "low": 0.041, "passed": False},
        {"stress": "late", **kind, "low": None, "passed": True},
    ]
    screen = Console(record=True, width=100)
    screen.print(stressed(rows))
    told = screen.export_text().splitlines()
    assert told[1].split() == [
        "stress",
        "paths",
        "in",
        "force",
        "judged",
        "deeper",
        "surely",
        "allowed",
        "passed",
    ]
    assert told[2].split() == ["dear", "12", "3.00%", "9.00%", "6.00%", "4.10%", "2.00%", "no"]
    assert told[3].split() == ["late", "12", "3.00%", "9.00%", "6.00%", "-", "2.00%", "yes"]


def test_ctrl_c_stops_and_leaves_the_parameters(
    settings: Settings, store: ParameterStore, engine: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    random_walk(settings)
    follow = _Episodes.__call__

    def press(self: _Episodes, entry: Any) -> None:
        before = len(self.seen)
        follow(self, entry)
        if len(self.seen) > before:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_Episodes, "__call__", press)
    told = engine("start", "quick_tune")
    assert told.exit_code == 130, told.output
    assert "what was in force is still in force" in told.output
    (record,) = store.sessions.recent()
    assert record.status == "stopped"
    assert store.in_force().version == 0


def test_the_holder_is_named_and_can_be_stopped(store: ParameterStore, engine: Callable[..., Result]) -> None:
    assert "no session runs" in engine("status").output
    assert engine("stop").exit_code == 1
    held = store.sessions.start("global", "risk_optimizer", actor="bob", reason="first")
    refused = engine("start", "quick_tune")
    assert refused.exit_code == 1
    assert f"already running as session {held.id}, started by bob" in refused.output
    assert f"process {os.getpid()}" in refused.output
    assert f"session {held.id} will stop" in engine("stop", *WHY).output
    assert held.heartbeat()
    found = json.loads(engine("status", "--json").output)
    assert found["sessions"][0]["stop_requested"] == "a test"
    assert "asked to stop by ann" in engine("status").output


def test_override_and_lift(store: ParameterStore, engine: Callable[..., Result]) -> None:
    told = engine("override", "socialGo=0.8", "costCapBps=6", "--until", "3d", *WHY)
    assert told.exit_code == 0, told.output
    assert "socialGo is held at 0.8 for global by ann" in told.output
    live = store.in_force()
    assert (live.overridden, live.parameters.social_go) == (("socialGo", "costCapBps"), 0.8)
    ends = {hold.until for hold in live.holds}
    assert all(abs(end - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=5) for end in ends if end)
    assert engine("lift", "socialGo", *WHY).exit_code == 0
    assert store.in_force().overridden == ("costCapBps",)
    assert engine("lift", *WHY).exit_code == 0
    assert not store.in_force().overridden


def test_rollback_puts_an_earlier_version_back(store: ParameterStore, engine: Callable[..., Result]) -> None:
    store.commit("global", ParameterSet(tp_news=4.0), expected=0, actor="bob", reason="x", evidence={})
    told = json.loads(engine("rollback", "0", "--json", *WHY).output)
    assert (told["version"], told["back_to"], told["changes"]) == (2, 0, {"tpNews": [4.0, 2.5]})
    assert store.in_force().parameters == DEFAULTS


def test_verify_ends_with_1_where_the_chain_is_broken(
    store: ParameterStore, engine: Callable[..., Result]
) -> None:
    store.override("global", {"tpNews": 3.0}, actor="ann", reason="a")
    assert engine("verify").exit_code == 0
    found = engine("verify", "--head", "f" * 64, "--json")
    assert found.exit_code == 1
    assert json.loads(found.output)["broken_row"] == 2


def test_scenarios_come_with_a_recommendation_and_its_reasons(engine: Callable[..., Result]) -> None:
    found = json.loads(engine("scenarios", "--json").output)
    assert [one["scenario"] for one in found["scenarios"]] == list(SCENARIOS)
    # Nothing is known of the live account: there is no history.
    assert found["recommendation"]["scenario"] == "comprehensive_evolution"
    told = engine("scenarios").output
    assert "recommended: comprehensive_evolution (market: not known)" in told
    assert "days of live decisions 0, wanted at least 60" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("override", "socialGo=2", *WHY), "socialGo = 2 must lie between 0.4 and 0.95 (score)"),
        (("override", "socialGo=nan", *WHY), "socialGo = nan must lie between 0.4 and 0.95 (score)"),
        (
            ("override", "socialGo=high", *WHY),
            "'high' is no number; it must lie between 0.4 and 0.95 (score)",
        ),
        (("override", "social=0.5", *WHY), "'social' is not a parameter; known are volPctBreakout"),
        (("override", "socialGo", *WHY), "'socialGo' must be NAME=VALUE"),
        (("override", "socialGo=0.5", "--until", "2020-01-01T00:00Z", *WHY), "is already past"),
        (("override", "socialGo=0.5", "--until", "soon", *WHY), "until = 'soon' must be a moment"),
        (("override", "socialGo=0.5", "--until", "2030-01-01T00:00", *WHY), "has no zone"),
        (("override", "socialGo=0.5", "--scope", "regime:CALM", *WHY), "regime:PANIC"),
        (("lift", "socialGo", *WHY), "nothing is held there"),
        (("rollback", "7", *WHY), "there is no version 7 to go back to; the newest is 0"),
        (("apply", "nobody", *WHY), "there is no session 'nobody'"),
        (("start", "quick"), "scenario 'quick' is not known; known are quick_tune"),
        (("start", "quick_tune", "--episodes", "99"), "episodes = 99 is more than the 10 of quick_tune"),
        (
            ("start", "quick_tune", "--mode", "live"),
            "mode = 'live': Input should be 'apply', 'shadow' or 'ab'",
        ),
        (("start", "quick_tune"), "staging.candles was not made yet; run ingest first"),
    ],
)
def test_what_is_refused_names_the_bound(
    engine: Callable[..., Result], arguments: tuple[str, ...], said: str
) -> None:
    refused = engine(*arguments)
    assert refused.exit_code == 1
    assert said in refused.output
    assert "Traceback" not in refused.output
    as_json = engine(*arguments, "--json")
    assert as_json.exit_code == 1
    assert said in json.loads(as_json.stdout)["error"]
