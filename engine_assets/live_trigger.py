"""What makes applied parameters go back by themselves: the triggers registered with them, asked hourly."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine_assets.live_market import live_tape
from engine_assets.tuning_inputs import costs_of
from engine_assets.tuning_promotions import TRIGGER_RATIO
from resources.parameter_store import ParameterStore, StaleBaseline
from resources.parameter_store.triggers import ArmedTrigger
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.tuning.trigger import TriggerVerdict

__all__ = ["watch_changes"]

_ACTOR = "live_loop"
_DAY = timedelta(days=1)
_DECIDED_SQL = """
SELECT symbol, min(ts) FILTER (version = $version) AS first, max(ts) AS last FROM trading.live_decisions
GROUP BY symbol HAVING count(*) FILTER (version = $version) > 0
"""


def watch_changes(store: ParameterStore, warehouse: Warehouse, settings: Settings) -> list[str]:
    """Ask every trigger that is armed, and roll back where one fires; return what happened, in words."""
    told = []
    for armed in store.armed_triggers():
        name = f"version {armed.version} of {armed.scope}"
        if armed.trigger.metric != TRIGGER_RATIO:
            told.append(f"{name}: nobody measures {armed.trigger.metric!r}, which its trigger watches")
            continue
        verdict = _verdict(armed, store, warehouse, settings)
        if verdict is None:
            told.append(f"{name}: no whole day since the change")
        elif armed.trigger.fires(verdict.ratio):
            told.append(_rolled_back(armed, verdict, store))
        else:
            told.append(f"{name} stays: {'; '.join(verdict.reasons)}")
    return told


def _verdict(
    armed: ArmedTrigger, store: ParameterStore, warehouse: Warehouse, settings: Settings
) -> TriggerVerdict | None:
    """Judge the whole days since the change, on the symbols that it decided; None if there are none."""
    from engine.tuning.live_figures import daily_returns
    from engine.tuning.reference_walk import walk
    from engine.tuning.trigger import Trigger

    decided = warehouse.frame(_DECIDED_SQL, {"version": armed.version})
    if decided.is_empty():
        return None
    start = _midnight(min(decided["first"].to_list()) + _DAY - timedelta(microseconds=1))
    end = _midnight(min(decided["last"].to_list()) + settings.bar_duration)
    symbols = decided["symbol"].to_list()
    tape = live_tape(warehouse, settings, start, symbols) if start < end else None
    if tape is None:
        return None
    points = warehouse.frame(
        "SELECT symbol, ts, equity FROM trading.live_equity WHERE list_contains(?, symbol) AND ts < ?",
        [symbols, end],
    )
    before = store.version(armed.replaces).parameters if armed.replaces else DEFAULTS
    held = {hold.name: hold.value for hold in store.baseline(armed.scope).holds}
    shadow = walk(tape.between(start, end), ParameterSet.from_mapping(held, before), costs_of(settings))
    trigger = Trigger.from_dict(store.version(armed.version).evidence["trigger"])
    return trigger.verdict(daily_returns(points, start, end), shadow.returns)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _rolled_back(armed: ArmedTrigger, verdict: TriggerVerdict, store: ParameterStore) -> str:
    """Put the parameters before into force again, unless something else came into force meanwhile."""
    reason = f"{verdict.alarm} on day {verdict.day}: {'; '.join(verdict.reasons)}"
    evidence: dict[str, Any] = {
        "trigger": armed.trigger.to_dict(),
        "ratio": verdict.ratio,
        "alarm": verdict.alarm,
        "day": verdict.day,
        "fall": verdict.fall,
        "capital": verdict.capital,
    }
    try:
        made = store.rollback(
            armed.scope,
            armed.replaces,
            actor=_ACTOR,
            reason=reason[:2_000],
            expected=armed.version,
            evidence=evidence,
        )
    except StaleBaseline as stale:
        return str(stale)
    return (
        f"version {armed.version} of {armed.scope} was rolled back to {armed.replaces}, "
        f"as version {made.version}: {reason}"
    )
