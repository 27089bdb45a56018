"""What starts a run when something happened, and what is told when a run failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from engine_assets.changepoints import ALERTS
from engine_assets.partitions import month_of
from engine_jobs.schedules import still_running
from resources.feeds.feed import Feed
from resources.settings import Settings
from resources.warehouse import Warehouse

__all__ = ["build_sensors", "run_failed"]


def _files_arrived(
    settings: Settings, feed: Feed, months: dg.TimeWindowPartitionsDefinition
) -> dg.SensorDefinition:
    @dg.sensor(
        name="files_arrived",
        job_name="ingest",
        minimum_interval_seconds=60,
        description="Starts ingest when files under the files root appear, grow or change.",
    )
    def files_arrived(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if settings.source != "files":
            yield dg.SkipReason(f"the source is {settings.source}; only the files source is watched")
            return
        seen = feed.fingerprint()
        if seen == context.cursor:
            yield dg.SkipReason(f"nothing changed under {settings.files.root}")
            return
        ongoing = still_running(context.instance, "ingest")
        if ongoing is not None:
            yield dg.SkipReason(f"run {ongoing} of ingest still goes; the new files wait")
            return
        context.update_cursor(seen)
        first = months.get_first_partition_key()
        last = months.get_last_partition_key() or month_of(datetime.now(UTC)).isoformat()
        yield dg.RunRequest(
            run_key=f"files-{seen}",
            tags={
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": last,
            },
        )

    return files_arrived


# An alert that came to light later than this after its bar is history, and starts nothing.
_NEWS = timedelta(days=2)
_ALERTS_SQL = """
SELECT symbol, ts, action FROM regimes.changepoint_alerts
WHERE known_at > (SELECT max(known_at) FROM regimes.changepoint_alerts) - ? ORDER BY known_at, symbol
"""


def _regime_shift(settings: Settings, months: dg.TimeWindowPartitionsDefinition) -> dg.SensorDefinition:
    @dg.sensor(
        name="regime_shift",
        job_name="nightly_retraining",
        minimum_interval_seconds=60,
        description="Retrains when the change-point detector raises an alert; once for each alert.",
    )
    def regime_shift(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        warehouse = Warehouse(address=settings.warehouse)
        if ALERTS.full_name not in warehouse.tables():
            yield dg.SkipReason(f"{ALERTS.full_name} was not made yet")
            return
        rows = warehouse.frame(_ALERTS_SQL, [_NEWS]).iter_rows()
        recent = [f"{symbol} {ts:%Y-%m-%dT%H:%M} {action}" for symbol, ts, action in rows]
        seen = json.loads(context.cursor) if context.cursor else None
        new = [alert for alert in recent if seen is not None and alert not in seen]
        ongoing = still_running(context.instance, "nightly_retraining") if new else None
        if ongoing is not None:
            yield dg.SkipReason(f"run {ongoing} of nightly_retraining still goes; {', '.join(new)} waits")
            return
        context.update_cursor(json.dumps(recent))
        if seen is None:
            yield dg.SkipReason(f"watching from now on; {len(recent)} alerts were there before")
        elif not new:
            yield dg.SkipReason("no new alert")
        else:
            yield dg.RunRequest(
                run_key=f"regime-shift-{new[-1]}",
                tags={"engine/alerts": ", ".join(new)},
                partition_key=months.get_last_partition_key(),
            )

    return regime_shift


@dg.run_failure_sensor(name="run_failed", minimum_interval_seconds=30)
def run_failed(context: dg.RunFailureSensorContext) -> None:
    """Log every failed run with its error, where alerting tools collect it."""
    run = context.dagster_run
    context.log.error("run %s of %s failed: %s", run.run_id, run.job_name, context.failure_event.message)


def build_sensors(
    settings: Settings, feed: Feed, months: dg.TimeWindowPartitionsDefinition
) -> list[dg.SensorDefinition]:
    """Define all sensors; they start stopped, a person or the deployment turns them on."""
    return [_files_arrived(settings, feed, months), _regime_shift(settings, months), run_failed]
