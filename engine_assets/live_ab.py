"""A/B tests on the live account: their design, written down before the first bar, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from engine.tuning.parameters import DEFAULTS
from engine_assets.ledger_trades import ledger_trades
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_LEDGER, stored_accounts
from resources.parameter_store import ParameterStore, Scope
from resources.parameter_store.experiments import Experiment
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.tuning.ab_result import ABResult
    from engine.tuning.ab_test import ABTest

__all__ = ["CANDIDATE_FALL", "DESIGN", "ab_result", "ab_tests", "candidate_fall", "covers", "design_of"]

CANDIDATE_FALL = "fall by the candidate's trades"
"""What may stop a test before its horizon is over: `candidate_fall`. It can end no test with a promotion."""

DESIGN = "design"
"""Key of the observation that holds `ABTest.to_dict`, fixed when the live loop first meets the test."""
_ACTOR = "live_loop"


def covers(scope: Scope, symbol: str, regime: str | None) -> bool:
    """Tell whether a scope holds for a symbol in a regime."""
    return scope.name in {"global": ("",), "symbol": (symbol,), "regime": (regime,)}[scope.kind]


def design_of(store: ParameterStore, experiment: Experiment) -> ABTest | None:
    """Read the design of a test; None where the live loop has not met it yet."""
    from engine.tuning.ab_test import ABTest

    seen = {one.key: one.content for one in store.experiments.observed(experiment.id)}
    return ABTest.from_dict(seen[DESIGN]) if DESIGN in seen else None


def ab_tests(
    store: ParameterStore, symbols: Sequence[str], bar: timedelta, after: datetime | None
) -> list[tuple[Experiment, ABTest]]:
    """Return the tests that run, each with its design; one that cannot be held is stopped, with the reason.

    Parameters
    ----------
    store : ParameterStore
    symbols : sequence of str
        That the live algorithm trades.
    bar : timedelta
    after : datetime or None
        Close of the newest bar decided, where the market's time is not the store's: a test that is new then
        starts there. On a live market it starts with the first bar after it was registered.
    """
    found = []
    for experiment in store.experiments.running():
        if experiment.kind != "ab":
            continue
        try:
            test = design_of(store, experiment) or _designed(store, experiment, symbols, bar, after)
        except ValueError as error:
            store.experiments.stop(experiment.id, actor=_ACTOR, reason=str(error)[:2_000])
            continue
        found.append((experiment, test))
    return found


def _designed(
    store: ParameterStore,
    experiment: Experiment,
    symbols: Sequence[str],
    bar: timedelta,
    after: datetime | None,
) -> ABTest:
    from engine.tuning.ab_test import ABTest

    live = store.version(experiment.baseline).parameters if experiment.baseline else DEFAULTS
    started = experiment.start.astimezone(UTC).replace(tzinfo=None) if after is None else after
    midnight = datetime(started.year, started.month, started.day)  # noqa: DTZ001  UTC without zone
    test = ABTest(
        live=live,
        candidate=experiment.candidate,
        symbols=(experiment.scope.name,) if experiment.scope.kind == "symbol" else tuple(sorted(symbols)),
        start=midnight - ((midnight - started) // bar) * bar,
        horizon=(experiment.end - experiment.start) // experiment.block * experiment.block,
        seed=experiment.seed,
        block=experiment.block,
    )
    store.experiments.observe(experiment.id, DESIGN, test.to_dict())
    return test


def ab_result(store: ParameterStore, experiment: Experiment, warehouse: Warehouse) -> ABResult | None:
    """Judge a test by the decisions and trades of its horizon; None while the live loop is not through it.

    It is through once it has decided the bar after the horizon, at whose open the last orders were filled,
    and has heard of all funding until then. Trades still open are marked to the close of that bar, so that
    it does not matter how much later the test is judged.
    """
    from engine.tuning.late_funding import outstanding

    test = design_of(store, experiment)
    if test is None or not warehouse.exists(LIVE_DECISIONS.full_name):
        return None
    newest = warehouse.frame("SELECT max(ts) AS ts FROM trading.live_decisions")["ts"][0]
    if newest is None or newest < test.end:
        return None
    accounts = stored_accounts(warehouse).values()
    if any(outstanding(account, experiment.id, test.end, newest) for account in accounts):
        return None
    arms = warehouse.frame(
        "SELECT symbol, ts, arm FROM trading.live_decisions WHERE experiment = ?", [experiment.id]
    )
    trades = ledger_trades(warehouse, experiment.id, test.end)
    return test.result(test.units_of(trades, arms), newest)


def candidate_fall(store: ParameterStore, experiment: Experiment, warehouse: Warehouse) -> float:
    """Deepest fall that the trades of a test's candidate alone have brought to the account, a fraction of it.

    The account gives every symbol of the test the same share; trades still open are marked to the last close.
    """
    import polars as pl

    from engine.evaluation.metrics import max_drawdown

    test = design_of(store, experiment)
    if test is None or not warehouse.exists(LIVE_LEDGER.full_name):
        return 0.0
    trades = ledger_trades(warehouse, experiment.id).filter(arm="candidate")
    by_day = trades.group_by(pl.col("ts").dt.date()).agg(pl.col("net_return").sum()).sort("ts")
    returns = by_day["net_return"].to_numpy() / len(test.symbols)
    return float(max_drawdown(returns, 1.0)) if returns.size else 0.0
