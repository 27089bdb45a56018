from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.ablation.overlay import (
    change_point_guard,
    equal_shares,
    fear_greed_share,
    risk_shares,
    sentiment_gate,
)

START = datetime.fromisoformat("2024-01-01")


def test_the_guard_halves_and_ends_positions():
    rows = pl.DataFrame({"action": ["hold", "reduce", "exit", "hold"]})
    assert change_point_guard(rows).tolist() == [1.0, 0.5, 0.0, 1.0]


def test_fear_and_greed_leave_least_at_the_extremes():
    rows = pl.DataFrame({"fear_greed": [50.0, 10.0, 25.0, None]})
    assert fear_greed_share(rows).tolist() == pytest.approx([1.0, 0.25, 0.625, 0.25])


def test_a_closed_gate_lets_positions_shrink_and_neither_grow_nor_turn():
    index = [50.0, 10.0, 10.0, 10.0, 10.0, 16.0, 21.0, 21.0]
    wanted = np.array([0.4, 0.8, 0.2, 0.6, -0.2, 0.4, 0.4, 0.5])
    # At 16 the gate is still closed: it opens again at 15 + 5.
    held = [0.4, 0.4, 0.2, 0.2, 0.0, 0.0, 0.4, 0.5]
    rows = pl.DataFrame({"symbol": ["A"] * 8 + ["B"] * 8, "fear_greed": index * 2})
    assert sentiment_gate(rows, np.r_[wanted, -wanted], "balanced").tolist() == [*held, *(-h for h in held)]


def test_a_symbol_does_not_inherit_an_open_gate():
    rows = pl.DataFrame({"symbol": ["A", "B"], "fear_greed": [50.0, 17.0]})
    assert sentiment_gate(rows, np.array([1.0, 1.0]), "balanced").tolist() == [1.0, 0.0]


def daily(days: int) -> pl.DataFrame:
    """Two symbols without correlation, the second three times as volatile."""
    rng = np.random.default_rng(5)
    hours = [START + timedelta(hours=h) for h in range(24 * days)]
    returns = rng.standard_normal((2, days)).repeat(24, axis=1) * np.array([[0.01], [0.03]]) / 24
    return pl.concat(
        pl.DataFrame({"symbol": name, "ts": hours, "close": 100.0 * np.exp(np.cumsum(r))})
        for name, r in zip(("A", "B"), returns, strict=True)
    )


def test_shares_of_risk_are_inverse_to_volatility_and_use_whole_days_before():
    history = daily(160)
    moment = START + timedelta(days=150)
    rows = history.filter(pl.col("ts").is_between(moment, moment + timedelta(days=1), closed="left"))
    shares = risk_shares(rows, history)
    of = {name: shares[(rows["symbol"] == name).to_numpy()] for name in ("A", "B")}
    assert np.ptp(of["A"]) == np.ptp(of["B"]) == 0.0
    assert of["A"][0] + of["B"][0] == pytest.approx(1.0)
    assert of["A"][0] / of["B"][0] == pytest.approx(3.0, rel=0.6)
    np.testing.assert_array_equal(shares, risk_shares(rows, history.filter(pl.col("ts") < moment)))


def test_equal_shares_sum_to_the_account():
    assert equal_shares(daily(1)).tolist() == [0.5] * 48
