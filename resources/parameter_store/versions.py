"""Versions of the parameters: which one is in force, and how the next one is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import func, select

from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from resources.parameter_store.errors import OverriddenError, StaleBaseline, UnknownError
from resources.parameter_store.ledger import Transaction
from resources.parameter_store.models import events
from resources.parameter_store.moments import to_text
from resources.parameter_store.overrides import holds, record_expired
from resources.parameter_store.scopes import Scope
from resources.parameter_store.triggers import RollbackTrigger
from resources.parameter_store.version_records import InForce, Version, VersionKind, version_of

__all__ = [
    "InForce",
    "Version",
    "VersionKind",
    "commit",
    "in_force",
    "reset",
    "rollback",
    "standing",
    "version_of",
]


def standing(transaction: Transaction, scopes: Sequence[Scope], at: datetime | None = None) -> Version | None:
    """Return the newest version of the first scope that has parameters of its own; ``None``: the defaults."""
    for scope in scopes:
        query = select(events).where(events.c.version.is_not(None), events.c.scope == str(scope))
        if at is not None:
            query = query.where(events.c.at <= to_text(at))
        event = transaction.event(query.order_by(events.c.seq.desc()))
        if event is not None and not event.content["inherits"]:
            return version_of(event)
    return None


def in_force(transaction: Transaction, scopes: Sequence[Scope], at: datetime | None = None) -> InForce:
    """Resolve what is in force: overrides, then the first scope that has a version, then the defaults.

    Without ``at`` that is the newest state, and the clock decides only which overrides have expired.
    """
    version = standing(transaction, scopes, at)
    base = DEFAULTS if version is None else version.parameters
    found = holds(transaction, scopes, transaction.now if at is None else at, at=at)
    parameters = ParameterSet.from_mapping({name: hold.value for name, hold in found.held.items()}, base)
    names = tuple(name for name in PARAMETERS if name in found.held)
    return InForce(
        parameters=parameters,
        version=0 if version is None else version.version,
        scope=None if version is None else version.scope,
        overridden=names,
        hash=parameters.content_hash,
        holds=tuple(found.held[name] for name in names),
        expired=found.expired,
    )


def commit(
    transaction: Transaction,
    scope: Scope,
    parameters: ParameterSet,
    *,
    expected: int | None,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    session: str | None = None,
    kind: VersionKind = "apply",
    triggers: Sequence[RollbackTrigger] = (),
    leave_out: bool = False,
) -> Version:
    """Put parameters into force in a scope; see `ParameterStore.commit`."""
    if not isinstance(parameters, ParameterSet):
        raise TypeError(f"parameters must be a ParameterSet, not a {type(parameters).__name__}")
    if kind not in get_args(VersionKind):
        raise ValueError(f"kind = {kind!r} must be one of {', '.join(get_args(VersionKind))}")
    before = _expected(transaction, scope, expected)
    left_out: dict[str, str] = {}
    if kind == "apply":
        parameters, left_out = _without_overridden(transaction, scope, before, parameters, leave_out)
    return _write(
        transaction,
        scope,
        parameters,
        before,
        kind=kind,
        actor=actor,
        reason=reason,
        session=session,
        rest={
            "evidence": evidence,
            "triggers": [trigger.to_dict() for trigger in triggers],
            "left_out": left_out,
        },
    )


def rollback(
    transaction: Transaction,
    scope: Scope,
    version: int,
    *,
    expected: int | None,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    session: str | None = None,
) -> Version:
    """Put the parameters of an earlier version, of whichever scope, into force; 0 means the defaults."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise TypeError(f"version = {version!r} must be a whole number")
    before = _any_or_expected(transaction, scope, expected)
    parameters = DEFAULTS
    if version != 0:
        event = transaction.event(select(events).where(events.c.version == version))
        if event is None:
            newest = transaction.connection.execute(select(func.max(events.c.version))).scalar() or 0
            raise UnknownError(f"there is no version {version} to go back to; the newest is {newest}")
        parameters = version_of(event).parameters
    rest = {"evidence": {**evidence, "back_to": version}, "triggers": [], "left_out": {}}
    return _write(
        transaction,
        scope,
        parameters,
        before,
        kind="rollback",
        actor=actor,
        reason=reason,
        session=session,
        rest=rest,
    )


def reset(
    transaction: Transaction, scope: Scope, *, expected: int | None, actor: str, reason: str
) -> Version:
    """Take a scope's own parameters out of force, so that what holds more widely holds there too."""
    before = _any_or_expected(transaction, scope, expected)
    wider = standing(transaction, scope.fallbacks[1:])
    return _write(
        transaction,
        scope,
        DEFAULTS if wider is None else wider.parameters,
        before,
        kind="reset",
        actor=actor,
        reason=reason,
        session=None,
        rest={"evidence": {}, "triggers": [], "left_out": {}, "inherits": True},
    )


def _expected(transaction: Transaction, scope: Scope, expected: int | None) -> Version | None:
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int)):
        raise TypeError(f"expected = {expected!r} must be the number of a version, or None for the defaults")
    found = standing(transaction, scope.fallbacks)
    if (expected or 0) != (0 if found is None else found.version):
        raise StaleBaseline(str(scope), expected or 0, found)
    return found


def _any_or_expected(transaction: Transaction, scope: Scope, expected: int | None) -> Version | None:
    if expected is None:
        return standing(transaction, scope.fallbacks)
    return _expected(transaction, scope, expected)


def _without_overridden(
    transaction: Transaction, scope: Scope, before: Version | None, wanted: ParameterSet, leave_out: bool
) -> tuple[ParameterSet, dict[str, str]]:
    """Keep what is overridden as it was underneath the override."""
    base = DEFAULTS if before is None else before.parameters
    held = holds(transaction, scope.fallbacks, transaction.now).held
    touched = {name: after for name, (_, after) in base.changes(wanted).items() if name in held}
    # A search that started from the values in force brings along what is held; that is no wish to change it.
    against = {name: value for name, value in touched.items() if value != held[name].value}
    if against and not leave_out:
        raise OverriddenError(str(scope), tuple(held[name] for name in against), against)
    values = base.to_dict()
    kept = ParameterSet.from_mapping({name: values[name] for name in touched}, wanted)
    return kept, {name: str(held[name]) for name in touched}


def _write(
    transaction: Transaction,
    scope: Scope,
    parameters: ParameterSet,
    before: Version | None,
    *,
    kind: VersionKind,
    actor: str,
    reason: str,
    session: str | None,
    rest: Mapping[str, Any],
) -> Version:
    record_expired(transaction, scope.fallbacks)
    base = DEFAULTS if before is None else before.parameters
    content = {
        "parameters": parameters.to_dict(),
        "changes": base.changes(parameters),
        "replaces": 0 if before is None else before.version,
        "inherits": False,
        "session": session,
        **rest,
    }
    newest = transaction.connection.execute(select(func.max(events.c.version))).scalar() or 0
    event = transaction.append(
        f"version.{kind}",
        actor=actor,
        reason=reason,
        scope=scope,
        version=newest + 1,
        subject=session,
        content=content,
    )
    return version_of(event)
