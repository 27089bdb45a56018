"""Parameters: what is in force, who holds what, and how it came to be."""

from __future__ import annotations

from console.api.reads.history import number_before
from console.api.schemas.parameters import (
    Held,
    Holds,
    InForceValue,
    Parameters,
    ScenarioTargets,
    Target,
    Targets,
    VersionRow,
)
from console.api.schemas.wire import Page
from engine.tuning.parameters import PARAMETERS
from engine.tuning.scenarios import SCENARIOS
from resources.parameter_store import ParameterStore, Scope
from resources.parameter_store.versions import InForce

__all__ = ["TARGETS", "holds", "parameters", "versions"]

TARGETS = Targets(
    parameters=[Target.of(one) for one in PARAMETERS.values()],
    scenarios=[
        ScenarioTargets(scenario=one.name, title=one.title, targets=list(one.targets))
        for one in SCENARIOS.values()
    ],
)


def parameters(store: ParameterStore, scope: str) -> Parameters:
    """Read what is in force in a scope."""
    found = store.baseline(scope)
    version = store.version(found.version) if found.version else None
    return Parameters(
        scope=scope,
        version=found.version,
        comes_from=_source(found),
        own=found.scope == Scope.parse(scope),
        since=None if version is None else version.at,
        actor=None if version is None else version.actor,
        reason=None if version is None else version.reason,
        kind=None if version is None else version.kind,
        hash=found.hash,
        items=_values(found),
    )


def _values(found: InForce) -> list[InForceValue]:
    held = {hold.name: hold for hold in found.holds}
    rows = []
    for name, value in found.parameters.to_dict().items():
        hold, row = held.get(name), Target.of(PARAMETERS[name])
        rows.append(
            InForceValue(
                **row.model_dump(),
                value=value,
                difference=round(value - row.default, 10),
                source="override" if hold else "version" if found.version else "default",
                version=found.version,
                comes_from=str(hold.scope) if hold else _source(found),
                held=Held.of(hold) if hold else None,
            )
        )
    return rows


def _source(found: InForce) -> str:
    return "defaults" if found.scope is None else str(found.scope)


def versions(store: ParameterStore, scope: str | None, limit: int, before: str | None) -> Page[VersionRow]:
    """Read a page of versions."""
    found = store.versions(scope, limit=limit + 1, before=number_before(before))
    standing = {where: store.baseline(where).version for where in {one.scope for one in found}}
    return Page(
        items=[VersionRow.of(one, in_force=standing[one.scope] == one.version) for one in found[:limit]],
        next=str(found[limit - 1].version) if len(found) > limit else None,
    )


def holds(store: ParameterStore, scope: str | None) -> Holds:
    """Read what persons hold."""
    return Holds(items=[Held.of(one) for one in store.holds(scope)])
