from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from engine_assets.changepoints import ALERTS
from engine_assets.partitions import monthly
from engine_jobs.sensors import build_sensors, run_failed
from resources.settings import Settings
from resources.warehouse import Warehouse

MONTHS = monthly(datetime(2024, 1, 1), datetime(2024, 4, 1))


class Folder:
    """A feed whose files change when a test says so."""

    name = "files"

    def __init__(self) -> None:
        self.state = "first"

    def fingerprint(self) -> str:
        return self.state


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as local:
        yield local


@pytest.fixture
def folder() -> Folder:
    return Folder()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ENGINE_SOURCE", "files")
    return Settings()


def tick(
    settings: Settings, folder: Folder, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[dg.RunRequest | dg.SkipReason, str | None]:
    sensor, *_ = build_sensors(settings, folder, MONTHS)  # type: ignore[arg-type]
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    (answer,) = sensor(context)
    return answer, context.cursor


def test_new_files_start_one_ingest_of_every_month(
    settings: Settings, folder: Folder, instance: dg.DagsterInstance
) -> None:
    answer, cursor = tick(settings, folder, instance, None)
    assert isinstance(answer, dg.RunRequest)
    assert answer.tags["dagster/asset_partition_range_start"] == "2024-01-01"
    assert answer.tags["dagster/asset_partition_range_end"] == "2024-03-01"

    again, cursor = tick(settings, folder, instance, cursor)
    assert isinstance(again, dg.SkipReason)

    folder.state = "second"
    changed, _ = tick(settings, folder, instance, cursor)
    assert isinstance(changed, dg.RunRequest)
    assert changed.run_key != answer.run_key


def test_new_files_wait_for_the_ingest_that_still_goes(
    settings: Settings, folder: Folder, instance: dg.DagsterInstance
) -> None:
    @dg.job(name="ingest")
    def ingest() -> None: ...

    run = instance.create_run_for_job(ingest, status=dg.DagsterRunStatus.STARTED)
    waiting, cursor = tick(settings, folder, instance, None)
    assert isinstance(waiting, dg.SkipReason)
    assert run.run_id in str(waiting.skip_message)
    assert cursor is None, "the files are still new to the next tick"

    instance.delete_run(run.run_id)
    started, _ = tick(settings, folder, instance, cursor)
    assert isinstance(started, dg.RunRequest)


def test_other_sources_are_not_watched(folder: Folder, instance: dg.DagsterInstance) -> None:
    answer, _ = tick(Settings(source="simulated"), folder, instance, None)
    assert isinstance(answer, dg.SkipReason)


@pytest.fixture
def watched(tmp_path: Path) -> Settings:
    return Settings(source="simulated", warehouse=str(tmp_path / "engine.duckdb"))


def shift(
    settings: Settings, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[dg.RunRequest | dg.SkipReason, str | None]:
    _, sensor, _ = build_sensors(settings, Folder(), MONTHS)  # type: ignore[arg-type]
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    (answer,) = sensor(context)
    return answer, context.cursor


def store(settings: Settings, *alerts: tuple[str, datetime, str]) -> None:
    rows = [(s, ts, ts + timedelta(hours=1), action, 0.95, 0.1, 0.95, ts) for s, ts, action in alerts]
    frame = pl.DataFrame(rows, schema=ALERTS.polars_schema, orient="row")
    Warehouse(address=settings.warehouse).replace(ALERTS, frame)


OLD = ("BTC/USDT", datetime(2024, 3, 1, 7), "reduce")
NEW = ("BTC/USDT", datetime(2024, 3, 5, 9), "exit")
SAME_BAR = ("ETH/USDT", datetime(2024, 3, 5, 9), "reduce")


def test_a_new_alert_retrains_once(watched: Settings, instance: dg.DagsterInstance) -> None:
    nothing, cursor = shift(watched, instance, None)
    assert isinstance(nothing, dg.SkipReason)
    store(watched, OLD)
    first, cursor = shift(watched, instance, cursor)
    assert isinstance(first, dg.SkipReason), "what was there before is no news"

    store(watched, OLD, NEW)
    fired, cursor = shift(watched, instance, cursor)
    assert isinstance(fired, dg.RunRequest)
    assert fired.tags["engine/alerts"] == "BTC/USDT 2024-03-05T09:00 exit"
    assert fired.partition_key == "2024-03-01"
    again, cursor = shift(watched, instance, cursor)
    assert isinstance(again, dg.SkipReason)

    store(watched, OLD, NEW, SAME_BAR)
    late, _ = shift(watched, instance, cursor)
    assert isinstance(late, dg.RunRequest), "an alert of the same bar that came to light later is new"
    assert late.run_key != fired.run_key


def test_an_alert_waits_for_the_retraining_that_still_goes(
    watched: Settings, instance: dg.DagsterInstance
) -> None:
    @dg.job(name="nightly_retraining")
    def nightly_retraining() -> None: ...

    store(watched, OLD)
    _, cursor = shift(watched, instance, None)
    store(watched, OLD, NEW)
    run = instance.create_run_for_job(nightly_retraining, status=dg.DagsterRunStatus.STARTED)
    waiting, unmoved = shift(watched, instance, cursor)
    assert isinstance(waiting, dg.SkipReason)
    assert run.run_id in str(waiting.skip_message)
    assert unmoved == cursor
    instance.delete_run(run.run_id)
    assert isinstance(shift(watched, instance, unmoved)[0], dg.RunRequest)


def test_a_failed_run_is_logged_with_its_error(
    instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    @dg.op
    def breaks() -> None:
        raise RuntimeError("the venue is closed")

    @dg.job
    def failing() -> None:
        breaks()

    result = failing.execute_in_process(instance=instance, raise_on_error=False)
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failed",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()
    capfd.readouterr()
    run_failed(context)
    logged = capfd.readouterr().err
    assert f"run {result.run_id} of failing failed" in logged
    assert "ERROR" in logged
