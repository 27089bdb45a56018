"""Shadow runs and A/B tests on live bars: brought up to date, and judged once their horizon is over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from engine.errors import NotEnoughDataError
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine_assets.live_ab import CANDIDATE_FALL, ab_result, candidate_fall
from engine_assets.tuning_inputs import costs_of, tape_of
from resources.parameter_store import ParameterStore
from resources.parameter_store.experiments import Experiment
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import numpy as np

    from engine.tuning.shadow import ShadowRun

__all__ = ["follow_experiments"]

_ACTOR, _DESIGN = "parameter_tables", "design"
_LEAST_DAYS = 20


def follow_experiments(
    store: ParameterStore, warehouse: Warehouse, settings: Settings
) -> tuple[list[str], dict[str, bytes]]:
    """Bring every experiment that runs up to date.

    A shadow is run over the bars since it began and each whole day of it is written down once, when no
    funding of it is outstanding. An A/B test is decided by the live loop, bar by bar. Here it is only judged,
    or stopped without a result where the trades of its candidate lost more than was registered. Neither
    touches what is in force: what a person makes of the verdict is `apply_session`.

    Returns
    -------
    list of str
        What happened, in words.
    dict of str to bytes
        A picture of each shadow.
    """
    told, drawn = [], {}
    for experiment in store.experiments.running():
        name, waiting = f"{experiment.kind} {experiment.id[:8]} for {experiment.scope}", 0
        try:
            if experiment.kind == "shadow":
                run = _shadowed(experiment, store, warehouse, settings)
                seen, waiting = _observed(experiment, run, store)
                told.append(f"{name}: {_told(run, seen, waiting)}")
                if run.days.size > 1:
                    drawn[name] = _drawn(name, run)
        except NotEnoughDataError as reason:
            told.append(f"{name}: {reason}")
        result = None if waiting else _verdict(experiment, store, warehouse)
        lost = _lost_too_much(experiment, store, warehouse)
        if result is not None:
            store.experiments.conclude(experiment.id, result, actor=_ACTOR, reason=result["reasons"][0])
            told.append(f"{name}: {result['verdict']}, {'; '.join(result['reasons'])}")
        elif lost is not None:
            store.experiments.stop(experiment.id, actor=_ACTOR, reason=lost)
            told.append(f"{name} was stopped: {lost}")
    return told, drawn


def _lost_too_much(experiment: Experiment, store: ParameterStore, warehouse: Warehouse) -> str | None:
    """Ask the limit that was registered with an A/B test; say how far it was crossed."""
    limit = experiment.trigger
    if limit is None or limit.metric != CANDIDATE_FALL:
        return None
    fall = candidate_fall(store, experiment, warehouse)
    if not limit.fires(fall):
        return None
    most = f"{limit.threshold:.2%} is what was registered at most"
    return f"the account fell {fall:.2%} by the candidate's trades; {most}"


def _baseline(experiment: Experiment, store: ParameterStore) -> ParameterSet:
    return store.version(experiment.baseline).parameters if experiment.baseline else DEFAULTS


def _shadowed(
    experiment: Experiment, store: ParameterStore, warehouse: Warehouse, settings: Settings
) -> ShadowRun:
    """Run the shadow from the midnight that was written down when it was first met."""
    from engine.tuning.shadow import shadow

    scope = experiment.scope
    symbols = (scope.name,) if scope.kind == "symbol" else ()
    tape = tape_of(warehouse, settings, symbols, scope.name if scope.kind == "regime" else None)
    live = _baseline(experiment, store)
    newest = tape.ts.max().item() + tape.bar
    start = _start(experiment, store, None if settings.source == "exchange" else newest)
    return shadow(tape, live, experiment.candidate, start, costs_of(settings))


def _start(experiment: Experiment, store: ParameterStore, newest: datetime | None) -> datetime:
    """Return the first midnight after the registration.

    The time of recorded and simulated markets is not the store's: there it is the first midnight after the
    newest bar that was known when the shadow was first met.
    """
    for one in store.experiments.observed(experiment.id):
        if one.key == _DESIGN:
            return datetime.fromisoformat(one.content["start"])
    since = experiment.start.astimezone(UTC).replace(tzinfo=None) if newest is None else newest
    midnight = datetime.combine(since.date(), time())
    start = midnight if midnight == since else midnight + timedelta(days=1)
    store.experiments.observe(experiment.id, _DESIGN, {"start": start.isoformat()})
    return start


def _days(experiment: Experiment, store: ParameterStore) -> dict[str, Mapping[str, float]]:
    """Days of a shadow that were written down."""
    seen = store.experiments.observed(experiment.id)
    return {one.key: one.content for one in seen if one.key != _DESIGN}


def _observed(experiment: Experiment, run: ShadowRun, store: ParameterStore) -> tuple[int, int]:
    """Write down the days that are settled and were not seen before; return how many there are, and wait."""
    seen, most = set(_days(experiment, store)), (experiment.end - experiment.start).days
    each = zip(run.days.tolist(), run.live.tolist(), run.shadow.tolist(), strict=True)
    for day, live, ours in list(each)[: min(most, run.settled)]:
        if f"{day:%Y-%m-%d}" not in seen:
            store.experiments.observe(experiment.id, f"{day:%Y-%m-%d}", {"live": live, "shadow": ours})
            seen.add(f"{day:%Y-%m-%d}")
    return len(seen), max(min(most, run.days.size) - len(seen), 0)


def _told(run: ShadowRun, seen: int, waiting: int) -> str:
    waits = f", {waiting} wait for their funding" if waiting else ""
    return f"{seen} days{waits}; bars that were decided differently: {run.parted.height}"


def _verdict(experiment: Experiment, store: ParameterStore, warehouse: Warehouse) -> dict[str, Any] | None:
    """Judge an experiment whose horizon is over; None before, or while bars of it are to be decided."""
    if experiment.end > store.experiments.ledger.now():
        return None
    if experiment.kind == "shadow":
        return _compared(experiment, store)
    result = ab_result(store, experiment, warehouse)
    return None if result is None else result.to_dict()


def _compared(experiment: Experiment, store: ParameterStore) -> dict[str, Any]:
    """Ask the gate about the days of a shadow."""
    import numpy as np

    from engine.evaluation.promotion_gate import PromotionGate

    seen = list(_days(experiment, store).values())
    live, ours = (np.array([day[name] for day in seen], dtype=np.float64) for name in ("live", "shadow"))
    if live.size < _LEAST_DAYS or not np.any(live != ours):
        why = (
            f"{live.size} days of {_LEAST_DAYS}" if live.size < _LEAST_DAYS else "both accounts were the same"
        )
        return {"verdict": "void", "reasons": [f"{why}: nothing can be said"]}
    gate = PromotionGate(min_periods=_LEAST_DAYS, min_trades=1)
    decision = gate.decide(live, {"shadow": ours})
    verdict = decision.verdict
    return {
        "verdict": "promote" if decision.promote else "keep",
        "reasons": list(decision.reasons),
        **_known(effect=verdict.improvement, low=verdict.low, high=verdict.high, p_value=verdict.p_value),
    }


def _known(**figures: float) -> dict[str, float | None]:
    import math

    return {name: float(value) if math.isfinite(value) else None for name, value in figures.items()}


def _drawn(name: str, run: ShadowRun) -> bytes:
    from engine.plots import equity_and_drawdown

    def curve(returns: np.ndarray) -> np.ndarray:
        return (1.0 + returns).cumprod()

    return equity_and_drawdown(
        run.days.tolist(), {"live": curve(run.live), "shadow": curve(run.shadow)}, name
    )
