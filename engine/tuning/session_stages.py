"""Where a session of parameter training may stand, where it may go from there, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from engine.tuning.evidence import Evidence
from engine.tuning.parameters import ParameterSet
from engine.tuning.session_config import THEN

__all__ = ["NEXT", "OVER", "SessionResult", "Stage"]

Stage = Literal[
    "snapshot", "searching", "judging", "refused", "promoted", "apply", "shadow", "ab", "stopped", "failed"
]

NEXT: Mapping[Stage, tuple[Stage, ...]] = {
    "snapshot": ("searching", "stopped", "failed"),
    "searching": ("judging", "stopped", "failed"),
    "judging": ("promoted", "refused", "stopped", "failed"),
    "promoted": THEN,
    "refused": (),
    "apply": (),
    "shadow": (),
    "ab": (),
    "stopped": (),
    "failed": (),
}
"""Where a session may go from each stage."""
OVER: frozenset[Stage] = frozenset(stage for stage, following in NEXT.items() if not following)
"""Stages that end a session."""


@dataclass(frozen=True, eq=False)
class SessionResult:
    """How a session ended.

    Parameters
    ----------
    stage : str
        ``refused``, ``stopped``, or what is to be done with what was promoted: ``apply``, ``shadow``, ``ab``.
    reason : str
    incumbent : ParameterSet
        In force when it began. An apply must refuse if something else is in force by then.
    promoted : ParameterSet or None
    evidence : mapping or None
        As `Evidence.to_dict`; None if it was not judged.
    episodes : DataFrame
        Columns `engine.tuning.search.EPISODES`.
    elapsed : float
        Seconds, interruptions left out.
    judged : Evidence or None
        With the accounts, for a picture; None if it was judged before an interruption.
    """

    stage: Stage
    reason: str
    incumbent: ParameterSet
    promoted: ParameterSet | None
    evidence: Mapping[str, Any] | None
    episodes: pl.DataFrame
    elapsed: float
    judged: Evidence | None

    @property
    def to_apply(self) -> ParameterSet | None:
        """What is to come into force now; None for everything else."""
        return self.promoted if self.stage == "apply" else None
