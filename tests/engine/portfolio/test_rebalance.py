from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.portfolio.rebalance import drifted_weights, no_trade_band, turnover_cost


def test_cost_is_charged_on_drifted_weights():
    drifted = drifted_weights([0.4, 0.4], [0.05, -0.10])
    np.testing.assert_allclose(drifted, [0.42 / 0.98, 0.36 / 0.98])
    turnover, cost = turnover_cost(drifted, [0.4, 0.4], 10.0)
    assert cost == pytest.approx(6.122449e-5, abs=1e-11)
    assert turnover == pytest.approx(0.0612245, abs=1e-7)


def test_turnover_from_undrifted_weights_sees_no_trade_at_all():
    """The wrong version compares the target with what was bought, not with what it became."""
    held, target = [0.4, 0.4], [0.4, 0.4]
    assert turnover_cost(held, target, 10.0) == (0.0, 0.0)
    assert turnover_cost(drifted_weights(held, [0.05, -0.10]), target, 10.0)[1] > 6e-5


def test_drift_of_shorts_missing_returns_and_ruin():
    np.testing.assert_allclose(drifted_weights([-0.5, 0.5], [0.1, np.nan]), [-0.55 / 0.95, 0.5 / 0.95])
    with pytest.raises(ValueError, match="nothing is left"):
        drifted_weights([-1.0], [1.0])


weights = st.lists(st.floats(-1, 1), min_size=1, max_size=6)


@given(weights, weights, st.floats(0, 0.3))
def test_band_trades_never_more_than_needed_and_ends_in_the_band(now, wanted, band):
    n = min(len(now), len(wanted))
    current, target = np.array(now[:n]), np.array(wanted[:n])
    after = no_trade_band(current, target, band)
    assert (np.abs(after - target) <= band + 1e-12).all()
    assert (np.abs(after - current) <= np.abs(target - current) + 1e-12).all()
    inside = (current * target > 0) & (np.abs(current - target) <= band)
    np.testing.assert_array_equal(after[inside], current[inside])


def test_exits_and_turns_are_complete():
    np.testing.assert_array_equal(no_trade_band([0.004, -0.2, 0.3], [0.0, 0.1, 0.2], 0.05), [0.0, 0.1, 0.25])
