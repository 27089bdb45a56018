"""What starts a training: each event once, not too often, and with the scenario that the figures call for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

import engine_jobs.tuning_sensors as watched
from engine_assets.changepoints import ALERTS
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY
from engine_jobs.tuning_job import OPTIMIZE, tuning_defs
from engine_jobs.tuning_sensors import (
    COOL_DOWN,
    DAILY_BUDGET,
    build_tuning_schedule,
    build_tuning_sensors,
    not_yet,
)
from resources.parameter_store import ParameterStore
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

HOUR = timedelta(hours=1)
NOW = datetime(2024, 3, 10)
FEATURES = Table(
    "alternative",
    "alternative_features",
    "Stand-in.",
    (
        Column("symbol", "VARCHAR", "-"),
        Column("ts", "TIMESTAMP", "-"),
        Column("fear_greed", "DOUBLE", "-", nullable=True),
        Column("liquidation_cascade", "DOUBLE", "-", nullable=True),
        Column("news_score", "DOUBLE", "-", nullable=True),
    ),
    ("symbol", "ts"),
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as local:
        yield local


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(warehouse=str(tmp_path / "engine.duckdb"))


@pytest.fixture
def clock() -> list[datetime]:
    return [datetime(2026, 1, 1, tzinfo=UTC)]


@pytest.fixture
def store(settings: Settings, clock: list[datetime], monkeypatch: pytest.MonkeyPatch) -> ParameterStore:
    found = ParameterStore(settings.parameter_store, clock=lambda: clock[0])
    monkeypatch.setattr(watched, "open_store", lambda _: found)
    return found


def tick(
    settings: Settings, instance: dg.DagsterInstance, name: str, cursor: str | None
) -> tuple[dg.RunRequest | dg.SkipReason, str | None]:
    sensor: Any
    (sensor,) = [one for one in build_tuning_sensors(settings) if one.name == name]
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    (answer,) = sensor(context)
    return answer, context.cursor


def asked(answer: Any) -> dict[str, Any]:
    assert isinstance(answer, dg.RunRequest), answer
    return answer.run_config["ops"]["tuning_session"]["config"]


def features(settings: Settings, **values: float) -> None:
    """Two calm days of a symbol, then a bar with these values."""
    rows = [("BTC/USDT", NOW - i * HOUR, 50.0, 0.0, 0.5) for i in range(48, 0, -1)]
    last = {"fear_greed": 50.0, "liquidation_cascade": 0.0, "news_score": 0.5, **values}
    frame = pl.DataFrame([*rows, ("BTC/USDT", NOW, *last.values())], FEATURES.polars_schema, orient="row")
    Warehouse(address=settings.warehouse).replace(FEATURES, frame)


def account(settings: Settings, equity: float = 1.0, confidence: tuple[float, float] = (0.8, 0.8)) -> None:
    """A live account of 70 days that stands at `equity`, and the confidence of its last two weeks."""
    days = [NOW - timedelta(days=70 - i) for i in range(71)]
    points = [("BTC/USDT", day, 1.0 if day < NOW else equity, 0.0) for day in days]
    warehouse = Warehouse(address=settings.warehouse)
    warehouse.replace(LIVE_EQUITY, pl.DataFrame(points, LIVE_EQUITY.polars_schema, orient="row"))
    before, now = confidence
    decided = [
        {
            "symbol": "BTC/USDT", "ts": day, "action": "enter", "side": 1, "size": 0.1, "stop": 0.01,
            "target": 0.02, "confidence": now if day > NOW - timedelta(days=7) else before, "reasons": [],
            "version": 0, "parameters_hash": "-", "overridden": [], "held_values": [], "waits": [],
        }
        for day in days
    ]  # fmt: skip
    warehouse.replace(LIVE_DECISIONS, pl.DataFrame(decided, LIVE_DECISIONS.polars_schema))


@pytest.mark.parametrize("name", ["performance_drop", "market_event", "regime_shift_tuning"])
def test_nothing_is_asked_for_before_there_are_tables(
    settings: Settings, instance: dg.DagsterInstance, name: str
) -> None:
    answer, cursor = tick(settings, instance, name, None)
    assert isinstance(answer, dg.SkipReason)
    assert "was not made yet" in str(answer.skip_message)
    assert cursor is None


def test_a_deep_fall_asks_once_for_the_risk_optimizer(
    settings: Settings, store: ParameterStore, instance: dg.DagsterInstance
) -> None:
    account(settings)
    first, cursor = tick(settings, instance, "performance_drop", None)
    assert isinstance(first, dg.SkipReason)
    account(settings, equity=0.9)
    fired, cursor = tick(settings, instance, "performance_drop", cursor)
    order = asked(fired)
    assert (order["scenario"], order["actor"]) == ("risk_optimizer", "performance_drop")
    assert order["reason"].startswith("drawdown; ")
    assert "drawdown of the account 10.0%" in order["reason"]
    assert fired.tags["engine/market"] == "unknown"  # type: ignore[union-attr]
    again, cursor = tick(settings, instance, "performance_drop", cursor)
    assert isinstance(again, dg.SkipReason)
    account(settings)
    _, cursor = tick(settings, instance, "performance_drop", cursor)
    account(settings, equity=0.9)
    assert isinstance(tick(settings, instance, "performance_drop", cursor)[0], dg.RunRequest), "it fell again"


def test_falling_confidence_asks_for_a_quick_tune(
    settings: Settings, store: ParameterStore, instance: dg.DagsterInstance
) -> None:
    account(settings, confidence=(0.5, 0.5))
    _, cursor = tick(settings, instance, "performance_drop", None)
    still, cursor = tick(settings, instance, "performance_drop", cursor)
    assert isinstance(still, dg.SkipReason), "low, but not falling"
    account(settings, confidence=(0.7, 0.5))
    assert asked(tick(settings, instance, "performance_drop", cursor)[0])["scenario"] == "quick_tune"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fear_greed": 7.0}, "extreme fear"),
        ({"fear_greed": 95.0}, "extreme greed"),
        ({"liquidation_cascade": 1.6}, "liquidation cascade BTC/USDT 2024-03-10T00:00"),
        ({"news_score": 0.05}, "news burst BTC/USDT 2024-03-10T00:00"),
    ],
)
def test_market_events(
    settings: Settings,
    store: ParameterStore,
    instance: dg.DagsterInstance,
    values: dict[str, float],
    said: str,
) -> None:
    features(settings)
    _, cursor = tick(settings, instance, "market_event", None)
    features(settings, **values)
    fired, cursor = tick(settings, instance, "market_event", cursor)
    assert asked(fired)["reason"].startswith(f"{said}; ")
    assert fired.tags["engine/events"] == said  # type: ignore[union-attr]
    assert isinstance(tick(settings, instance, "market_event", cursor)[0], dg.SkipReason)


def test_a_change_point_asks_for_a_training(
    settings: Settings, store: ParameterStore, instance: dg.DagsterInstance
) -> None:
    def alerts(*hours: int) -> None:
        moments = [NOW + hour * HOUR for hour in hours]
        rows = [("BTC/USDT", ts, ts + HOUR, "exit", 0.95, 0.1, 0.95, ts) for ts in moments]
        frame = pl.DataFrame(rows, schema=ALERTS.polars_schema, orient="row")
        Warehouse(address=settings.warehouse).replace(ALERTS, frame)

    alerts(0)
    _, cursor = tick(settings, instance, "regime_shift_tuning", None)
    alerts(0, 5)
    order = asked(tick(settings, instance, "regime_shift_tuning", cursor)[0])
    assert order["reason"].startswith("regime shift (exit) BTC/USDT 2024-03-10T05:00; ")


def test_an_event_waits_for_the_cool_down_and_the_budget(
    settings: Settings, store: ParameterStore, clock: list[datetime], instance: dg.DagsterInstance
) -> None:
    features(settings)
    _, cursor = tick(settings, instance, "market_event", None)
    store.sessions.start("global", "quick_tune", actor="ann", reason="x").finish(
        "refused", actor="ann", reason="x"
    )
    features(settings, fear_greed=7.0)
    waits, cursor = tick(settings, instance, "market_event", cursor)
    assert "the cool-down ends at 2026-01-01 06:00 UTC; extreme fear waits" in str(waits.skip_message)  # type: ignore[union-attr]
    clock[0] += COOL_DOWN
    assert isinstance(tick(settings, instance, "market_event", cursor)[0], dg.RunRequest)

    for _ in range(DAILY_BUDGET - 1):
        held = store.sessions.start("global", "quick_tune", actor="ann", reason="x")
        held.finish("refused", actor="ann", reason="x")
    clock[0] += COOL_DOWN
    assert f"{DAILY_BUDGET} sessions began within a day" in str(not_yet(store))
    clock[0] += timedelta(days=1)
    assert not_yet(store) is None


def test_an_event_waits_for_the_run_that_still_goes(
    settings: Settings, store: ParameterStore, instance: dg.DagsterInstance
) -> None:
    @dg.job(name=OPTIMIZE)
    def goes() -> None: ...

    features(settings)
    _, cursor = tick(settings, instance, "market_event", None)
    features(settings, fear_greed=7.0)
    run = instance.create_run_for_job(goes, status=dg.DagsterRunStatus.STARTED)
    waits, cursor = tick(settings, instance, "market_event", cursor)
    assert run.run_id in str(waits.skip_message)  # type: ignore[union-attr]
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2026, 1, 4, 10))
    schedule: Any = build_tuning_schedule(settings)
    (skipped,) = schedule(context)
    assert isinstance(skipped, dg.SkipReason)
    instance.delete_run(run.run_id)
    assert isinstance(tick(settings, instance, "market_event", cursor)[0], dg.RunRequest)
    (weekly,) = schedule(context)
    assert asked(weekly)["actor"] == "weekly schedule"


def test_all_start_stopped_and_their_requests_fit_the_job(
    settings: Settings, store: ParameterStore, instance: dg.DagsterInstance
) -> None:
    sensors, schedule = build_tuning_sensors(settings), build_tuning_schedule(settings)
    assert all(one.default_status is dg.DefaultSensorStatus.STOPPED for one in sensors)
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    features(settings)
    _, cursor = tick(settings, instance, "market_event", None)
    features(settings, fear_greed=7.0)
    fired, _ = tick(settings, instance, "market_event", cursor)
    job = tuning_defs(settings).resolve_job_def(OPTIMIZE)
    assert dg.validate_run_config(job, fired.run_config)  # type: ignore[union-attr]
    assert dg.validate_run_config(job, {})
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, {"ops": {"tuning_session": {"config": {"scenarios": "quick_tune"}}}})
