"""What the parameter store knows, in the rows of the tables of the parameter training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.tuning.parameters import DEFAULTS, PARAMETERS
from engine_assets.tuning_tables import AB_RESULTS, EPISODES, HISTORY, LIVE_PARAMETERS, RUNS
from resources.parameter_store import ParameterStore
from resources.table import Table

if TYPE_CHECKING:
    import polars as pl

    from resources.parameter_store.chain import Event
    from resources.parameter_store.sessions import SessionRecord
    from resources.parameter_store.versions import InForce

__all__ = ["episodes_frame", "experiments_frame", "history_frame", "live_frame", "runs_frame"]

_ALL, _PAGE = 1_000_000, 1_000


def runs_frame(store: ParameterStore) -> pl.DataFrame:
    """Read all sessions that have ended, the newest first."""
    return _frame(RUNS, (_run(record) for record in store.sessions.recent(_ALL) if not record.running))


def _run(record: SessionRecord) -> dict[str, Any]:
    found = record.result or {}
    evidence = found.get("evidence") or {}
    figures, windows = evidence.get("figures") or {}, found.get("windows") or {}
    borders = {
        f"{name}_{edge}": datetime.fromisoformat(moment)
        for name in ("search", "evidence")
        for edge, moment in zip(("start", "end"), windows.get(name, ()), strict=False)
    }
    asked = record.configuration.get("order") or {}
    return {
        "session": record.id,
        "scenario": record.scenario,
        "scope": str(record.scope),
        "symbols": _json(found.get("symbols")),
        "method": found.get("method", asked.get("method")),
        "goal": found.get("goal"),
        **borders,
        "episodes": found.get("episodes"),
        "evaluations": found.get("evaluations"),
        "family": evidence.get("searched"),
        "best": _json(evidence.get("judged")),
        "changes": _json(evidence.get("changes")),
        "promoted": bool(evidence.get("promoted", False)),
        "verdict": record.status,
        "reasons": str(found.get("reason", "")),
        **{name: figures.get(name) for name in ("improvement", "low", "high", "p_value")},
        "attempt": found.get("attempt"),
        "alpha": found.get("alpha"),
        "version": found.get("version"),
        "started_at": _moment(record.started_at),
        "ended_at": _moment(record.ended_at),
        "actor": record.actor,
        "reason": record.reason,
    }


def episodes_frame(store: ParameterStore) -> pl.DataFrame:
    """Read the episodes of all sessions that have ended."""
    ended = [record.id for record in store.sessions.recent(_ALL) if not record.running]
    return _frame(EPISODES, (row for session in ended for row in _episodes(store, session)))


def _episodes(store: ParameterStore, session: str) -> Iterator[dict[str, Any]]:
    # An episode that was searched again after an interruption was reported twice, with the same figures.
    said = {event.content["episode"]: event for event in store.sessions.progress(session, limit=_ALL)}
    for number, event in said.items():
        row = event.content
        yield {
            "session": session,
            "episode": number,
            "at": _moment(event.at),
            **{name: row[name] for name in ("mean_score", "best_score", "best_so_far", "searched")},
            "best": _json({name: row[name] for name in PARAMETERS}),
        }


def live_frame(store: ParameterStore, symbols: Iterable[str]) -> pl.DataFrame:
    """Resolve what is in force globally, for the symbols, and in regimes with parameters of their own."""
    known = {one.scope for one in store.versions(limit=_ALL)} | {one.scope for one in store.holds()}
    regimes = {scope.name for scope in known if scope.kind == "regime"}
    found: dict[str, InForce] = {"global": store.in_force()}
    found |= {f"symbol:{symbol}": store.in_force(symbol) for symbol in sorted(symbols)}
    found |= {f"regime:{regime}": store.in_force(regime=regime) for regime in sorted(regimes)}
    return _frame(
        LIVE_PARAMETERS, (row for scope, in_force in found.items() for row in _in_force(scope, in_force))
    )


def _in_force(scope: str, found: InForce) -> Iterator[dict[str, Any]]:
    held = {hold.name: hold for hold in found.holds}
    defaults = DEFAULTS.to_dict()
    for name, value in found.parameters.to_dict().items():
        of = PARAMETERS[name]
        hold = held.get(name)
        yield {
            "scope": scope,
            "parameter": name,
            "value": value,
            "default_value": defaults[name],
            "low": of.low,
            "high": of.high,
            "step": of.step,
            "unit": of.unit,
            "version": found.version,
            "comes_from": "defaults" if found.scope is None else str(found.scope),
            "overridden": hold is not None,
            "held_by": None if hold is None else hold.actor,
            "held_until": None if hold is None else _moment(hold.until),
        }


def history_frame(store: ParameterStore) -> pl.DataFrame:
    """Read the whole audit trail, in order."""
    return _frame(HISTORY, reversed([_event(event) for event in _events(store)]))


def _events(store: ParameterStore) -> Iterator[Event]:
    before = None
    while page := store.history(limit=_PAGE, before=before):
        yield from page
        before = page[-1].seq


def _event(event: Event) -> dict[str, Any]:
    return {
        "number": event.seq,
        "at": _moment(event.at),
        "kind": event.kind,
        "scope": event.scope,
        "version": event.version,
        "subject": event.subject,
        "actor": event.actor,
        "reason": event.reason,
        "changes": _json(event.content.get("changes") or event.content.get("values")),
        "hash": event.hash,
    }


def experiments_frame(store: ParameterStore) -> pl.DataFrame:
    """Read all shadow runs and A/B tests, the newest first."""
    rows = []
    for one in store.experiments.recent(_ALL):
        result = one.result or {}
        rows.append(
            {
                "experiment": one.id,
                "kind": one.kind,
                "scope": str(one.scope),
                "state": one.state,
                "session": one.session,
                "candidate": _json(one.candidate.to_dict()),
                "baseline": one.baseline,
                "metric": one.metric,
                "started_at": _moment(one.start),
                "ends_at": _moment(one.end),
                "observations": sum(seen.key != "design" for seen in store.experiments.observed(one.id)),
                **{
                    name: result.get(name)
                    for name in ("verdict", "effect", "low", "high", "p_value", "sample_ratio_p")
                },
                "reasons": "; ".join(result["reasons"]) if "reasons" in result else None,
            }
        )
    return _frame(AB_RESULTS, rows)


def _frame(table: Table, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(list(rows), schema=table.polars_schema)


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value)


def _moment(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)
