"""Funding that is heard of late counts in the results of A/B tests as it does in the live account."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.market.simulator import MarketSimulator
from engine.tuning.ab_result import ABResult
from engine.tuning.live_account import LiveAccount
from engine.tuning.live_walk import LiveWalk, live_walk
from engine.tuning.market_state import StateTape, state_tape
from engine.tuning.parameters import ParameterSet
from engine_assets.ledger_trades import ledger_trades
from engine_assets.live_ab import ab_result, ab_tests
from engine_assets.live_tables import LIVE_ACCOUNTS, LIVE_LEDGER, live_frames
from engine_assets.parameters_in_use import KnownRegimes, ParametersInUse
from resources.parameter_store import ParameterStore
from resources.parameter_store.experiments import Experiment
from resources.table import Column, Table
from resources.warehouse import Warehouse

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SYMBOLS = ("AAA/USDT", "BBB/USDT")
START = datetime(2024, 1, 1)
BEGIN, HORIZON = START + 40 * DAY, 5 * DAY
LIVE = ParameterSet.from_mapping(
    {"volPctBreakout": 50, "volPctMeanRevert": 50, "costCapBps": 30, "tpBreakout": 1.5, "socialGo": 0.6}
)
CANDIDATE = ParameterSet.from_mapping({"tpBreakout": 9.0, "slBreakout": 5.0, "slRevert": 5.0}, LIVE)
CANDLES = Table(
    "staging",
    "candles",
    "What open trades are marked to.",
    (Column("symbol", "VARCHAR", "-"), Column("ts", "TIMESTAMP", "-"), Column("close", "DOUBLE", "-")),
)


@pytest.fixture(scope="module")
def tape() -> StateTape:
    """Seven weeks with rates a hundred times as high, so that they are seen beside all else."""
    made = MarketSimulator(SYMBOLS, HOUR, 6).simulate(START, 48 * 24)
    laid_out = state_tape(made.candles, made.observations, HOUR, capital=40_000.0)
    return replace(laid_out, funding=100.0 * laid_out.funding)


@pytest.fixture
def warehouse(tmp_path: Path, tape: StateTape) -> Warehouse:
    made = Warehouse(address=str(tmp_path / "t.duckdb"))
    names = np.array(tape.symbols)[tape.symbol]
    made.replace(CANDLES, pl.DataFrame({"symbol": names, "ts": tape.ts, "close": tape.close}))
    return made


def line(hour: int, event: str, **more: Any) -> dict[str, Any]:
    """A line of a long position of half the equity, decided an hour before its entry at 100."""
    return {
        "symbol": "AAA/USDT", "ts": BEGIN + hour * HOUR, "event": event, "kind": "NEWS", "side": 1,
        "size": 0.5, "price": 100.0, "fee": 0.0, "slippage": 0.0, "funding": 0.0, "net_return": None,
        "equity": 1.0,
        "decided_ts": BEGIN - HOUR, "entry_ts": BEGIN, "version": 0, "experiment": "mine", "arm": "candidate",
        **more,
    }  # fmt: skip


def test_a_trade_is_charged_whatever_is_heard_of_it_up_to_the_horizon(warehouse: Warehouse) -> None:
    two = {"symbol": "BBB/USDT", "side": -1, "decided_ts": BEGIN + HOUR, "entry_ts": BEGIN + 2 * HOUR}
    lines = [
        line(0, "entry", fee=0.0004, slippage=0.0001),
        line(8, "funding", funding=0.002),
        line(9, "stop", price=110.0, fee=0.0004, net_return=0.5 * 0.1 - 0.0029),
        line(0, "late funding", funding=0.003),
        line(2, "entry", fee=0.0005, **two),
        line(3, "late funding", funding=-0.001, **two),
        # After the horizon: neither its funding nor its end counts.
        line(40, "funding", funding=0.5, **two),
        line(41, "target", price=50.0, net_return=9.0, **two),
        line(10, "lapsed", price=None, entry_ts=None),
        line(11, "entry", experiment="another", arm="live"),
    ]
    warehouse.replace(LIVE_LEDGER, pl.DataFrame(lines, LIVE_LEDGER.polars_schema))
    accounts = [
        {"symbol": symbol, "ts": BEGIN + 50 * HOUR, "settings": "-", "content": "{}"} for symbol in SYMBOLS
    ]
    warehouse.replace(LIVE_ACCOUNTS, pl.DataFrame(accounts, LIVE_ACCOUNTS.polars_schema))
    until = BEGIN + 20 * HOUR
    marked = warehouse.frame(
        f"SELECT close FROM staging.candles WHERE symbol = 'BBB/USDT' AND ts = '{until}'"
    )
    open_ = -0.5 * (marked.item() / 100.0 - 1.0) - 0.0005 + 0.001
    found = ledger_trades(warehouse, "mine", until)
    assert found["net_return"].to_list() == pytest.approx([0.05 - 0.0004 - 0.0001 - 0.0004 - 0.005, open_])
    assert found["ts"].to_list() == [BEGIN + 9 * HOUR, until]
    assert found["arm"].to_list() == ["candidate"] * 2
    assert ledger_trades(warehouse, "mine")["net_return"][1] == pytest.approx(0.25 - 0.0005 + 0.001 - 0.5)


class Account:
    """The live loop over a market that hears of funding some hours late."""

    def __init__(self, folder: Path, warehouse: Warehouse, tape: StateTape, delay: timedelta) -> None:
        self.warehouse, self.tape, self.delay = warehouse, tape, delay
        self.store = ParameterStore(f"sqlite:///{folder}/parameters.sqlite")
        made = self.store.commit("global", LIVE, expected=0, actor="test", reason="to test", evidence={})
        self.experiment: Experiment = self.store.experiments.register(
            "ab", "global", CANDIDATE, baseline=made.version, metric="net return", horizon=HORIZON, seed=3,
            block=6 * HOUR, actor="test", reason="which is better",
        )  # fmt: skip

    def walked(self, every: timedelta) -> Iterator[tuple[datetime, ABResult | None]]:
        """Walk piece by piece; yield the close of each and what is said of the test then."""
        accounts: dict[str, LiveAccount] = {}
        whole, until = LiveWalk(), BEGIN
        while until < BEGIN + HORIZON + 2 * DAY:
            until += every
            seen = self.tape.between(START, until)
            known = seen.panel.times < np.datetime64(until - self.delay, "us")
            seen = replace(seen, funding=seen.funding * known[:, None])
            tests = ab_tests(self.store, SYMBOLS, HOUR, BEGIN)
            ask = ParametersInUse(self.store, KnownRegimes(self.warehouse, BEGIN), tests, HOUR, None)
            found = live_walk(seen, accounts, ask, start=BEGIN)
            accounts = found.accounts
            whole.decisions += found.decisions
            whole.ledger += found.ledger
            whole.accounts = accounts
            for table, rows in live_frames(whole, "test").items():
                self.warehouse.replace(table, rows)
            yield until, ab_result(self.store, self.experiment, self.warehouse)


def test_a_test_is_judged_once_its_funding_is_known_and_then_as_if_it_had_been_known_in_time(
    tmp_path: Path, warehouse: Warehouse, tape: StateTape
) -> None:
    (tmp_path / "late").mkdir()
    in_time = list(Account(tmp_path, warehouse, tape, -8 * HOUR).walked(12 * HOUR))
    late_account = Account(tmp_path / "late", warehouse, tape, 30 * HOUR)
    late = list(late_account.walked(12 * HOUR))
    first = [next(at for at, result in said if result) for said in (in_time, late)]
    assert first == [BEGIN + HORIZON + 12 * HOUR, BEGIN + HORIZON + 36 * HOUR]
    heard = late_account.warehouse.frame(f"FROM {LIVE_LEDGER.full_name}").filter(event="late funding")
    assert heard.filter(pl.col("funding").abs() > 1e-4).height > 5
    ours, theirs = (next(result for _, result in said if result) for said in (late, in_time))
    assert (ours.verdict, ours.counts) == (theirs.verdict, theirs.counts)
    assert (ours.effect, ours.p_value) == pytest.approx((theirs.effect, theirs.p_value), rel=1e-9)
    # Asked again later, with all that came after the horizon, it is the same.
    assert late[-1][1] == ours
