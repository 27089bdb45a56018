"""Shadow runs and A/B tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from console.api.reads.changed import value_changes
from console.api.reads.pages import checked_cursor, page
from console.api.schemas.experiments import Experiment, ExperimentRow, Observation, Verdict
from console.api.schemas.wire import Page
from engine.tuning.parameters import DEFAULTS
from resources.parameter_store import ParameterStore
from resources.parameter_store.experiments import Experiment as Kept

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["experiment", "experiments", "stop"]


def experiments(store: ParameterStore, limit: int, before: str | None) -> Page[ExperimentRow]:
    """Read a page of experiments."""
    found = store.experiments.recent(limit + 1, before=checked_cursor(before))
    return page(found, limit, lambda one: _row(one, store))


def experiment(store: ParameterStore, which: str) -> Experiment:
    """Read one experiment."""
    found = store.experiments.get(which)
    seen = store.experiments.observed(which)
    return Experiment(
        **dict(_row(found, store)),
        candidate=found.candidate.to_dict(),
        observations=[
            Observation(number=one.number, key=one.key, at=one.at, content=dict(one.content)) for one in seen
        ],
    )


def stop(desk: Desk, which: str, *, actor: str, reason: str) -> ExperimentRow:
    """End one without a result."""
    stopped = desk.store.experiments.stop(which, actor=actor, reason=reason)
    desk.answers.moved()
    return _row(stopped, desk.store)


def _row(one: Kept, store: ParameterStore) -> ExperimentRow:
    baseline = store.version(one.baseline).parameters if one.baseline else DEFAULTS
    return ExperimentRow(
        id=one.id,
        kind=one.kind,
        scope=str(one.scope),
        state=one.state,
        session=one.session,
        baseline=one.baseline,
        metric=one.metric,
        started_at=one.start,
        ends_at=one.end,
        actor=one.actor,
        reason=one.reason,
        changes=value_changes(baseline.changes(one.candidate)),
        result=None if one.result is None else _verdict(dict(one.result)),
    )


def _verdict(result: dict[str, Any]) -> Verdict:
    figures = ("effect", "low", "high", "p_value", "sample_ratio_p")
    return Verdict(
        verdict=result["verdict"],
        reasons=list(result["reasons"]),
        **{name: result.get(name) for name in figures},
    )
