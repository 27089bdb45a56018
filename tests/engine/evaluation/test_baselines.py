from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from engine.evaluation.backtest import backtest
from engine.evaluation.baselines import buy_and_hold, flat, volatility_targeted_hold
from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel

HOUR = timedelta(hours=1)
FREE = Costs(0.0, 0.0, 0.0)


def walk(seed: int, bars: int = 24 * 120, symbols: int = 3, listed=(0, 0, 1000)) -> Panel:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal((bars, symbols)), axis=0))
    opens = np.vstack([np.full((1, symbols), 100.0), close[:-1]])
    for i, first in enumerate(listed):
        opens[:first, i] = close[:first, i] = np.nan
    times = np.datetime64("2024-01-01", "us") + np.arange(bars) * np.timedelta64(HOUR)
    volume = np.where(np.isfinite(opens), 1e9, np.nan)
    return Panel(times, tuple("ABC"[:symbols]), HOUR, opens, close, volume)


def truncated(panel: Panel, bars: int) -> Panel:
    return Panel(
        panel.times[:bars],
        panel.symbols,
        panel.bar,
        panel.open[:bars],
        panel.close[:bars],
        panel.volume[:bars],
    )


@pytest.mark.parametrize("baseline", [flat, buy_and_hold, volatility_targeted_hold])
def test_only_the_past_is_used(baseline):
    panel = walk(0)
    panel.open[1001:1004, 0] = panel.close[1001:1004, 0] = np.nan
    whole = baseline(panel)
    for bars in (1, 2, 500, 1001, 1002, 1005, 2000):
        np.testing.assert_array_equal(baseline(truncated(panel, bars)), whole[:bars])


def test_flat_never_trades():
    assert backtest(walk(0), flat(walk(0))).trades.height == 0


def test_hold_is_equal_at_each_listing_and_drifts_between():
    panel = walk(1)
    found = backtest(panel, buy_and_hold(panel), costs=FREE)
    value = found.quantities * np.nan_to_num(panel.open)
    share = value / value.sum(axis=1, keepdims=True).clip(1e-12)
    np.testing.assert_allclose(share[1], [0.5, 0.5, 0.0])
    np.testing.assert_allclose(share[1001], [1 / 3, 1 / 3, 1 / 3])
    assert np.ptp(share[-1]) > 0.01
    assert np.unique(found.quantities, axis=0).shape[0] == 3
    alone = walk(2, symbols=1, listed=(0,))
    earned = backtest(alone, buy_and_hold(alone), costs=FREE).equity["equity"][-1] / 1e5
    assert earned == pytest.approx(alone.open[-1, 0] / alone.open[1, 0])


@pytest.mark.parametrize("gap", ["missing", "quiet"])
def test_a_listing_that_could_not_be_bought_is_bought_after_the_gap(gap):
    panel = walk(3)
    if gap == "missing":
        panel.open[1:4, 1] = np.nan
    else:
        panel.volume[1:4, 1] = 0.0
    quantities = backtest(panel, buy_and_hold(panel), costs=FREE).quantities
    assert (quantities[1:5, 1] == 0).all()
    assert quantities[5, 1] > 0
    assert quantities[1, 0] > 0


def test_constant_risk_hold_meets_its_volatility():
    panel = walk(4, bars=24 * 300)
    panel.close[24 * 150 :] = panel.close[24 * 150] * (panel.close[24 * 150 :] / panel.close[24 * 150]) ** 3
    panel.open[1:] = panel.close[:-1]
    weights = volatility_targeted_hold(panel, target_volatility=0.3, max_exposure=2.0)
    net = backtest(panel, weights, costs=FREE).equity["net_return"].to_numpy()
    for half in (slice(24 * 40, 24 * 150), slice(24 * 185, None)):
        assert net[half].std() * np.sqrt(365 * 24) == pytest.approx(0.3, rel=0.1)
    assert net[: 24 * 30].any() == np.False_


def test_constant_risk_hold_decides_at_midnight_and_keeps_its_cap():
    panel = walk(5)
    weights = volatility_targeted_hold(panel, target_volatility=50.0)
    rows = np.flatnonzero(np.isfinite(weights).any(axis=1))
    assert (rows % 24 == 23).all()
    np.testing.assert_allclose(np.nansum(weights[rows], axis=1), 1.0)
    with pytest.raises(ValueError, match="rebalance"):
        volatility_targeted_hold(panel, rebalance=timedelta(minutes=1))
