"""``engine tune``: train the parameters of the live algorithm, and change them by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table

from engine.tuning.parameters import PARAMETERS
from engine.tuning.recommender import recommend
from engine.tuning.scenarios import SCENARIOS
from engine_assets.tuning_inputs import live_figures, market_now, open_store
from engine_assets.tuning_order import TuneOrder
from engine_jobs.cli import by_hand
from engine_jobs.cli.output import Commands, as_json, reason_and_actor, shown, table, wants_json
from engine_jobs.cli.start import InterruptedSession, run_order
from resources.parameter_store import StoreError
from resources.parameter_store.sessions import SessionRecord
from resources.settings import load_settings
from resources.warehouse import Warehouse

__all__ = ["stressed", "tune"]

_METHODS, _MODES = (get_args(TuneOrder.model_fields[name].annotation) for name in ("method", "mode"))


@click.group(cls=Commands)
def tune() -> None:
    """Train the parameters of the live algorithm, and change them by hand."""


@tune.command()
@click.argument("scenario", required=False)
@click.option("--symbol", "symbols", multiple=True, help="Train on it; all that are stored by default.")
@click.option("--scope", help="Whose parameters; by default those of the one symbol, else global.")
@click.option("--mode", default="apply", show_default=True, help=f"After a promotion: {', '.join(_MODES)}.")
@click.option("--method", default="pgpe", show_default=True, help=f"Of the search: {', '.join(_METHODS)}.")
@click.option("--episodes", type=int, help="At most the scenario's.")
@click.option("--minutes", type=float, help="At most the scenario's.")
@click.option("--days", type=int, default=30, show_default=True, help="How long what follows is watched.")
@click.option("--seed", type=int, help="By default that of the settings.")
@click.option("--resume", "session", help="Take up this session, whose process is gone.")
@reason_and_actor(required=False)
@as_json
def start(scenario: str | None, symbols: tuple[str, ...], **asked: Any) -> None:
    """Run one session of SCENARIO, by default the recommended one, in this process.

    Ctrl-C stops it and leaves the parameters as they were.
    """
    settings = load_settings()
    if asked["session"] is not None:
        found = open_store(settings).sessions.get(asked["session"])
        asked |= found.configuration.get("order", {})
    else:
        asked |= {"scenario": scenario or _recommended(), "symbols": list(symbols)}
    asked["reason"] = asked["reason"] or "asked for on the command line"
    order = TuneOrder(**{name: value for name, value in asked.items() if value is not None})
    try:
        record = run_order(order, settings, Console(stderr=True, quiet=wants_json()))
    except InterruptedSession as stopped:
        click.echo(f"stopped: {stopped}", err=True)
        raise SystemExit(130) from None
    shown(_session(record), lambda screen: _ended(screen, record))


def _recommended() -> str:
    return recommend(live_figures(Warehouse(address=load_settings().warehouse))).scenario.name


def _session(record: SessionRecord) -> dict[str, Any]:
    return {
        "session": record.id,
        "scenario": record.scenario,
        "scope": str(record.scope),
        "status": record.status,
        "running": record.running,
        "actor": record.actor,
        "reason": record.reason,
        "holder": str(record.holder),
        "started_at": record.started_at,
        "lease_until": record.lease_until,
        "ended_at": record.ended_at,
        "stop_requested": None if record.stop is None else record.stop.reason,
        "result": record.result,
    }


def _ended(screen: Console, record: SessionRecord) -> None:
    found = record.result or {}
    screen.print(f"[bold]{record.status}[/] {record.scenario} for {record.scope}, session {record.id}")
    screen.print(found.get("reason", ""), markup=False)
    changes: Mapping[str, Any] = (found.get("evidence") or {}).get("changes", {})
    if changes:
        title = "changes" if found.get("promoted") else "came nearest"
        rows = [(name, *both, PARAMETERS[name].unit) for name, both in changes.items()]
        screen.print(table(title, ("parameter", "in force", "judged", "unit"), rows))
    stress = (found.get("evidence") or {}).get("stress")
    if stress:
        screen.print(stressed(stress))
    if found.get("version"):
        screen.print(f"version {found['version']} is in force for {record.scope}")


def stressed(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out the falls of what the gate let pass in worse markets, beside those of what is in force."""

    def percent(value: float | None) -> str | None:
        return None if value is None else f"{value:.2%}"

    figures = ("incumbent", "candidate", "difference", "low", "allowed")
    cells = [
        (
            row["stress"],
            row["paths"],
            *(percent(row[name]) for name in figures),
            "yes" if row["passed"] else "no",
        )
        for row in rows
    ]
    columns = ("stress", "paths", "in force", "judged", "deeper", "surely", "allowed", "passed")
    return table("largest falls under stress, means of paths", columns, cells)


@tune.command()
@as_json
def status() -> None:
    """Show what runs, what is in force and what is held."""
    store = open_store(load_settings())
    running, experiments = store.sessions.running(), store.experiments.running()
    found, holds = store.in_force(), store.holds()
    episodes = {one.id: [event.content for event in store.sessions.progress(one.id)][-1:] for one in running}
    value = {
        "store": store.place,
        "sessions": [{**_session(one), "progress": next(iter(episodes[one.id]), None)} for one in running],
        "experiments": [
            {"id": one.id, "kind": one.kind, "scope": str(one.scope), "until": one.end} for one in experiments
        ],
        "in_force": {
            "version": found.version,
            "parameters": found.parameters.to_dict(),
            "overridden": list(found.overridden),
        },
        "holds": [str(hold) for hold in holds],
        "pending": [entry.key for entry in store.journal.pending()],
    }

    def draw(screen: Console) -> None:
        screen.print(f"[dim]{store.place}[/]")
        for one in running:
            said = next(iter(episodes[one.id]), None)
            done = "no episode yet" if said is None else f"episode {said['episode']} of {said['episodes']}"
            asked = "" if one.stop is None else f", asked to stop by {one.stop.actor}"
            screen.print(f"{one.scenario} for {one.scope}: {one.status}, {done}, held by {one.holder}{asked}")
            screen.print(f"  session {one.id}, started by {one.actor} at {one.started_at:%Y-%m-%d %H:%M} UTC")
        if not running:
            screen.print("no session runs")
        for each in experiments:
            screen.print(f"{each.kind} {each.id} for {each.scope} runs until {each.end:%Y-%m-%d %H:%M} UTC")
        for hold in holds:
            screen.print(str(hold), markup=False)
        rows = [
            (
                name,
                each,
                PARAMETERS[name].default,
                PARAMETERS[name].low,
                PARAMETERS[name].high,
                PARAMETERS[name].unit,
            )
            for name, each in found.parameters.to_dict().items()
        ]
        title = f"in force globally, version {found.version}" if found.version else "in force: the defaults"
        screen.print(table(title, ("parameter", "value", "default", "low", "high", "unit"), rows))

    shown(value, draw)


@tune.command()
@click.argument("session", required=False)
@reason_and_actor(required=False)
@as_json
def stop(session: str | None, actor: str, reason: str | None) -> None:
    """Ask SESSION to stop, by default the only one that runs; it ends after its episode."""
    store = open_store(load_settings())
    if session is None:
        running = store.sessions.running()
        if len(running) != 1:
            named = ", ".join(f"{one.id} ({one.scope})" for one in running)
            raise StoreError(
                f"{len(running)} sessions run; name the one to stop: {named}" if named else "no session runs"
            )
        session = running[0].id
    record = store.sessions.request_stop(
        session, actor=actor, reason=reason or "asked for on the command line"
    )
    said = "will stop after this episode" if record.running else f"has already ended: {record.status}"
    shown(_session(record), lambda screen: screen.print(f"session {record.id} {said}"))


@tune.command()
@click.option("--scope", help="By default all.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--before", type=int, help="Only rows before this one.")
@as_json
def history(scope: str | None, limit: int, before: int | None) -> None:
    """Show what was changed, by whom and why, the newest first."""
    rows = open_store(load_settings()).history(scope, limit=limit, before=before)
    columns = ("row", "at", "kind", "scope", "version", "actor", "reason")
    cells = [(row.seq, row.at, row.kind, row.scope, row.version, row.actor, row.reason) for row in rows]
    value = [
        {**dict(zip(columns, each, strict=True)), "hash": row.hash, "content": row.content}
        for each, row in zip(cells, rows, strict=True)
    ]
    shown(value, lambda screen: screen.print(table("history", columns, cells)))


@tune.command()
@click.option("--head", help="Hash of the last row at an earlier time, noted elsewhere.")
@as_json
def verify(head: str | None) -> None:
    """Walk along the history and find the first row that is not as it was written."""
    report = open_store(load_settings()).verify(head)
    value = {
        "intact": report.intact, "rows": report.rows, "head": report.head,
        "broken_row": report.broken_row, "reason": report.reason,
    }  # fmt: skip
    shown(value, lambda screen: screen.print(f"{report.reason}; head {report.head}", markup=False))
    if not report.intact:
        raise SystemExit(1)


@tune.command()
@as_json
def scenarios() -> None:
    """Show the scenarios, and which one suits now."""
    warehouse = Warehouse(address=load_settings().warehouse)
    found, view = recommend(live_figures(warehouse)), market_now(warehouse)
    columns = ("scenario", "minutes", "episodes", "goal", "search", "targets")
    rows = [
        (
            one.name,
            one.minutes,
            one.episodes,
            one.goal,
            (one.aggressiveness if view is None else one.in_market(view.mode)).name,
            ", ".join(one.targets),
        )
        for one in SCENARIOS.values()
    ]
    value = {
        "scenarios": [dict(zip(columns, row, strict=True)) for row in rows],
        "recommendation": found.to_dict(),
        "market": None if view is None else view,
    }

    def draw(screen: Console) -> None:
        screen.print(table("scenarios", columns, rows))
        mode = "not known" if view is None else view.mode
        screen.print(f"\nrecommended: [bold]{found.scenario.name}[/] (market: {mode})")
        for reason in found.reasons:
            screen.print(f"  {reason}", markup=False)

    shown(value, draw)


for _command in by_hand.COMMANDS:
    tune.add_command(_command)
