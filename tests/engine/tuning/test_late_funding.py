"""Funding that is heard of late: charged once, to the same end as funding that is heard of in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from engine.tuning.late_funding import LATE
from engine.tuning.live_account import InUse, LiveAccount
from engine.tuning.live_walk import LiveWalk, live_walk
from engine.tuning.market_state import MarketState, StateTape
from engine.tuning.parameters import ParameterSet

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
BUSY = ParameterSet.from_mapping(
    {"volPctBreakout": 50, "volPctMeanRevert": 50, "costCapBps": 30, "tpBreakout": 9.0, "slBreakout": 4.0}
)
PIECE = 60
Forget = Callable[[LiveAccount], LiveAccount]


def ask(state: MarketState) -> InUse:
    return InUse(BUSY, 1)


def dear(tape: StateTape) -> StateTape:
    """Two and a half months with rates a hundred times as high, so that they are seen beside all else."""
    return replace(tape, funding=100.0 * tape.funding).between(START, START + timedelta(days=76))


def heard_late(tape: StateTape, delay: timedelta, kept: Forget = lambda account: account) -> LiveWalk:
    """Walk piece by piece; what fell due within the delay before a piece's end is not known yet."""
    accounts: dict[str, LiveAccount] = {}
    whole = LiveWalk()
    bars = tape.panel.times.size
    for end in range(PIECE, bars + PIECE, PIECE):
        until = tape.panel.times[min(end, bars) - 1].item() + HOUR
        seen = tape.between(START, until)
        known = seen.panel.times < np.datetime64(until - (delay if end < bars else timedelta(0)), "us")
        found = live_walk(replace(seen, funding=seen.funding * known[:, None]), accounts, ask, start=START)
        accounts = {
            name: kept(LiveAccount.from_dict(json.loads(json.dumps(account.to_dict()))))
            for name, account in found.accounts.items()
        }
        whole.ledger += found.ledger
        whole.equity += found.equity
        whole.decisions += found.decisions
    whole.accounts = accounts
    return whole


@pytest.mark.parametrize("hours", [9, 100])
def test_what_is_heard_late_is_charged_once_and_ends_the_same(simulated_tape: StateTape, hours: int) -> None:
    tape = dear(simulated_tape)
    in_time = live_walk(tape, {}, ask, start=START)
    late = heard_late(tape, hours * HOUR)
    lines = [line for line in late.ledger if line.event == "late funding"]
    assert len(lines) > 15
    for symbol in tape.symbols:
        ours, theirs = late.accounts[symbol], in_time.accounts[symbol]
        assert (ours.equity, ours.value) == pytest.approx((theirs.equity, theirs.value), rel=1e-12)
        assert [(one.symbol, one.ts, one.made) for one in late.decisions if one.symbol == symbol] == [
            (one.symbol, one.ts, one.made) for one in in_time.decisions if one.symbol == symbol
        ]
    # Each line stands at the bar that it was due at, with the same figure as if heard of in time.
    paid = [
        {(line.symbol, line.ts): line.funding for line in walk.ledger if "funding" in line.event}
        for walk in (late, in_time)
    ]
    assert paid[0].keys() == paid[1].keys()
    np.testing.assert_allclose([paid[0][key] for key in paid[1]], list(paid[1].values()), rtol=1e-12)
    keys = [(line.symbol, line.ts, line.event) for line in late.ledger]
    assert len(set(keys)) == len(keys), "the ledger keeps one line of a key"
    # Some of it belonged to positions that were closed by then.
    ends = {(line.symbol, line.order.ts): line.ts for line in late.ledger if line.net_return is not None}  # type: ignore[union-attr]
    closed = [
        line
        for line in lines
        if ends.get((line.symbol, line.order.ts), line.ts + LATE) < line.ts + hours * HOUR  # type: ignore[union-attr]
    ]
    assert closed


def test_an_account_that_forgets_is_charged_too_little(simulated_tape: StateTape) -> None:
    tape = dear(simulated_tape)
    forgetful = heard_late(tape, 30 * HOUR, lambda account: replace(account, carried=()))
    in_time = live_walk(tape, {}, ask, start=START)
    assert any(
        abs(forgetful.accounts[symbol].equity / in_time.accounts[symbol].equity - 1.0) > 1e-3
        for symbol in tape.symbols
    )


def test_what_is_older_than_a_week_is_forgotten(simulated_tape: StateTape) -> None:
    tape = dear(simulated_tape)
    late = heard_late(tape, LATE + 2 * PIECE * HOUR)
    bars = tape.panel.times.size // PIECE * PIECE
    ends = [tape.panel.times[end - 1].item() for end in range(PIECE, bars + 1, PIECE)]
    for line in late.ledger:
        if line.event == "late funding":
            assert line.ts >= ends[-1] - LATE - HOUR
    for account in late.accounts.values():
        assert len(json.dumps(account.to_dict())) < 60_000


def test_without_new_bars_nothing_is_charged(simulated_tape: StateTape) -> None:
    """The account has no moment to be charged at until a bar comes."""
    tape = dear(simulated_tape)
    dark = replace(tape, funding=np.zeros_like(tape.funding))
    accounts = live_walk(dark, {}, ask, start=START).accounts
    again = live_walk(tape, accounts, ask, start=START)
    assert not again.ledger
    assert again.accounts == accounts
