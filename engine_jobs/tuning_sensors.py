"""What starts a training of the parameters: the scenario that suits, at most so often, each event once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from engine.tuning.recommender import recommend
from engine_assets.tuning_inputs import live_figures, market_now, open_store
from engine_assets.tuning_order import TuneOrder
from engine_jobs.schedules import still_running
from engine_jobs.tuning_events import NotMadeError, market_events, performance_drops, regime_shifts
from engine_jobs.tuning_job import OPTIMIZE, run_config
from resources.parameter_store import ParameterStore
from resources.settings import Settings
from resources.warehouse import Warehouse

__all__ = ["COOL_DOWN", "DAILY_BUDGET", "build_tuning_schedule", "build_tuning_sensors", "not_yet"]

COOL_DOWN = timedelta(hours=6)
"""Between two sessions that nobody asked for; a new event waits for its end."""
DAILY_BUDGET = 3
"""Sessions that may begin within a day, whoever asked for them: each lowers the level of the next."""
_DAY = timedelta(days=1)
_CRON = "0 10 * * 0"


def not_yet(store: ParameterStore) -> str | None:
    """Say why no session may be requested now, if so."""
    now = store.sessions.ledger.now()
    recent = [record for record in store.sessions.recent(100) if record.started_at > now - _DAY]
    if len(recent) >= DAILY_BUDGET:
        return f"{len(recent)} sessions began within a day, which is the budget"
    if recent and recent[0].started_at > now - COOL_DOWN:
        ends = recent[0].started_at + COOL_DOWN
        return f"session {recent[0].id[:8]} began of late; the cool-down ends at {ends:%Y-%m-%d %H:%M} UTC"
    return None


def _requested(warehouse: Warehouse, who: str, why: str) -> dg.RunRequest:
    """Request the scenario that the figures call for."""
    found = recommend(live_figures(warehouse))
    view = market_now(warehouse)
    reason = f"{why}; {'; '.join(found.reasons)}"
    order = TuneOrder(scenario=found.scenario.name, actor=who, reason=reason[:2_000])
    return dg.RunRequest(
        # An event may come again: what keeps it from being answered twice is the cursor.
        run_key=f"{who}-{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
        run_config=run_config(order),
        tags={
            "engine/events": why[:250],
            "engine/scenario": found.scenario.name,
            "engine/market": "unknown" if view is None else view.mode,
        },
    )


def _sensor(
    settings: Settings, name: str, events: Callable[[Warehouse], list[str]], description: str
) -> dg.SensorDefinition:
    @dg.sensor(name=name, job_name=OPTIMIZE, minimum_interval_seconds=300, description=description)
    def watch(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        warehouse = Warehouse(address=settings.warehouse)
        try:
            standing = events(warehouse)
        except NotMadeError as reason:
            yield dg.SkipReason(str(reason))
            return
        seen = json.loads(context.cursor) if context.cursor else None
        new = [event for event in standing if seen is not None and event not in seen]
        if new:
            ongoing = still_running(context.instance, OPTIMIZE)
            waits = f"run {ongoing} of {OPTIMIZE} still goes" if ongoing else not_yet(open_store(settings))
            if waits:
                # What is new stays so, what is over is forgotten: it may come again.
                context.update_cursor(json.dumps([event for event in seen or () if event in standing]))
                yield dg.SkipReason(f"{waits}; {', '.join(new)} waits")
                return
        context.update_cursor(json.dumps(standing))
        if seen is None:
            yield dg.SkipReason(f"watching from now on; {len(standing)} events stood before")
        elif not new:
            yield dg.SkipReason("no new event")
        else:
            yield _requested(warehouse, name, ", ".join(new))

    return watch


def build_tuning_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Define the sensors; they start stopped, a person or the deployment turns them on."""
    return [
        _sensor(
            settings,
            "performance_drop",
            performance_drops,
            "Trains when the live account has fallen far below its high, or decisions lose confidence.",
        ),
        _sensor(
            settings,
            "market_event",
            market_events,
            "Trains on extreme sentiment, a liquidation cascade or a burst of news; once for each.",
        ),
        _sensor(
            settings,
            "regime_shift_tuning",
            regime_shifts,
            "Trains when the change-point detector raises an alert; once for each alert.",
        ),
    ]


def build_tuning_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Define the weekly session of the scenario that suits; it starts stopped."""

    @dg.schedule(
        name=f"{OPTIMIZE}_schedule",
        job_name=OPTIMIZE,
        cron_schedule=_CRON,
        execution_timezone="UTC",
        description=f"Runs the recommended scenario at {_CRON} UTC unless a session still goes.",
    )
    def weekly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        ongoing = still_running(context.instance, OPTIMIZE)
        if ongoing is not None:
            yield dg.SkipReason(f"run {ongoing} of {OPTIMIZE} still goes; the next tick tries again")
            return
        yield _requested(Warehouse(address=settings.warehouse), "weekly schedule", "the week is over")

    return weekly
