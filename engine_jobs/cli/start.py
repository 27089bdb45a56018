"""Run one session of training in this process, with its episodes as they come."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from engine_assets.tuning_inputs import open_store
from engine_assets.tuning_order import TuneOrder
from engine_jobs.tuning_job import OPTIMIZE, run_config, tuning_defs
from resources.parameter_store.sessions import SessionRecord
from resources.settings import Settings

__all__ = ["InterruptedSession", "run_order"]


class InterruptedSession(Exception):  # noqa: N818  it is no error
    """A person stopped the session; what was in force is still in force."""


@dataclass
class _Episodes:
    """Follows the observations of one run."""

    progress: Progress
    task: TaskID
    of: int
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.event_type is not dg.DagsterEventType.ASSET_OBSERVATION:
            return
        facts = event.asset_observation_data.asset_observation.metadata
        row: dict[str, Any] = {name: value.value for name, value in facts.items()}
        self.seen.append(row)
        best = f"best so far {row['best_so_far']:.4g}, {row['searched']} sets"
        self.progress.update(self.task, completed=row["episode"], total=self.of, said=best)


def run_order(order: TuneOrder, settings: Settings, screen: Console) -> SessionRecord:
    """Execute the job for an order and return its session.

    Raises
    ------
    InterruptedSession
        If Ctrl-C stopped it; nothing was applied.
    EngineError, ValueError
        Whatever made the run fail, by its own name.
    """
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    job = tuning_defs(settings).resolve_job_def(OPTIMIZE)
    run_id = str(uuid.uuid4())
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.get() as instance, _progress(screen) as progress:
        task = progress.add_task(order.scenario, total=None, said="")
        watch = _Episodes(progress, task, order.episodes or order.what.episodes)
        instance.add_event_listener(run_id, watch)
        try:
            job.execute_in_process(
                run_id=run_id,
                instance=instance,
                run_config={**run_config(order), **quiet},
                raise_on_error=True,
            )
        except (KeyboardInterrupt, DagsterExecutionInterruptedError):
            raise InterruptedSession(
                f"{order.scenario} after {len(watch.seen)} episodes; what was in force is still in force"
            ) from None
    return _newest(settings, order)


def _newest(settings: Settings, order: TuneOrder) -> SessionRecord:
    store = open_store(settings)
    if order.session is not None:
        return store.sessions.get(order.session)
    return next(record for record in store.sessions.recent(100) if record.scope == order.where)


def _progress(screen: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[said]}"),
        console=screen,
    )
