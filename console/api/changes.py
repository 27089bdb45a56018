"""Changes by hand: what each would do, and to do it once that was confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from console.api.problems import Problem
from console.api.reads.changed import value_changes
from console.api.schemas.changes import (
    ApplySession,
    Changed,
    HandChange,
    Lift,
    Override,
    Reset,
    Rollback,
    UpdateParameter,
    ValueChange,
)
from console.api.schemas.parameters import Held
from console.api.security.callers import Caller
from console.api.security.confirmations import Change, Confirmations
from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from engine_assets.tuning_promotions import apply_session
from resources.parameter_store import ParameterStore, Scope, StaleBaseline, StoreError, UnknownError
from resources.parameter_store.versions import InForce

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["ACTIONS", "Shown", "made", "preview"]

ACTIONS: Mapping[type[Any], str] = {
    UpdateParameter: "update-parameter",
    Override: "override",
    Lift: "lift",
    Rollback: "rollback",
    Reset: "reset",
    ApplySession: "apply",
}


@dataclass(frozen=True)
class Shown:
    """What a change would do.

    Parameters
    ----------
    change : Change
        What is to be confirmed: it is the same while what it would replace is.
    after : mapping
    changes : list of ValueChange
        Of the values in force in the scope.
    warnings : list of str
    """

    change: Change
    after: Mapping[str, Any]
    changes: list[ValueChange]
    warnings: list[str]


def preview(desk: Desk, asked: HandChange) -> Shown:
    """Find out what a change would do now.

    Raises
    ------
    EngineError, ValueError, Problem
        If it cannot be done; with the reason that the store would give.
    """
    store = desk.store
    scope = _scope(store, asked)
    now = store.baseline(scope)
    after, told, warnings = _after(store, asked, scope, now)
    changes = now.parameters.changes(after)
    if not changes:
        warnings.append("no value in force changes")
    resting = [name for name in changes if PARAMETERS[name].rests]
    if resting:
        warnings.append(f"{', '.join(resting)}: where an open position rests on it, it waits until that ends")
    if scope.kind == "global":
        warnings += _elsewhere(store, changes)
    for session in store.sessions.running(scope):
        warnings.append(
            f"session {session.id} of {session.scenario} trains {scope}; it was measured against what is in "
            "force now, and will not be applied to anything else"
        )
    before = {
        "scope": str(scope),
        "version": now.version,
        "hash": now.hash,
        "holds": [Held.of(hold).model_dump(mode="json") for hold in now.holds],
    }
    change = Change(ACTIONS[type(asked)], asked.model_dump(mode="json"), before)
    return Shown(change, told, value_changes(changes), warnings)


def made(
    desk: Desk, asked: HandChange, caller: Caller, confirmations: Confirmations, confirmation: str | None
) -> Changed:
    """Do what was shown and confirmed.

    Raises
    ------
    Problem
        428, 403 or 409, if it was not confirmed, or what it replaces has moved since.
    EngineError, ValueError
        As of `preview`.
    """
    store, shown = desk.store, preview(desk, asked)
    confirmations.consume(confirmation, shown.change, caller)
    scope = _scope(store, asked)
    before = store.baseline(scope)
    who: Any = {"actor": caller.name, "reason": asked.reason}
    # Between the look and the change somebody else may have come.
    expected = shown.change.before["version"]
    match asked:
        case UpdateParameter():
            store.override(scope, {asked.name: asked.value}, until=asked.until, **who)
        case Override():
            store.override(scope, asked.values, until=asked.until, **who)
        case Lift():
            store.lift(scope, asked.names, **who)
        case Rollback():
            store.rollback(scope, asked.version, expected=expected, **who)
        case Reset():
            store.reset(scope, expected=expected, **who)
        case ApplySession():
            apply_session(store, asked.session, **who)
    desk.answers.moved()
    after = store.baseline(scope)
    return Changed(
        action=ACTIONS[type(asked)],
        scope=str(scope),
        version=after.version,
        changes=value_changes(before.parameters.changes(after.parameters)),
        holds=[Held.of(hold) for hold in after.holds],
    )


def _scope(store: ParameterStore, asked: HandChange) -> Scope:
    if isinstance(asked, ApplySession):
        return store.sessions.get(asked.session).scope
    return Scope.parse(asked.scope)


def _after(
    store: ParameterStore, asked: HandChange, scope: Scope, now: InForce
) -> tuple[ParameterSet, dict[str, Any], list[str]]:
    """Return the values that would be in force, what is told of them, and warnings."""
    match asked:
        case UpdateParameter():
            return _overridden({asked.name: asked.value}, asked.until, scope, now)
        case Override():
            return _overridden(asked.values, asked.until, scope, now)
        case Lift():
            return _lifted(store, asked, scope, now)
        case Rollback():
            return _rolled_back(store, asked, scope, now)
        case Reset():
            return _reset(store, asked, scope, now)
        case ApplySession():
            return _applied(store, asked.session, now)


def _overridden(
    values: Mapping[str, float], until: Any, scope: Scope, now: InForce
) -> tuple[ParameterSet, dict[str, Any], list[str]]:
    numbers = {name: _inside(name, value) for name, value in values.items()}
    warnings = [
        f"{hold}; " + ("this takes its place" if hold.scope == scope else f"in {scope} this comes before it")
        for hold in now.holds
        if hold.name in numbers
    ]
    after = ParameterSet.from_mapping(numbers, now.parameters)
    return after, {"holds": numbers, "until": until}, warnings


def _inside(name: str, value: float) -> float:
    if name not in PARAMETERS:
        known = ", ".join(PARAMETERS)
        raise Problem(
            422, "unknown-parameter", f"{name!r} is not a parameter; known are {known}", parameter=name
        )
    of = PARAMETERS[name]
    try:
        return of.check(value)
    except (TypeError, ValueError) as error:
        raise Problem(
            422,
            "out-of-bounds",
            str(error),
            title="Out of bounds",
            parameter=name,
            low=of.low,
            high=of.high,
            unit=of.unit,
        ) from None


def _lifted(
    store: ParameterStore, asked: Lift, scope: Scope, now: InForce
) -> tuple[ParameterSet, dict[str, Any], list[str]]:
    held = {hold.name: hold for hold in store.holds(scope)}
    names = list(held) if asked.names is None else list(dict.fromkeys(asked.names))
    free = [name for name in names if name not in held]
    if free or not names:
        there = f"held are {', '.join(held)}" if held else "nothing is held"
        raise ValueError(f"{scope}: {', '.join(free) or 'nothing'} can be lifted: {there} there")
    wider = {hold.name: hold for where in scope.fallbacks[1:] for hold in store.holds(where)}
    underneath = _underneath(store, now).to_dict()
    values = {name: wider[name].value if name in wider else underneath[name] for name in names}
    warnings = [f"{wider[name]}, which then counts" for name in names if name in wider]
    warnings += [str(held[name]) for name in names]
    return ParameterSet.from_mapping(values, now.parameters), {"lifted": names}, warnings


def _rolled_back(
    store: ParameterStore, asked: Rollback, scope: Scope, now: InForce
) -> tuple[ParameterSet, dict[str, Any], list[str]]:
    _expect(store, asked.expected, scope, now)
    target, warnings = DEFAULTS, []
    if asked.version:
        version = store.version(asked.version)
        target = version.parameters
        if version.scope != scope:
            warnings.append(f"version {asked.version} was made for {version.scope}")
    if asked.version == now.version:
        warnings.append(f"version {asked.version} is in force already")
    return _with_holds(target, now, warnings), {"version": "new", "back_to": asked.version}, warnings


def _reset(
    store: ParameterStore, asked: Reset, scope: Scope, now: InForce
) -> tuple[ParameterSet, dict[str, Any], list[str]]:
    _expect(store, asked.expected, scope, now)
    target, warnings, comes_from = DEFAULTS, [], "defaults"
    for where in scope.fallbacks[1:]:
        wider = store.baseline(where)
        target = _underneath(store, wider)
        comes_from = f"version {wider.version} of {where}" if wider.version else comes_from
    if now.scope != scope:
        warnings.append(f"{scope} has no parameters of its own")
    return _with_holds(target, now, warnings), {"version": "new", "comes_from": comes_from}, warnings


def _applied(
    store: ParameterStore, session: str, now: InForce
) -> tuple[ParameterSet, dict[str, Any], list[str]]:
    record = store.sessions.get(session)
    if record.running:
        raise StoreError(
            f"session {session} still runs ({record.status}), held by {record.holder}; wait for it"
        )
    found, warnings = record.result or {}, []
    if not found.get("promoted"):
        raise StoreError(
            f"session {session} ended as {record.status} and promoted nothing; there is nothing to apply"
        )
    if found["expected"] != now.version:
        was = f"version {found['expected']}" if found["expected"] else "the defaults"
        warnings.append(
            f"the baseline moved since the session: it was measured against {was}, and version {now.version} "
            "is in force; it will be refused"
        )
    try:
        entry = store.journal.entry(session)
    except UnknownError:
        pass
    else:
        warnings.append(f"the session is {entry.state} already ({entry.reason})")
    wanted = ParameterSet.from_mapping(found["promoted"])
    base, held = _underneath(store, now), {hold.name: hold for hold in now.holds}
    against = [
        held[name] for name, (_, after) in base.changes(wanted).items()
        if name in held and held[name].value != after
    ]  # fmt: skip
    warnings += [f"{hold}; it will be refused until that is lifted" for hold in against]
    return _with_holds(wanted, now, []), {"version": "new", "session": session}, warnings


def _underneath(store: ParameterStore, now: InForce) -> ParameterSet:
    """Return the values of the version in force, whatever is held."""
    return store.version(now.version).parameters if now.version else DEFAULTS


def _with_holds(target: ParameterSet, now: InForce, warnings: list[str]) -> ParameterSet:
    values = target.to_dict()
    warnings += [f"{hold}, and stays so" for hold in now.holds if hold.value != values[hold.name]]
    return ParameterSet.from_mapping({hold.name: hold.value for hold in now.holds}, target)


def _expect(store: ParameterStore, expected: int | None, scope: Scope, now: InForce) -> None:
    if expected is not None and expected != now.version:
        raise StaleBaseline(str(scope), expected, store.version(now.version) if now.version else None)


def _elsewhere(store: ParameterStore, changes: Mapping[str, Any]) -> list[str]:
    """Say where a global change does not reach."""
    held = [hold for hold in store.holds() if hold.scope.kind != "global" and hold.name in changes]
    return [f"{hold}: there it stays so" for hold in held]
