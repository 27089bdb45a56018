"""Values before and after, as the views show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from console.api.schemas.changes import ValueChange
from engine.tuning.parameters import PARAMETERS

__all__ = ["value_changes"]


def value_changes(changes: Mapping[str, Sequence[float]]) -> list[ValueChange]:
    """Read changes by name, each the value before and after."""
    return [
        ValueChange(parameter=name, before=before, after=after, unit=PARAMETERS[name].unit)
        for name, (before, after) in changes.items()
    ]
