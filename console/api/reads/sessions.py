"""Sessions, their episodes, and what the gate said."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from console.api.dagster_runs import Seen
from console.api.problems import Problem
from console.api.reads.changed import value_changes
from console.api.reads.history import row_of
from console.api.reads.pages import checked_cursor, page
from console.api.schemas.sessions import (
    EpisodeRow,
    Episodes,
    Evidence,
    Front,
    Guardrail,
    Results,
    SearchedSet,
    SessionRow,
    Stop,
    StressRow,
    Window,
)
from console.api.schemas.wire import Page
from engine.tuning.parameters import PARAMETERS
from engine.tuning.scenarios import SCENARIOS
from resources.parameter_store import ParameterStore
from resources.parameter_store.sessions import ProgressEvent, SessionRecord

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["episode_row", "episodes", "results", "session_row", "sessions", "version"]

_MOST_EPISODES = 10_000


def version(desk: Desk) -> Hashable:
    """Return what changes with the sessions, and with the runs that they are found in."""
    seen = desk.runs.seen()
    runs = tuple((run.id, run.session) for run in seen.runs if run.session)
    return desk.store.head(), desk.store.sessions.pulse(), runs


def sessions(desk: Desk, scenario: str | None, limit: int, before: str | None) -> Page[SessionRow]:
    """Read a page of sessions."""
    found = desk.store.sessions.recent(limit + 1, before=checked_cursor(before), scenario=scenario)
    seen, now = desk.runs.seen(), desk.store.sessions.ledger.now()
    return page(found, limit, lambda record: session_row(record, desk, seen, now))


def session_row(record: SessionRecord, desk: Desk, seen: Seen, now: datetime) -> SessionRow:
    """Read a session."""
    order = record.configuration.get("order") or {}
    result: Mapping[str, Any] = record.result or {}
    run = seen.of_session(record.id)
    scenario = SCENARIOS.get(record.scenario)
    return SessionRow(
        id=record.id,
        scenario=record.scenario,
        title=record.scenario if scenario is None else scenario.title,
        scope=str(record.scope),
        status=record.status,
        running=record.running,
        alive=record.running and record.lease_until > now,
        actor=record.actor,
        reason=record.reason,
        holder=str(record.holder),
        started_at=record.started_at,
        lease_until=record.lease_until,
        ended_at=record.ended_at,
        stop=None if record.stop is None else Stop(**vars(record.stop)),
        run_id=None if run is None else run.id,
        run_url=None if run is None else desk.runs.run_url(run.id),
        mode=order.get("mode"),
        method=order.get("method"),
        symbols=order.get("symbols") or [],
        episodes=order.get("episodes") or (0 if scenario is None else scenario.episodes),
        verdict=None if record.running else record.status,
        promoted=bool(result.get("promoted")),
        version=result.get("version"),
        experiment=result.get("experiment"),
        why=result.get("reason"),
    )


def episodes(store: ParameterStore, session: str, after: int) -> Episodes:
    """Read the episodes of a session after one that is known."""
    record = store.sessions.get(session)
    said = store.sessions.progress(session, after, _MOST_EPISODES)
    order = record.configuration.get("order") or {}
    scenario = SCENARIOS.get(record.scenario)
    most = order.get("episodes") or (0 if scenario is None else scenario.episodes)
    return Episodes(session=session, episodes=most, items=[episode_row(session, one) for one in said])


def episode_row(session: str, said: ProgressEvent) -> EpisodeRow:
    """Read what was said about an episode."""
    content = said.content
    figures = ("episode", "episodes", "mean_score", "best_score", "best_so_far", "searched")
    return EpisodeRow(
        session=session,
        number=said.number,
        at=said.at,
        **{name: content[name] for name in figures},
        best={name: content[name] for name in PARAMETERS if name in content},
    )


def results(desk: Desk, which: str) -> Results:
    """Read all that is known of a session, or of the newest one of a scenario."""
    store = desk.store
    if which in SCENARIOS:
        newest = store.sessions.recent(1, scenario=which)
        if not newest:
            why = f"no session of {which} was started yet; post /scenarios/{which}/start"
            raise Problem(404, "unknown", why, title="No such session", scenario=which)
        record = newest[0]
    else:
        record = store.sessions.get(which)
    found: Mapping[str, Any] = record.result or {}
    applied = [event for event in store.about(record.id) if event.kind == "journal.applied"]
    row = session_row(record, desk, desk.runs.seen(), store.sessions.ledger.now())
    return Results(
        session=row,
        episodes=episodes(store, record.id, 0).items,
        evidence=_evidence(found),
        front=_front(found.get("front")),
        attempt=found.get("attempt"),
        expected=found.get("expected"),
        elapsed_s=found.get("elapsed_s"),
        evaluations=found.get("evaluations"),
        can_apply=bool(found.get("promoted")) and not record.running and not applied,
        followed=[row_of(event).model_dump(mode="json") for event in _followed(store, record)],
    )


def _followed(store: ParameterStore, record: SessionRecord) -> list[Any]:
    experiment = (record.result or {}).get("experiment")
    rows = store.about(record.id) + (store.about(experiment) if experiment else [])
    return sorted(rows, key=lambda event: event.seq)


def _evidence(found: Mapping[str, Any]) -> Evidence | None:
    evidence = found.get("evidence")
    if not evidence:
        return None
    figures = evidence["figures"]
    windows: Mapping[str, Sequence[str]] = evidence.get("windows") or {}
    names = (
        "improvement", "low", "high", "p_value", "probability_of_improvement", "minimum_detectable_effect",
        "baseline", "value",
    )  # fmt: skip
    return Evidence(
        promoted=bool(evidence["promoted"]),
        reasons=list(evidence["reasons"]),
        statistic=evidence["statistic"],
        periods=evidence["periods"],
        trades=evidence["trades"],
        searched=evidence["searched"],
        tested=evidence["tested"],
        alpha=evidence.get("alpha"),
        **{name: figures.get(name) for name in names},
        guardrails=[Guardrail(**one) for one in evidence.get("guardrails") or []],
        stress=[StressRow.model_validate(one) for one in evidence.get("stress") or []],
        search=_window(windows.get("search")),
        evidence=_window(windows.get("evidence")),
        judged=evidence["judged"],
        changes=value_changes(evidence["changes"]),
    )


def _front(found: Mapping[str, Any] | None) -> Front | None:
    if not found:
        return None
    chosen = found["promoted"]
    return Front(
        size=found["size"],
        sets=[_searched(one) for one in found["sets"]],
        in_force=_searched(found["in_force"]),
        promoted=None if chosen is None else _searched(chosen),
    )


def _searched(one: Mapping[str, Any]) -> SearchedSet:
    figures = {name: one[name] for name in ("parameters", "score", "risk", "cost")}
    return SearchedSet(**figures, annual_return=one["return"])


def _window(edges: Sequence[str] | None) -> Window | None:
    if not edges:
        return None
    start, end = (datetime.fromisoformat(edge).replace(tzinfo=UTC) for edge in edges)
    return Window(start=start, end=end)
