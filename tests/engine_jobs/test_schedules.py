from datetime import UTC, datetime

import dagster as dg
import pytest

from engine_assets.partitions import monthly
from engine_jobs.jobs import JOB_GROUPS, STUDY_GROUPS
from engine_jobs.schedules import build_schedules

MONTHS = monthly(datetime(2024, 1, 1), datetime(2024, 4, 1))
SCHEDULES = {s.job_name: s for s in build_schedules(MONTHS)}


def tick(job: str, moment: datetime, instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=moment)
    (answer,) = SCHEDULES[job](context)
    return answer


@pytest.fixture
def instance() -> dg.DagsterInstance:
    with dg.instance_for_test() as local:
        yield local


def test_the_months_are_those_of_the_data() -> None:
    assert MONTHS.get_partition_keys() == ["2024-01-01", "2024-02-01", "2024-03-01"]
    middle = monthly(datetime(2024, 1, 15), datetime(2024, 3, 10))
    assert middle.get_partition_keys() == ["2024-01-01", "2024-02-01", "2024-03-01"]
    december = monthly(datetime(2024, 12, 1), datetime(2024, 12, 31))
    assert december.get_partition_keys() == ["2024-12-01"]


def test_ingest_takes_the_month_of_the_newest_bar(instance: dg.DagsterInstance) -> None:
    answer = tick("ingest", datetime(2024, 3, 1, 0, 5, tzinfo=UTC), instance)
    assert isinstance(answer, dg.RunRequest)
    assert answer.partition_key == "2024-02-01"


def test_a_month_without_data_is_skipped_with_the_reason(instance: dg.DagsterInstance) -> None:
    answer = tick("nightly_retraining", datetime(2025, 1, 2, 2, tzinfo=UTC), instance)
    assert isinstance(answer, dg.SkipReason)
    assert "2025-01-01" in answer.skip_message
    assert "2024-03-01" in answer.skip_message


def test_a_tick_waits_while_the_previous_run_goes(instance: dg.DagsterInstance) -> None:
    @dg.job(name="daily_rebalance")
    def rebalance() -> None: ...

    run = instance.create_run_for_job(rebalance, status=dg.DagsterRunStatus.STARTED)
    moment = datetime(2024, 3, 1, 0, 30, tzinfo=UTC)
    waiting = tick("daily_rebalance", moment, instance)
    assert isinstance(waiting, dg.SkipReason)
    assert run.run_id in waiting.skip_message

    instance.delete_run(run.run_id)
    assert isinstance(tick("daily_rebalance", moment, instance), dg.RunRequest)


def test_one_tick_asks_for_one_run(instance: dg.DagsterInstance) -> None:
    moment = datetime(2024, 3, 1, 0, 30, tzinfo=UTC)
    keys = {tick("daily_rebalance", moment, instance).run_key for _ in range(2)}
    assert keys == {"daily_rebalance-2024-03-01T00:30"}


def test_every_job_has_a_schedule_that_starts_stopped() -> None:
    # The training of parameters has a schedule that chooses the scenario, in engine_jobs.tuning_sensors.
    assert {*SCHEDULES, "optimize_parameters"} == {*JOB_GROUPS, *STUDY_GROUPS, "quality_checks"}
    assert {s.default_status for s in SCHEDULES.values()} == {dg.DefaultScheduleStatus.STOPPED}
