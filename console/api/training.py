"""To start a training and to stop one: one at a time in a scope, whoever asks."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from console.api.dagster_runs import CANCELING, Run
from console.api.problems import Problem
from console.api.schemas.orders import Order, Started, StartScenario, Stopped
from engine.errors import EngineError
from engine.tuning.recommender import recommend
from engine_assets.tuning_inputs import live_figures
from resources.parameter_store import BusyError, Scope
from resources.parameter_store.sessions import SessionRecord

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["GRACE_S", "start", "stop", "terminating_overdue"]

GRACE_S = 30.0
"""A session that was asked to stop has so many seconds to end its episode before its run is terminated."""
_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


def start(desk: Desk, scenario: str | None, asked: StartScenario, actor: str) -> Started:
    """Launch a run.

    Raises
    ------
    pydantic.ValidationError
        If what is asked for does not go together.
    BusyError
        If a session of the scope runs.
    Problem
        409 if a run for the scope is queued or has just begun, 422 if a symbol is not stored, 503 without
        Dagster.
    WarehouseError
        If the warehouse cannot be read.
    """
    name = scenario or recommend(live_figures(desk.warehouse)).scenario.name
    order = asked.order(name, actor)
    _refuse_unknown(desk, order.trained_on)
    # Two who ask at once must not both find the scope free.
    with desk.launching:
        _refuse_busy(desk, order.where)
        run = desk.runs.launch(order)
    desk.answers.moved()
    return Started(run_id=run, run_url=desk.runs.run_url(run), order=Order.of(order))


def stop(desk: Desk, session: str | None, run: str | None, reason: str, actor: str) -> Stopped:
    """Stop a session or a run, by default the only one there is.

    Raises
    ------
    UnknownError
        If there is no such session.
    Problem
        404 if there is no such run; 409 where none is named and none runs, or several do.
    """
    if session is None and run is None:
        session, run = _only_one(desk)
    if session is None and run is not None:
        found = desk.runs.get(run)
        if found is None:
            raise Problem(404, "unknown", f"there is no run {run} of a training")
        if not found.active:
            state = found.state.lower()
            return _stopped(found.session, run, "ended", f"run {run} had already ended ({state})")
        if found.session is None or not desk.store.sessions.get(found.session).running:
            desk.runs.terminate(run)
            desk.answers.moved()
            return _stopped(None, run, "terminated", "no session of it had begun; nothing was changed")
        session = found.session
    assert session is not None  # noqa: S101  one or the other is known by now
    stopped = _stop_session(desk, session, reason, actor)
    desk.answers.moved()
    return stopped


def _stop_session(desk: Desk, session: str, reason: str, actor: str) -> Stopped:
    sessions = desk.store.sessions
    record = sessions.get(session)
    if not record.running:
        return _stopped(session, None, "ended", f"it had already ended ({record.status})")
    record = sessions.request_stop(session, actor=actor, reason=reason)
    if _abandoned(desk, record):
        sessions.end_abandoned(actor=actor, reason=f"stopped after its process was gone: {reason}"[:2_000])
        return _stopped(session, None, "ended", f"{record.holder} was gone; the session was ended as failed")
    run: Run | None = None
    # Without Dagster the session still ends after its episode: the wish stands in the store.
    with contextlib.suppress(Problem):
        run = desk.runs.of_session(session)
    if run is None:
        return _stopped(session, None, "stopping", "it ends after its episode; what is in force stays so")
    why = f"it ends after its episode, at the latest in {GRACE_S:g} s; what is in force stays in force"
    return _stopped(session, run.id, "stopping", why)


@contextlib.contextmanager
def terminating_overdue(desk: Desk) -> Iterator[None]:
    """Meanwhile, terminate the runs of sessions that go on for longer after they were asked to stop.

    Who was asked when stands in the store: a console that is started again goes on with it.
    """
    over = threading.Event()
    thread = threading.Thread(target=_terminate_overdue, args=(desk, over), name="overdue", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _terminate_overdue(desk: Desk, over: threading.Event) -> None:
    failed: set[str] = set()
    while not over.wait(_LOOK_EVERY_S):
        try:
            late = [record for record in desk.store.sessions.running() if _overdue(desk, record)]
        except EngineError as error:
            _log.warning("whether a session is to be terminated is not known: %s", error)
            continue
        for record in late:
            try:
                run = desk.runs.of_session(record.id)
                if run is not None and run.active and run.state != CANCELING:
                    desk.runs.terminate(run.id)
                    desk.answers.moved()
            except Exception:
                if record.id not in failed and not over.is_set():
                    _log.exception("session %s was asked to stop and cannot be terminated yet", record.id)
                failed.add(record.id)


def _overdue(desk: Desk, record: SessionRecord) -> bool:
    if record.stop is None or _abandoned(desk, record):
        return False
    return (desk.store.sessions.ledger.now() - record.stop.at).total_seconds() >= GRACE_S


def _stopped(session: str | None, run: str | None, outcome: str, detail: str) -> Stopped:
    return Stopped.model_validate({"session": session, "run_id": run, "outcome": outcome, "detail": detail})


def _only_one(desk: Desk) -> tuple[str | None, str | None]:
    """Find the training that runs: by its session, or by its run while it has none."""
    sessions = desk.store.sessions.running()
    held = {one.id for one in sessions}
    runs: list[Run] = []
    with contextlib.suppress(Problem):
        runs = [run for run in desk.runs.active() if run.session is None or run.session in held]
    waiting = [run for run in runs if run.session is None]
    if len(sessions) + len(waiting) == 1:
        return (sessions[0].id, None) if sessions else (None, waiting[0].id)
    if not sessions and not waiting:
        raise Problem(409, "nothing-runs", "no training runs and none is queued", title="Nothing to stop")
    named = [*(f"session {one.id} ({one.scope})" for one in sessions)]
    named += [f"run {one.id} ({one.scope})" for one in waiting]
    raise Problem(
        409,
        "several-run",
        f"{len(named)} trainings run or wait; post /stop with the one to stop: {', '.join(named)}",
        title="Several trainings run",
        sessions=[one.id for one in sessions],
        runs=[one.id for one in waiting],
    )


def _abandoned(desk: Desk, record: SessionRecord) -> bool:
    return record.lease_until <= desk.store.sessions.ledger.now()


def _refuse_busy(desk: Desk, scope: Scope) -> None:
    for record in desk.store.sessions.running(scope):
        if not _abandoned(desk, record):
            raise BusyError(record)
    for run in desk.runs.active():
        if run.scope == str(scope):
            raise Problem(
                409,
                "busy",
                f"{scope}: run {run.id} of {run.scenario or 'a training'}, launched by "
                f"{run.actor or 'somebody else'}, has not ended ({run.state.lower()}). Stop it, or wait",
                title="Another training is under way",
                scope=run.scope,
                scenario=run.scenario,
                session=run.session,
                run_id=run.id,
                run_url=desk.runs.run_url(run.id),
                holder=f"run {run.id}",
                actor=run.actor,
            )


def _refuse_unknown(desk: Desk, symbols: tuple[str, ...]) -> None:
    if not desk.warehouse.exists("staging.candles"):
        raise Problem(
            409,
            "not-enough-data",
            "no market data is stored to train on; run ingest",
            title="Not enough data",
            missing=[{"what": "staging.candles", "hint": "run ingest"}],
        )
    rows = desk.warehouse.frame("SELECT DISTINCT symbol FROM staging.candles ORDER BY symbol")
    stored = rows["symbol"].to_list()
    unknown = [symbol for symbol in symbols if symbol not in stored]
    if unknown:
        raise Problem(
            422,
            "unknown-symbol",
            f"{', '.join(unknown)}: no bars are stored; stored are {', '.join(stored)}",
            title="Symbol not stored",
            parameter="symbols",
            stored=stored,
        )
