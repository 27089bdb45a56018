"""Parameters: the table of them, what is in force, who holds what, and versions."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from console.api.schemas.wire import Moment, Wire, example
from engine.tuning.parameters import PARAMETERS, Parameter

__all__ = [
    "Held",
    "Holds",
    "InForceValue",
    "Parameters",
    "ScenarioTargets",
    "Target",
    "Targets",
    "VersionRow",
]

_FIRST = next(iter(PARAMETERS.values()))


class Target(Wire):
    """One row of the table of parameters."""

    model_config = example(**{name: value for name, value in vars(_FIRST).items() if name != "attribute"})

    name: str
    default: float
    low: float = Field(description="Included.")
    high: float = Field(description="Included.")
    step: float = Field(description="Of the grid that is searched.")
    unit: str
    meaning: str
    rests: bool = Field(description="A change waits until an open position that rests on it is closed.")

    @classmethod
    def of(cls, parameter: Parameter) -> Target:
        """Read it."""
        return cls(**{name: getattr(parameter, name) for name in cls.model_fields})


class ScenarioTargets(Wire):
    """The parameters that a scenario may move."""

    scenario: str
    title: str
    targets: list[str]


class Targets(Wire):
    """All that can be trained, and by what."""

    parameters: list[Target]
    scenarios: list[ScenarioTargets]


class Held(Wire):
    """A value that a person holds."""

    model_config = example(
        parameter="costCapBps", value=6.0, scope="global", actor="ann", reason="fees went up",
        since="2026-11-22T02:44:27Z", until=None,
    )  # fmt: skip

    parameter: str
    value: float
    scope: str
    actor: str
    reason: str
    since: Moment
    until: Moment | None = Field(description="Null: until it is lifted.")

    @classmethod
    def of(cls, hold: Any) -> Held:
        """Read a `Hold`."""
        rest = {name: getattr(hold, name) for name in cls.model_fields if name not in ("parameter", "scope")}
        return cls(parameter=hold.name, scope=str(hold.scope), **rest)


class Holds(Wire):
    """All that persons hold."""

    items: list[Held]


class InForceValue(Target):
    """A parameter, and the value that the live algorithm decides with."""

    model_config = example(
        **{name: value for name, value in vars(_FIRST).items() if name != "attribute"},
        value=82.0, difference=12.0, source="version", version=3, comes_from="global", held=None,
    )  # fmt: skip

    value: float
    difference: float = Field(description="Value less default.")
    source: str = Field(description="override, version or default.")
    version: int = Field(description="Version underneath; 0: the defaults.")
    comes_from: str = Field(description="Scope of the hold or of the version; defaults.")
    held: Held | None


class Parameters(Wire):
    """What is in force in a scope."""

    scope: str
    version: int = Field(description="0: the defaults. A change expects this version.")
    comes_from: str = Field(description="Scope of that version, or defaults.")
    own: bool = Field(description="Whether the scope has parameters of its own; else wider ones hold.")
    since: Moment | None = Field(description="When that version came into force.")
    actor: str | None = Field(description="Who put it into force.")
    reason: str | None
    kind: str | None = Field(description="apply, rollback, override or reset.")
    hash: str = Field(description="SHA-256 of the values.")
    items: list[InForceValue]


class VersionRow(Wire):
    """Parameters that were put into force."""

    version: int
    scope: str
    kind: str = Field(description="apply, rollback, override or reset.")
    at: Moment
    actor: str
    reason: str
    session: str | None
    replaces: int = Field(description="Version in force before; 0: the defaults.")
    inherits: bool = Field(description="From then on the scope has no parameters of its own.")
    in_force: bool = Field(description="Whether it is the one that stands for its scope now.")
    parameters: dict[str, float]
    changes: dict[str, tuple[float, float]] = Field(description="By name: the value before and after.")
    left_out: dict[str, str] = Field(description="By name: why a change was not made.")
    triggers: list[dict[str, Any]] = Field(description="What makes it go back by itself.")
    hash: str

    @classmethod
    def of(cls, version: Any, *, in_force: bool) -> VersionRow:
        """Read a `Version`."""
        same = set(cls.model_fields) - {"scope", "in_force", "parameters", "triggers"}
        return cls(
            **{name: getattr(version, name) for name in same},
            scope=str(version.scope),
            in_force=in_force,
            parameters=version.parameters.to_dict(),
            triggers=[trigger.to_dict() for trigger in version.triggers],
        )
