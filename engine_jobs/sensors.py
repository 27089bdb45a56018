"""What starts a run when something happened, and what is told when a run failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from engine_assets.partitions import month_of
from engine_jobs.schedules import still_running
from resources.feeds.feed import Feed
from resources.settings import Settings

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


@dg.run_failure_sensor(name="run_failed", minimum_interval_seconds=30)
def run_failed(context: dg.RunFailureSensorContext) -> None:
    """Log every failed run with its error, where alerting tools collect it."""
    run = context.dagster_run
    context.log.error("run %s of %s failed: %s", run.run_id, run.job_name, context.failure_event.message)


def build_sensors(
    settings: Settings, feed: Feed, months: dg.TimeWindowPartitionsDefinition
) -> list[dg.SensorDefinition]:
    """Define all sensors; they start stopped, a person or the deployment turns them on."""
    return [_files_arrived(settings, feed, months), run_failed]
