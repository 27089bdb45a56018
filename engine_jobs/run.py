"""The main job on the terminal: every stage with its progress, then a summary."""

from __future__ import annotations

import logging
import sys
import time
import uuid
from datetime import timedelta

import dagster as dg
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from engine.errors import EngineError
from engine_assets.partitions import month_of
from engine_jobs.definitions import build_defs
from engine_jobs.jobs import JOB_GROUPS
from engine_jobs.staleness import out_of_date
from engine_jobs.summary import print_summary, write_report
from resources.feeds.feed import Feed
from resources.feeds.open_feed import open_feed, universe
from resources.settings import Settings, load_settings
from resources.warehouse import Warehouse

__all__ = ["StageFailedError", "main", "run_stage"]


class StageFailedError(RuntimeError):
    """A step or a blocking check failed; what depends on it was not made."""


class _Watch:
    """Follows the events of one run: moves the progress bar, collects what failed."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task
        self.failed_checks: list[str] = []
        self.failures: list[str] = []

    def __call__(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            return
        kind = event.event_type
        if kind is dg.DagsterEventType.STEP_START:
            self.progress.update(self.task, step=str(event.step_key).replace("__", "."))
        elif kind is dg.DagsterEventType.STEP_SUCCESS:
            self.progress.advance(self.task)
        elif kind is dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            self.failures.append(f"{event.step_key}: {error.message.strip() if error else 'no reason given'}")
        elif kind is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                self.failed_checks.append(
                    f"check {check.check_name} of {'.'.join(check.asset_key.path)} failed"
                )


def run_stage(
    console: Console,
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    job_name: str,
    settings: Settings,
    feed: Feed,
) -> None:
    """Run the out-of-date part of one job in this process, with a progress bar.

    Raises
    ------
    StageFailedError
        If a step failed, or the source does not have what is asked for; the message names the reason.
    """
    warehouse = Warehouse(address=settings.warehouse)
    assets = [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)]
    stale = out_of_date(assets, JOB_GROUPS[job_name], warehouse, settings, feed)
    if not stale:
        console.print(f"[green]✓[/] {job_name}: nothing new")
        return
    job = defs.resolve_job_def(job_name).get_subset(asset_selection=set(stale))
    tags = _span(settings, feed) if job.partitions_def else None
    run_id = str(uuid.uuid4())
    with _progress(console) as progress:
        steps = len(job.graph.node_dict)
        watch = _Watch(progress, progress.add_task(job_name, total=steps, step=""))
        instance.add_event_listener(run_id, watch)
        result = job.execute_in_process(
            run_id=run_id,
            instance=instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        progress.update(watch.task, step="")
    for failed in watch.failed_checks:
        console.print(f"  [yellow]![/] {failed}")
    if not result.success:
        reasons = "\n".join(watch.failures) or "see the run in the UI"
        raise StageFailedError(f"{job_name}, run {run_id[:8]}\n{reasons}")


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[step]}"),
        console=console,
    )


def _span(settings: Settings, feed: Feed) -> dict[str, str]:
    """Tags that make a run take every month from the first day asked for to the newest bar.

    Raises
    ------
    StageFailedError
        If the source does not have a symbol, or no bar of any: before a step has begun and been retried.
    """
    try:
        newest = feed.last_bar(universe(settings))
    except (EngineError, ValueError) as error:
        raise StageFailedError(f"{settings.source}: {error}") from error
    last = settings.last_moment
    if last is None:
        if newest is None:
            raise StageFailedError(f"the source {settings.source} has no bar of {universe(settings)}")
        last = newest + settings.bar_duration
    months = month_of(settings.first_day), month_of(last - timedelta(microseconds=1))
    return {
        "dagster/asset_partition_range_start": months[0].isoformat(),
        "dagster/asset_partition_range_end": months[1].isoformat(),
    }


def main() -> int:
    """Run ingest, retraining and rebalance as far as they are out of date; return the exit status."""
    console = Console()
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    started = time.monotonic()
    settings = load_settings()
    feed = open_feed(settings)
    console.print(
        Panel(
            f"[bold]{settings.source}[/] data, {len(universe(settings))} symbols at {settings.bar}, "
            f"profile [bold]{settings.profile_name}[/], seed {settings.seed}\n"
            f"warehouse {Warehouse(address=settings.warehouse).store.place}",
            title="Engine",
            title_align="left",
        )
    )
    defs = build_defs(settings, feed)
    with dg.DagsterInstance.get() as instance:
        try:
            for job_name in JOB_GROUPS:
                run_stage(console, instance, defs, job_name, settings, feed)
        except StageFailedError as failure:
            console.print(f"[bold red]Stopped:[/] {failure}")
            return 1
    warehouse = Warehouse(address=settings.warehouse)
    report = write_report(warehouse, settings)
    print_summary(console, warehouse, settings, report, time.monotonic() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
