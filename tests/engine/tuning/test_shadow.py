from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import NotEnoughDataError
from engine.evaluation.costs import Costs
from engine.tuning.algorithm import TradingAlgorithm
from engine.tuning.evidence import fingerprint
from engine.tuning.kernel import evaluate, trades_of
from engine.tuning.market_state import StateTape
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.positions import Position
from engine.tuning.shadow import shadow

DAY = timedelta(days=1)
BOLD = ParameterSet(
    vol_pct_breakout=50.0, vol_pct_mean_revert=50.0, social_go=0.4, cost_cap_bps=30.0, tp_breakout=1.0
)
OTHER = replace(BOLD, sl_breakout=0.8, vol_pct_mean_revert=20.0)


@pytest.fixture(scope="module")
def start(simulated_tape) -> datetime:
    return simulated_tape.ts.max().item().replace(hour=0) - 20 * DAY


@pytest.fixture(scope="module")
def ran(simulated_tape, start):
    return shadow(simulated_tape, BOLD, OTHER, start)


def live_loop(tape: StateTape, start: datetime, beside) -> list:
    """The live algorithm bar by bar with positions of its own; `beside` is called after each decision."""
    algorithm, positions, pending, made = TradingAlgorithm(BOLD), {}, {}, []
    for row in np.argsort(tape.ts, kind="stable"):
        if tape.ts[row] < np.datetime64(start):
            continue
        symbol, prices = tape.symbols[tape.symbol[row]], (tape.open[row], tape.high[row], tape.low[row])
        if symbol in pending:
            positions[symbol] = Position.filled(
                pending.pop(symbol), float(tape.open[row]), tape.ts[row].item()
            )
        if symbol in positions and positions[symbol].leave(*prices):
            del positions[symbol]
        decision = algorithm.decide(tape.state(row), positions.get(symbol))
        if decision.action == "enter":
            pending[symbol] = decision
        made.append((row, decision, positions.get(symbol)))
        beside(len(made), tape)
    return made


def test_live_decisions_are_the_same_with_shadow_on_and_off(simulated_tape, start):
    def with_shadow(count, tape):
        if count % 200 == 0:
            shadow(tape, BOLD, OTHER, start)

    off = live_loop(simulated_tape, start, lambda *_: None)
    before, laid_out = fingerprint(simulated_tape), dict(simulated_tape.ground)
    on = live_loop(simulated_tape, start, with_shadow)
    assert on == off
    assert sum(decision.action == "enter" for _, decision, _ in on) > 5
    assert fingerprint(simulated_tape) == before
    assert simulated_tape.ground == laid_out


def test_accounts_are_those_of_the_kernel(simulated_tape, start, ran):
    costs = Costs()
    end = simulated_tape.ts.max().item() + simulated_tape.bar
    kept = simulated_tape.between(start, end)
    found = evaluate(kept, np.vstack([BOLD.vector(), OTHER.vector()]), costs)
    days = ran.days.size
    assert days == (end - start) // DAY == 20 + (end.hour == 0)
    np.testing.assert_allclose(ran.live, found.returns[0, :days], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ran.shadow, found.returns[1, :days], rtol=1e-9, atol=1e-12)
    assert np.array_equal(ran.difference, ran.shadow - ran.live)
    for account, parameters in (("live", BOLD), ("shadow", OTHER)):
        theirs = trades_of(kept, parameters, costs)
        mine = ran.trades.filter(account=account)
        assert mine.height == theirs.height > 3
        assert mine["decided_ts"].equals(theirs["decided_ts"])
        np.testing.assert_allclose(mine["net_return"], theirs["net_return"], rtol=1e-9)
        # Decided at a close, filled at the open of the bar after.
        assert (theirs["entry_ts"] - theirs["decided_ts"]).unique().to_list() == [simulated_tape.bar]


def test_both_pay_the_same_costs(simulated_tape, start):
    dear = shadow(simulated_tape, BOLD, BOLD, start, Costs(fee_bps=50.0))
    cheap = shadow(simulated_tape, BOLD, BOLD, start, Costs(fee_bps=0.0))
    assert (dear.difference == 0.0).all()
    assert dear.parted.height == 0
    assert dear.live.sum() < cheap.live.sum()


def test_what_was_said_of_a_bar_never_changes(simulated_tape, start, ran):
    cut = start + 11 * DAY + timedelta(hours=7)
    first = simulated_tape.ts.min().item()
    early = shadow(simulated_tape.between(first, cut), BOLD, OTHER, start)
    assert early.days.size == 11
    assert np.array_equal(early.live, ran.live[:11])
    assert np.array_equal(early.shadow, ran.shadow[:11])
    known = ran.decisions.filter(pl.col("ts") < cut)
    assert early.decisions.equals(known)


def test_decisions_carry_reasons_and_where_accounts_part(simulated_tape, start, ran):
    bars = int((simulated_tape.ts >= np.datetime64(start)).sum())
    assert ran.decisions.height == 2 * bars
    assert ran.decisions["reasons"].list.len().min() >= 1
    assert set(ran.decisions["account"]) == {"live", "shadow"}
    parted = ran.parted
    assert 0 < parted.height < bars
    row = parted.row(0, named=True)
    assert any(row[f"live_{name}"] != row[f"shadow_{name}"] for name in ("action", "kind", "side", "size"))


def test_accounts_start_flat_at_a_midnight(simulated_tape, start, ran):
    first = ran.decisions.filter(pl.col("ts") == start)
    assert set(first["action"]) <= {"none", "enter"}
    with pytest.raises(ValueError, match="must be a midnight"):
        shadow(simulated_tape, BOLD, OTHER, start + timedelta(hours=1))
    with pytest.raises(NotEnoughDataError):
        shadow(simulated_tape, DEFAULTS, BOLD, start + 400 * DAY)


def test_a_day_is_settled_once_its_funding_is_known_and_then_as_if_it_had_been_known_in_time(
    simulated_tape, start
):
    dear = replace(simulated_tape, funding=100.0 * simulated_tape.funding)
    whole = shadow(dear, BOLD, OTHER, start)
    assert whole.settled == whole.days.size, "rates come every eight hours"
    first, cut = dear.ts.min().item(), start + 11 * DAY + timedelta(hours=7)
    seen = dear.between(first, cut)
    silent = seen.panel.times >= np.datetime64(cut - timedelta(hours=30), "us")
    late = shadow(replace(seen, funding=seen.funding * ~silent[:, None]), BOLD, OTHER, start)
    # The last that is known is of the midnight after the tenth day; the next was due at eight.
    assert (late.days.size, late.settled) == (11, 10)
    np.testing.assert_array_equal(late.live[:10], whole.live[:10])
    np.testing.assert_array_equal(late.shadow[:10], whole.shadow[:10])
    assert (late.live[10], late.shadow[10]) != (whole.live[10], whole.shadow[10])
    # What never comes is waited for a week; a market without funding for nothing.
    dark = seen.panel.times >= np.datetime64(start, "us")
    never = shadow(replace(seen, funding=seen.funding * ~dark[:, None]), BOLD, OTHER, start)
    assert never.settled == 4
    none = shadow(replace(seen, funding=np.zeros_like(seen.funding)), BOLD, OTHER, start)
    assert none.settled == none.days.size == 11
