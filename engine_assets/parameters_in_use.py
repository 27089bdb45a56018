"""Which parameters decide on a bar: those in force at its time, or the set that an A/B test drew for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from engine_assets.live import LIVE
from engine_assets.live_ab import covers
from engine_assets.regimes import MARKET_REGIMES
from resources.parameter_store import ParameterStore
from resources.parameter_store.experiments import Experiment
from resources.parameter_store.versions import InForce
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.tuning.ab_test import ABTest
    from engine.tuning.live_account import InUse
    from engine.tuning.market_state import MarketState

__all__ = ["REGIME_AGE", "KnownRegimes", "ParametersInUse"]

REGIME_AGE = timedelta(days=2)
"""A regime that was last seen longer ago is not known."""


class KnownRegimes:
    """The newest filtered regime of a symbol as of a bar, by the tables of the warehouse.

    Parameters
    ----------
    warehouse : Warehouse
    since : datetime
        First bar that is asked about.
    """

    def __init__(self, warehouse: Warehouse, since: datetime) -> None:
        self._known: dict[str, tuple[list[datetime], list[str]]] = {}
        stored = set(warehouse.tables())
        # The newer table wins where both speak of a bar: it comes last, and the sort is stable.
        for table in (MARKET_REGIMES.full_name, LIVE.full_name):
            if table in stored:
                rows = warehouse.frame(
                    f"SELECT symbol, ts, regime FROM {table} WHERE regime IS NOT NULL AND ts >= ?",  # noqa: S608
                    [since - REGIME_AGE],
                )
                for symbol, ts, regime in rows.sort("ts").rows():
                    moments, regimes = self._known.setdefault(symbol, ([], []))
                    place = bisect_right(moments, ts)
                    moments.insert(place, ts)
                    regimes.insert(place, regime)

    def __call__(self, symbol: str, ts: datetime) -> str | None:
        """Return the regime at the close of the bar that opened at `ts`; None where it is not known."""
        moments, regimes = self._known.get(symbol, ([], []))
        place = bisect_right(moments, ts) - 1
        known = place >= 0 and ts - moments[place] <= REGIME_AGE
        return regimes[place] if known else None


class ParametersInUse:
    """Asked once at each decision.

    On a live market a bar that was missed is decided with what was in force at its close by the history of
    the store, and the newest bar with what is in force now. The time of recorded and simulated markets is not
    the store's: their bars are decided with what is in force when they are first seen.

    Parameters
    ----------
    store : ParameterStore
    regimes : KnownRegimes
    tests : sequence of (Experiment, ABTest)
    bar : timedelta
    now : datetime or None
        Present moment, UTC without a zone, of a live market; None on others.
    """

    def __init__(
        self,
        store: ParameterStore,
        regimes: KnownRegimes,
        tests: Sequence[tuple[Experiment, ABTest]],
        bar: timedelta,
        now: datetime | None,
    ) -> None:
        self._store, self._regimes, self._tests, self._bar, self._now = store, regimes, tests, bar, now
        self._read: dict[tuple[str, str | None, datetime | None], InForce] = {}

    def __call__(self, state: MarketState) -> InUse:
        """Return what decides at the close of a bar."""
        from engine.tuning.live_account import InUse
        from engine.tuning.parameters import ParameterSet

        regime = self._regimes(state.symbol, state.ts)
        found = self._in_force(state.symbol, regime, state.ts + self._bar)
        held = {hold.name: hold.value for hold in found.holds}
        parameters, experiment, arm = found.parameters, None, None
        for tested, test in self._tests:
            inside = state.symbol in test.symbols and test.start <= state.ts < test.end
            stands = found.version == tested.baseline and covers(tested.scope, state.symbol, regime)
            if inside and stands:
                experiment, arm = tested.id, test.arm(state.symbol, state.ts)
                if arm == "candidate":
                    # What a person holds stays held, whoever decides.
                    parameters = ParameterSet.from_mapping(held, test.candidate)
                break
        scope = None if found.scope is None else str(found.scope)
        return InUse(parameters, found.version, scope, held, experiment, arm)

    def _in_force(self, symbol: str, regime: str | None, close: datetime) -> InForce:
        missed = self._now is not None and self._now - close >= self._bar
        at = close.replace(tzinfo=UTC) if missed else None
        key = symbol, regime, at
        if key not in self._read:
            self._read[key] = self._store.in_force(symbol, regime, at)
        return self._read[key]
