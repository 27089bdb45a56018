"""An A/B test whose candidate loses too much is stopped by the limit that was registered with it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from engine.tuning.live_account import InUse
from engine.tuning.market_state import MarketState
from engine.tuning.parameters import ParameterSet
from engine_assets.live_ab import CANDIDATE_FALL, ab_tests, candidate_fall
from engine_assets.live_tables import LIVE_ACCOUNTS, LIVE_LEDGER
from engine_assets.parameters_in_use import KnownRegimes, ParametersInUse
from engine_assets.tuning_experiments import follow_experiments
from engine_assets.tuning_inputs import open_store
from engine_assets.tuning_order import TuneOrder
from engine_assets.tuning_promotions import follow
from resources.parameter_store import ParameterStore
from resources.parameter_store.experiments import Experiment
from resources.parameter_store.triggers import RollbackTrigger
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SYMBOLS = ("BTC/USDT", "ETH/USDT")
START = datetime(2024, 1, 1)
CANDLES = Table(
    "staging",
    "candles",
    "What open trades are marked to; there are none.",
    (Column("symbol", "VARCHAR", "-"), Column("ts", "TIMESTAMP", "-"), Column("close", "DOUBLE", "-")),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(warehouse=str(tmp_path / "t.duckdb"), reports=tmp_path)


@pytest.fixture
def store(settings: Settings) -> ParameterStore:
    return open_store(settings)


@pytest.fixture
def warehouse(settings: Settings) -> Warehouse:
    return Warehouse(address=settings.warehouse)


def registered(store: ParameterStore, limit: RollbackTrigger | None) -> Experiment:
    made = store.experiments.register(
        "ab", "global", ParameterSet(social_go=0.9), baseline=0, metric="net return", horizon=30 * DAY,
        seed=1, actor="test", reason="to see", trigger=limit,
    )  # fmt: skip
    # The live loop writes the design down when it first meets the test.
    ((found, _),) = ab_tests(store, SYMBOLS, HOUR, START)
    assert found.id == made.id
    return made


def fill(warehouse: Warehouse, experiment: str, trades: list[tuple[int, str, str, float]]) -> None:
    """Write trades that ended an hour after their entry: day, symbol, arm and net return."""
    rows = [
        {
            "symbol": symbol, "ts": START + day * DAY + after, "event": event, "kind": "BREAKOUT", "side": 1,
            "size": 0.5, "price": price, "fee": 0.0, "slippage": 0.0, "funding": 0.0, "net_return": made,
            "equity": 1.0, "decided_ts": START + day * DAY - HOUR, "entry_ts": START + day * DAY,
            "version": 0, "experiment": experiment, "arm": arm,
        }
        for day, symbol, arm, net in trades
        for event, after, price, made in (
            ("entry", 0 * HOUR, 1.0, None),
            ("stop", HOUR, 1.0 + net / 0.5, net),
        )
    ]  # fmt: skip
    warehouse.replace(LIVE_LEDGER, pl.DataFrame(rows, LIVE_LEDGER.polars_schema))
    warehouse.replace(LIVE_ACCOUNTS, LIVE_ACCOUNTS.empty())
    warehouse.replace(CANDLES, CANDLES.empty())


LIMIT = RollbackTrigger(CANDIDATE_FALL, 0.05, 30 * DAY, "above")
LOST = [(1, "BTC/USDT", "candidate", 0.04), (2, "BTC/USDT", "candidate", -0.06),
        (2, "ETH/USDT", "candidate", -0.03), (4, "ETH/USDT", "candidate", -0.02)]  # fmt: skip


def test_a_fall_by_the_candidates_trades_stops_the_test_with_the_figures(
    store: ParameterStore, warehouse: Warehouse, settings: Settings
) -> None:
    made = registered(store, LIMIT)
    fill(warehouse, made.id, LOST)
    # By day, each symbol with half of the account: +2 %, then -4.5 % and -1 % below that high.
    fall = 1.0 - (1.0 - 0.045) * (1.0 - 0.01)
    assert candidate_fall(store, made, warehouse) == pytest.approx(fall)
    (told,), _ = follow_experiments(store, warehouse, settings)
    ended = store.experiments.get(made.id)
    assert (ended.state, ended.result, store.experiments.running()) == ("stopped", None, [])
    why = next(event for event in store.history() if event.subject == made.id).reason
    assert (
        why == f"the account fell {fall:.2%} by the candidate's trades; 5.00% is what was registered at most"
    )
    assert told.endswith(f"was stopped: {why}")
    assert follow_experiments(store, warehouse, settings) == ([], {})


@pytest.mark.parametrize(
    ("limit", "experiment", "arm"),
    [
        (RollbackTrigger(CANDIDATE_FALL, 0.06, 30 * DAY, "above"), "", "candidate"),
        (LIMIT, "", "live"),
        (LIMIT, "another", "candidate"),
        (RollbackTrigger("something that nobody measures", 0.0, 30 * DAY, "above"), "", "candidate"),
        (None, "", "candidate"),
    ],
    ids=["within the limit", "the live set lost", "another test lost", "another limit", "no limit"],
)
def test_whatever_else_is_lost_does_not(
    store: ParameterStore,
    warehouse: Warehouse,
    settings: Settings,
    limit: RollbackTrigger | None,
    experiment: str,
    arm: str,
) -> None:
    made = registered(store, limit)
    fill(warehouse, experiment or made.id, [(day, symbol, arm, net) for day, symbol, _, net in LOST])
    assert follow_experiments(store, warehouse, settings) == ([], {})
    assert store.experiments.get(made.id).state == "running"


@pytest.mark.parametrize(("mode", "limited"), [("ab", True), ("shadow", False)])
def test_what_the_evidence_allows_is_registered_with_the_test(
    store: ParameterStore, mode: str, limited: bool
) -> None:
    order = TuneOrder(mode=mode, days=20, actor="test", reason="to see")  # type: ignore[arg-type]
    held = store.sessions.start("global", "quick_tune", actor="test", reason="to see")
    found = {
        "promoted": ParameterSet(social_go=0.9).to_dict(), "expected": 0, "seed": 1,
        "trigger": {"horizon": 20, "alpha": 0.05, "fall": 0.07, "bound": 0.01, "worst": 0.02},
    }  # fmt: skip
    status, _, more = follow(store, held, mode, "passed", found, order)
    made = store.experiments.get(more["experiment"])
    expected = RollbackTrigger(CANDIDATE_FALL, 0.07, 20 * DAY, "above") if limited else None
    assert (status, made.trigger) == (mode, expected)
    assert made.start.replace(tzinfo=UTC) + 20 * DAY == made.end


def test_a_test_decides_only_while_what_it_is_compared_with_is_in_force(
    store: ParameterStore, warehouse: Warehouse
) -> None:
    registered(store, None)
    tests = ab_tests(store, SYMBOLS, HOUR, START)
    state = MarketState(SYMBOLS[0], START + HOUR, 100.0)

    def decides() -> InUse:
        return ParametersInUse(store, KnownRegimes(warehouse, START), tests, HOUR, None)(state)

    assert decides().experiment == tests[0][0].id
    other = ParameterSet(tp_news=4.0)
    store.commit("global", other, expected=0, actor="ann", reason="by hand", evidence={}, kind="override")
    found = decides()
    assert (found.experiment, found.arm, found.version, found.parameters) == (None, None, 1, other)
