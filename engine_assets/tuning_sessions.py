"""A session from its lease to its end: snapshot, search, gate, and what follows a promotion.

The parameter store has every step before it counts, so a process that is killed anywhere leaves what was in
force, and another process goes on from the last episode. What was promoted comes into force through the
store's journal alone, which refuses if anything else came into force meanwhile.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from engine.tuning.parameters import ParameterSet
from engine_assets.tuning_front import SearchedFront, front_of
from engine_assets.tuning_inputs import costs_of, evidence_windows, market_now, tape_of
from engine_assets.tuning_order import TuneOrder
from engine_assets.tuning_prior import found_of, prior_in, prior_of, replayed
from engine_assets.tuning_promotions import follow, trigger_of
from resources.parameter_store import LeaseLostError, ParameterStore, RefusedError, Scope
from resources.parameter_store.sessions import HeldSession, SessionRecord
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.tuning.evidence import Evidence
    from engine.tuning.market_state import StateTape
    from engine.tuning.session import SessionConfig, SessionResult

__all__ = ["Conducted", "attempts_before", "conduct"]

LEASE = timedelta(minutes=5)
_ALL = 1_000_000


@dataclass(frozen=True, eq=False)
class Conducted:
    """A session that is over.

    Parameters
    ----------
    session : str
    status : str
        ``refused``, ``stopped``, ``applied``, ``shadow``, ``ab``; ``not applied`` where it was promoted and
        something else had come into force meanwhile.
    reason : str
    result : SessionResult
    config : SessionConfig
    tape : StateTape
    state : mapping
        As saved last: the search can be replayed from it.
    front : SearchedFront or None
        None if nothing was searched.
    """

    session: str
    status: str
    reason: str
    result: SessionResult
    config: SessionConfig
    tape: StateTape
    state: Mapping[str, Any]
    front: SearchedFront | None


@dataclass(frozen=True)
class _Snapshot:
    """What was in force when a session began."""

    parameters: ParameterSet
    version: int
    overridden: tuple[str, ...]

    @classmethod
    def of(cls, store: ParameterStore, scope: Scope) -> _Snapshot:
        names = {kind: scope.name if scope.kind == kind else None for kind in ("symbol", "regime")}
        found = store.in_force(names["symbol"], names["regime"])
        return cls(found.parameters, found.version, found.overridden)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> _Snapshot:
        return cls(
            ParameterSet.from_mapping(values["parameters"]), values["version"], tuple(values["overridden"])
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "parameters": self.parameters.to_dict(),
            "version": self.version,
            "overridden": list(self.overridden),
        }


def conduct(
    order: TuneOrder,
    store: ParameterStore,
    warehouse: Warehouse,
    settings: Settings,
    *,
    progress: Callable[[Mapping[str, Any]], None] = lambda event: None,
    started: Callable[[SessionRecord], None] = lambda record: None,
) -> Conducted:
    """Run a session to its end, or take up one that was interrupted.

    One of the same order whose process is gone is taken up; any other that is gone is ended as failed.

    Parameters
    ----------
    order : TuneOrder
    store : ParameterStore
    warehouse : Warehouse
    settings : Settings
    progress : callable
        Told of each episode, after the store.
    started : callable
        Told of the session once it is held.

    Raises
    ------
    BusyError
        If another session runs in the scope; it names the holder.
    LeaseLostError
        If another process took the session over.
    Exception
        Whatever makes the session fail; it is ended as failed before.
    """
    held = _taken(order, store)
    record = store.sessions.get(held.id)
    started(record)
    try:
        return _run(order, store, warehouse, settings, held, record, progress)
    except LeaseLostError:
        raise
    except BaseException as error:
        # Whoever interrupts a run asks it to stop: nothing was applied, the scope is free again.
        status = "failed" if isinstance(error, Exception) else "stopped"
        why = f"{type(error).__name__}: {error}".rstrip(": ")[:2_000]
        with contextlib.suppress(LeaseLostError):
            held.finish(status, actor=order.actor, reason=why)
        raise


def _taken(order: TuneOrder, store: ParameterStore) -> HeldSession:
    """Take the session that is named, one of the same order that was abandoned, or else a new one."""
    who: Any = {"actor": order.actor, "reason": order.reason, "lease": LEASE}
    if order.session is not None:
        return store.sessions.resume(order.session, **who)
    now = store.sessions.ledger.now()
    for running in store.sessions.running(order.where):
        same = running.configuration.get("order") == json.loads(json.dumps(order.described()))
        if same and running.lease_until <= now and store.sessions.state(running.id) is not None:
            return store.sessions.resume(running.id, **who)
    snapshot = _Snapshot.of(store, order.where)
    configuration = {"order": order.described(), "in_force": snapshot.to_dict()}
    return store.sessions.start(order.where, order.scenario, configuration=configuration, **who)


def _run(
    order: TuneOrder,
    store: ParameterStore,
    warehouse: Warehouse,
    settings: Settings,
    held: HeldSession,
    record: SessionRecord,
    progress: Callable[[Mapping[str, Any]], None],
) -> Conducted:
    from engine.evaluation.attempts import level_of
    from engine.tuning.session import SessionConfig, run_session

    # A session that is taken up goes on with the order that it was started with.
    order = TuneOrder(**record.configuration["order"], actor=order.actor, reason=record.reason)
    snapshot = _Snapshot.from_dict(record.configuration["in_force"])
    saved = store.sessions.state(held.id)
    kept: dict[str, Any] = {} if saved is None else json.loads(saved)
    scope = held.scope
    tape = tape_of(
        warehouse, settings, order.trained_on, regime=scope.name if scope.kind == "regime" else None
    )
    attempt = 1 + attempts_before(store, record)
    config = (
        SessionConfig.from_dict(kept["config"])
        if kept
        else _configured(order, tape, warehouse, settings, snapshot, level_of(attempt))
    )

    def told(event: Mapping[str, Any]) -> None:
        held.report(event)
        progress(event)

    def save(state: Mapping[str, Any]) -> None:
        kept.clear()
        kept.update(state)
        held.save_state(json.dumps(state).encode())
        held.advance(state["stage"])

    prior = prior_in(kept) if kept else prior_of(store, config.goal, record.started_at)
    result = run_session(
        tape,
        config,
        snapshot.parameters,
        costs=costs_of(settings),
        prior=prior,
        state=dict(kept) or None,
        stop=held.heartbeat,
        progress=told,
        save=save,
    )
    found: dict[str, Any] = {
        "method": config.search.method,
        "goal": config.goal,
        "aggressiveness": config.search.aggressiveness.name,
        "symbols": list(tape.symbols),
        "targets": list(config.search.targets),
        "windows": config.windows.to_dict(),
        "attempt": attempt,
        "alpha": config.alpha,
        "seed": config.search.seed,
        "expected": snapshot.version,
        "in_force": snapshot.parameters.to_dict(),
        "promoted": None if result.promoted is None else result.promoted.to_dict(),
        "evidence": result.evidence,
        "elapsed_s": result.elapsed,
        "episodes": result.episodes.height,
        "evaluations": sum(len(scores) for scores in kept["history"]),
    }
    status, reason, front = str(result.stage), result.reason, None
    if kept["history"]:
        search = replayed(config, snapshot.parameters, kept)
        found["finding"] = found_of(search, store.sessions.ledger.now(), str(scope))
        front = front_of(search.result(), tape, config, snapshot.parameters, costs_of(settings))
        found["front"] = front.kept(result.promoted)
    if result.promoted is not None:
        judged = result.judged or _judged_again(tape, config, snapshot, settings, kept)
        found["trigger"] = trigger_of(judged, order.days, config.search.seed)
        status, reason, more = follow(store, held, result.stage, reason, found, order)
        found |= more
    held.finish(
        status, actor=order.actor, reason=reason[:2_000] or status, result={**found, "reason": reason}
    )
    return Conducted(held.id, status, reason, result, config, tape, kept, front)


def _configured(
    order: TuneOrder,
    tape: StateTape,
    warehouse: Warehouse,
    settings: Settings,
    snapshot: _Snapshot,
    alpha: float,
) -> SessionConfig:
    """Fix all that decides what the session does; what a person holds is no target."""
    from engine.tuning.session import SessionConfig

    view = market_now(warehouse)
    config = SessionConfig.of(
        order.scenario,
        evidence_windows(tape),
        alpha=alpha,
        seed=settings.seed if order.seed is None else order.seed,
        market=None if view is None else view.mode,
        method=order.method,
        then=order.mode,
    )
    free = tuple(name for name in config.search.targets if name not in snapshot.overridden)
    if not free:
        raise RefusedError(
            f"{order.where}: all targets of {order.scenario} are held by a person "
            f"({', '.join(config.search.targets)}); lift an override first"
        )
    episodes = order.episodes or config.search.episodes
    search = replace(config.search, targets=free, episodes=episodes)
    return replace(config, search=search, minutes=order.minutes or config.minutes)


def attempts_before(store: ParameterStore, record: SessionRecord) -> int:
    """Count the sessions of a scope that began before one, whatever came of them: each was an attempt."""
    began = (record.started_at, record.id)
    return sum(
        other.scope == record.scope and (other.started_at, other.id) < began
        for other in store.sessions.recent(_ALL)
    )


def _judged_again(
    tape: StateTape,
    config: SessionConfig,
    snapshot: _Snapshot,
    settings: Settings,
    state: Mapping[str, Any],
) -> Evidence:
    """Make the evidence of a session anew that was interrupted after it had been judged."""
    from engine.tuning.session import task_of

    found = replayed(config, snapshot.parameters, state).result()
    return task_of(tape, config, snapshot.parameters, costs_of(settings)).judge(found)
