"""From what the gate let pass to the parameters in force, to a shadow or to an A/B test."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from engine.tuning.parameters import ParameterSet
from engine_assets.live_ab import CANDIDATE_FALL
from engine_assets.tuning_order import TuneOrder
from resources.parameter_store import ParameterStore, RefusedError, Scope, StoreError
from resources.parameter_store.experiments import ExperimentKind
from resources.parameter_store.journal import JournalEntry
from resources.parameter_store.sessions import HeldSession
from resources.parameter_store.triggers import RollbackTrigger

if TYPE_CHECKING:
    from engine.tuning.evidence import Evidence

__all__ = ["TRIGGER_RATIO", "apply_session", "follow", "trigger_of"]

TRIGGER_RATIO = "trigger ratio"
"""What is watched after a change: `engine.tuning.trigger.TriggerVerdict.ratio`; above 1 it goes back."""
_GRACE = timedelta(days=2)
_LONGEST = 2_000


def trigger_of(judged: Evidence, days: int, seed: int) -> dict[str, Any]:
    """Take from the evidence what is to make the promoted parameters go back, before they are in force."""
    from engine.tuning.trigger import Trigger

    return Trigger.of(judged, horizon=days, seed=seed).to_dict()


def follow(
    store: ParameterStore,
    held: HeldSession,
    stage: str,
    reason: str,
    found: Mapping[str, Any],
    order: TuneOrder,
) -> tuple[str, str, dict[str, Any]]:
    """Do what is to follow a promotion; done again after an interruption, it is done once.

    Returns
    -------
    str
        ``applied``, ``shadow`` or ``ab``; ``not applied`` where the store refused.
    str
        Why.
    dict
        The version or the experiment that came of it.
    """
    try:
        if stage == "apply":
            entry = _applied(store, held.id, held.scope, found, actor=order.actor, reason=reason)
            return "applied", reason, {"version": entry.version}
        kind: ExperimentKind = "shadow" if stage == "shadow" else "ab"
        return kind, reason, {"experiment": _registered(store, held, kind, reason, found, order)}
    except RefusedError as error:
        return "not applied", f"{reason}; {error}", {}


def _registered(
    store: ParameterStore,
    held: HeldSession,
    kind: ExperimentKind,
    reason: str,
    found: Mapping[str, Any],
    order: TuneOrder,
) -> str:
    """Register the experiment of a session, once, and return its id."""
    from engine.tuning.ab_test import METRIC

    for known in store.experiments.recent():
        if known.session == held.id:
            return known.id
    # A shadow risks nothing; what an A/B test may lose is what an applied candidate may.
    limit = RollbackTrigger(CANDIDATE_FALL, found["trigger"]["fall"], order.watched_for, "above")
    return store.experiments.register(
        kind,
        held.scope,
        ParameterSet.from_mapping(found["promoted"]),
        baseline=found["expected"],
        metric=METRIC if kind == "ab" else "net return per day",
        horizon=order.watched_for,
        seed=found["seed"],
        actor=order.actor,
        reason=reason[:_LONGEST],
        trigger=limit if kind == "ab" else None,
        session=held.id,
    ).id


def _applied(
    store: ParameterStore, session: str, scope: Scope, found: Mapping[str, Any], *, actor: str, reason: str
) -> JournalEntry:
    """Write what a session promoted into the journal, and apply it."""
    watched = timedelta(days=found["trigger"]["horizon"]) + _GRACE
    store.journal.propose(
        session,
        scope,
        ParameterSet.from_mapping(found["promoted"]),
        expected=found["expected"],
        actor=actor,
        reason=reason[:_LONGEST],
        evidence={**found["evidence"], "trigger": found["trigger"], "attempt": found["attempt"]},
        session=session,
        triggers=[RollbackTrigger(TRIGGER_RATIO, 1.0, watched, "above")],
    )
    return store.journal.apply(session, actor=actor)


def apply_session(store: ParameterStore, session: str, *, actor: str, reason: str) -> JournalEntry:
    """Put into force what an ended session promoted, such as one that was run as a shadow.

    What compares it with the parameters before ends with that: it has become what is compared with.

    Raises
    ------
    StoreError
        If the session still runs, or promoted nothing.
    RefusedError
        If something else came into force meanwhile, or a person holds a value that it would change.
    """
    record = store.sessions.get(session)
    if record.running:
        raise StoreError(
            f"session {session} still runs ({record.status}), held by {record.holder}; wait for it"
        )
    found = record.result or {}
    if not found.get("promoted"):
        raise StoreError(
            f"session {session} ended as {record.status} and promoted nothing; there is nothing to apply"
        )
    entry = _applied(store, session, record.scope, found, actor=actor, reason=reason)
    for experiment in store.experiments.running():
        if experiment.session == session:
            why = f"its candidate came into force as version {entry.version}"
            store.experiments.stop(experiment.id, actor=actor, reason=why)
    return entry
