from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from engine.evaluation.metrics import (
    METRICS,
    TRADE_METRICS,
    metric_intervals,
    paired_intervals,
    performance,
    trade_intervals,
)


def test_figures_by_hand():
    found = performance(np.array([0.10, -0.50, 0.0, 0.20]), periods_per_year=4)
    mean, deviation = -0.05, np.sqrt((0.15**2 + 0.45**2 + 0.05**2 + 0.25**2) / 3)
    assert found["annual_return"] == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert found["volatility"] == pytest.approx(deviation * 2)
    assert found["sharpe"] == pytest.approx(mean * 4 / (deviation * 2))
    assert found["sortino"] == pytest.approx(mean * 4 / (np.sqrt(0.25 / 4) * 2))
    assert found["max_drawdown"] == pytest.approx(0.5)
    assert found["calmar"] == pytest.approx((1.1 * 0.5 * 1.2 - 1) / 0.5)
    assert found["cvar_95"] == pytest.approx(0.5)
    assert found["hit_rate"] == pytest.approx(2 / 3)


def test_worst_twentieth():
    returns = np.r_[np.arange(-0.10, 0.0, 0.01), np.full(190, 0.01)]
    assert performance(returns)["cvar_95"] == pytest.approx(np.arange(0.01, 0.101, 0.01).mean())


def test_the_start_counts_as_a_peak():
    assert performance(np.array([-0.3, 0.1]))["max_drawdown"] == pytest.approx(0.3)


def test_cash_has_no_ratios_and_no_risk():
    found = performance(np.zeros(10))
    assert np.isnan([found["sharpe"], found["sortino"], found["calmar"], found["hit_rate"]]).all()
    assert found["annual_return"] == found["max_drawdown"] == found["volatility"] == 0.0


def test_ruin_is_a_total_loss():
    found = performance(np.array([0.1, -1.2, 0.0, 0.0]))
    assert found["annual_return"] == -1.0
    assert found["max_drawdown"] == 1.0


@given(st.integers(0, 10_000), st.integers(2, 300))
def test_rows_of_a_matrix_are_judged_like_single_streams(seed, n):
    returns = np.random.default_rng(seed).normal(0, 0.02, (3, n))
    for name, metric in METRICS.items():
        np.testing.assert_allclose(
            metric(returns, 365.0), [performance(row)[name] for row in returns], rtol=1e-12, err_msg=name
        )


def test_interval_of_the_mean_covers_dependent_returns():
    """AR(.4) returns: 95 % intervals of the Sharpe ratio hold the truth; independent draws are too narrow."""
    phi, mean, inside, naive = 0.4, 0.1, [], []
    rng = np.random.default_rng(0)
    truth = mean * np.sqrt(1 - phi**2) * np.sqrt(365)
    for seed in range(80):
        noise = lfilter([1.0], [1.0, -phi], rng.standard_normal(700))[100:]
        returns = 0.01 * (mean + noise)
        for found, block in ((inside, None), (naive, 1.0)):
            row = metric_intervals(returns, draws=199, block=block, seed=seed).row(2, named=True)
            assert row["metric"] == "sharpe"
            found.append(row["low"] <= truth <= row["high"])
    assert np.mean(inside) >= 0.88
    assert np.mean(naive) < np.mean(inside) - 0.05


def test_intervals_are_ordered_reproducible_and_hold_the_figure():
    returns = np.random.default_rng(1).normal(0.001, 0.02, 500)
    first, again = (metric_intervals(returns, draws=199, seed=3) for _ in range(2))
    assert first.equals(again)
    assert not first.equals(metric_intervals(returns, draws=199, seed=4))
    assert (first["low"] < first["high"]).all()
    plain = performance(returns)
    assert first["value"].to_list() == [plain[name] for name in METRICS]


def test_draws_in_parts_fill_the_number_asked_for(monkeypatch):
    seen = []
    import engine.evaluation.metrics as module

    original = module.bootstrap_interval
    monkeypatch.setattr(module, "_DRAWN_AT_ONCE", 5000)
    monkeypatch.setattr(module, "bootstrap_interval", lambda s, c: seen.append(len(s)) or original(s, c))
    metric_intervals(np.random.default_rng(0).normal(size=500) * 0.01, draws=199)
    assert seen == [199]


def test_further_series_are_reported_by_their_mean():
    returns = np.random.default_rng(1).normal(0, 0.02, 300)
    turnover = np.abs(returns) * 3
    table = metric_intervals(returns, means={"turnover": turnover}, draws=199)
    row = table.row(-1, named=True)
    assert row["metric"] == "turnover"
    assert row["value"] == pytest.approx(turnover.mean())
    assert row["low"] < row["value"] < row["high"]


def test_undefined_figures_are_null():
    table = metric_intervals(np.zeros(50), draws=99, confidence=0.9)
    assert table.row(2) == ("sharpe", None, None, None)


def test_pairing_removes_the_common_noise():
    rng = np.random.default_rng(2)
    market = rng.standard_t(4, 1000) * 0.03
    edge = 0.002 + 0.002 * rng.standard_normal(1000)
    paired = paired_intervals(market + edge, market, draws=399)
    single = metric_intervals(market + edge, draws=399)
    width = {t: (f["high"][2] - f["low"][2]) for t, f in (("paired", paired), ("single", single))}
    assert paired["low"][2] > 0
    assert width["paired"] < width["single"] / 3
    same = paired_intervals(market, market, draws=399)
    assert same["value"].to_list() == same["low"].to_list() == same["high"].to_list() == [0.0] * 8


def test_bad_streams_are_refused():
    with pytest.raises(ValueError, match="finite series"):
        performance(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="same periods"):
        paired_intervals(np.zeros(5), np.zeros(6))
    with pytest.raises(ValueError, match="draws"):
        metric_intervals(np.zeros(50), draws=10)


def trades(net, hours=None) -> pl.DataFrame:
    hours = [1.0] * len(net) if hours is None else hours
    start = datetime(2024, 1, 1)
    return pl.DataFrame(
        {
            "entry_ts": [start + timedelta(days=i) for i in range(len(net))],
            "exit_ts": [
                None if h is None else start + timedelta(days=i, hours=h) for i, h in enumerate(hours)
            ],
            "net_pnl": net,
        },
        schema_overrides={"exit_ts": pl.Datetime("us"), "net_pnl": pl.Float64},
    )


def test_figures_of_trades_by_hand_without_the_open_one():
    table = trades([30.0, -10.0, 20.0, -15.0, 999.0], [1.0, 2.0, 3.0, 6.0, None])
    found = dict(trade_intervals(table, draws=99, confidence=0.9).select("metric", "value").rows())
    assert found == pytest.approx(
        {
            "trade_hit_rate": 0.5, "profit_factor": 2.0, "payoff_ratio": 2.0, "net_per_trade": 6.25,
            "worst_trade": -15.0, "holding_hours": 3.0,
        }
    )  # fmt: skip
    one_sided = dict(
        trade_intervals(trades([5.0, 3.0]), draws=99, confidence=0.9).select("metric", "value").rows()
    )
    assert (one_sided["profit_factor"], one_sided["payoff_ratio"]) == (None, None)


def test_intervals_of_trades_hold_the_figure_and_leave_the_worst_open():
    rng = np.random.default_rng(0)
    table = trade_intervals(trades(rng.standard_t(4, 300) + 0.2), draws=399)
    assert table["metric"].to_list() == list(TRADE_METRICS)
    bounded = table.filter(pl.col("metric") != "worst_trade")
    assert (bounded["low"] <= bounded["value"]).all()
    assert (bounded["value"] <= bounded["high"]).all()
    assert table.filter(pl.col("metric") == "worst_trade")["low"].to_list() == [None]
    few = trade_intervals(trades([1.0]))
    assert few["value"].null_count() == few.height == len(TRADE_METRICS)
