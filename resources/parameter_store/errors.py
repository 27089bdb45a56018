"""What the parameter store refuses, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import EngineError
from resources.parameter_store.moments import readable

if TYPE_CHECKING:
    from resources.parameter_store.overrides import Hold
    from resources.parameter_store.sessions import SessionRecord
    from resources.parameter_store.versions import Version

__all__ = [
    "BusyError",
    "ChainBrokenError",
    "LeaseLostError",
    "OverriddenError",
    "RefusedError",
    "StaleBaseline",
    "StoreError",
    "UnknownError",
    "UnreachableError",
]


class StoreError(EngineError):
    """The parameter store cannot do what it was asked for; nothing was changed."""


class UnknownError(StoreError):
    """There is no version, session, experiment or application of that name."""


class UnreachableError(StoreError):
    """The database does not answer, is being written to for too long, or is of a newer version."""


class ChainBrokenError(StoreError):
    """A row of the history is not what it was when it was written."""


class RefusedError(StoreError):
    """A change that is well formed and was still refused; the attempt stands in the history."""


class StaleBaseline(RefusedError):  # noqa: N818  the name by which users know it
    """What is in force is no longer what the change was measured against.

    Parameters
    ----------
    scope : str
    expected : int
        Version that the change was measured against; 0 means the defaults.
    found : Version or None
        Version in force now; ``None`` means the defaults.
    """

    def __init__(self, scope: str, expected: int, found: Version | None) -> None:
        self.scope, self.expected, self.found = scope, expected, found
        now = "the defaults are in force"
        if found is not None:
            now = (
                f"version {found.version} is in force since {readable(found.at)}, "
                f"{found.kind} by {found.actor} ({found.reason})"
            )
        was = f"version {expected}" if expected else "the defaults"
        super().__init__(
            f"{scope}: measured against {was}, but {now}; nothing was changed. Measure against that"
            " and try again"
        )


class OverriddenError(RefusedError):
    """Automation would change a value that a person holds."""

    def __init__(self, scope: str, holds: tuple[Hold, ...], wanted: dict[str, float]) -> None:
        self.scope, self.holds = scope, holds
        each = "; ".join(f"{hold} and would become {wanted[hold.name]:g}" for hold in holds)
        super().__init__(f"{scope}: {each}. Lift the override, or leave these values out")


class BusyError(RefusedError):
    """Another tuning session runs in the scope."""

    def __init__(self, running: SessionRecord) -> None:
        self.running = running
        super().__init__(
            f"{running.scope}: {running.scenario} is already running as session {running.id}, started by "
            f"{running.actor} at {readable(running.started_at)} and held by {running.holder} until "
            f"{readable(running.lease_until)} unless renewed. Stop it, or wait"
        )


class LeaseLostError(StoreError):
    """A process writes for a session that it no longer holds."""
