"""When the jobs run. A tick that meets the previous run still going is skipped and says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from engine_assets.partitions import month_of

__all__ = ["build_schedules"]

_ONGOING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# Cron, and how long before the tick the newest data lies: at 00:30 the day that ended belongs to yesterday.
_CRONS = {
    "ingest": ("5 * * * *", timedelta(hours=1)),
    "nightly_retraining": ("0 2 * * *", timedelta(hours=3)),
    "daily_rebalance": ("30 0 * * *", timedelta(hours=1)),
    "evaluation": ("0 4 * * *", timedelta(0)),
    "ablation": ("0 8 * * 6", timedelta(0)),
    # After the hourly ingest: the bar that has just closed is there.
    "live_loop": ("15 * * * *", timedelta(0)),
    "quality_checks": ("0 6 * * *", timedelta(0)),
}
_PARTITIONED = frozenset({"ingest", "nightly_retraining"})


def still_running(instance: dg.DagsterInstance, job_name: str) -> str | None:
    """Id of a run of this job that has not ended, if there is one."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_ONGOING), limit=1)
    return runs[0].run_id if runs else None


def _schedule(job_name: str, months: dg.TimeWindowPartitionsDefinition) -> dg.ScheduleDefinition:
    cron, lag = _CRONS[job_name]

    @dg.schedule(
        name=f"{job_name}_schedule",
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=f"Runs {job_name} at {cron} UTC unless its previous run still goes.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        ongoing = still_running(context.instance, job_name)
        if ongoing is not None:
            yield dg.SkipReason(f"run {ongoing} of {job_name} still goes; the next tick tries again")
            return
        now = context.scheduled_execution_time
        month = month_of(now - lag).isoformat() if job_name in _PARTITIONED else None
        if month is not None and not months.has_partition_key(month):
            last = months.get_last_partition_key()
            yield dg.SkipReason(f"no data is asked for in {month}: the last month of the settings is {last}")
            return
        yield dg.RunRequest(run_key=_stamp(job_name, now), partition_key=month)

    return tick


def _stamp(job_name: str, moment: datetime) -> str:
    return f"{job_name}-{moment:%Y-%m-%dT%H:%M}"


def build_schedules(months: dg.TimeWindowPartitionsDefinition) -> list[dg.ScheduleDefinition]:
    """One schedule per job; all start stopped, a person or the deployment turns them on."""
    return [_schedule(name, months) for name in _CRONS]
