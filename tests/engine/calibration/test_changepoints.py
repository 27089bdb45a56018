from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.calibration.changepoints import doubt, remember_changes


def test_doubt_counts_from_the_alarm_on():
    np.testing.assert_array_equal(
        doubt([0.0, 0.49, 0.5, 0.9, 1.0, np.nan], 0.5, 6), [0.0, 0.0, 0.5, 0.9, 1.0, 0.5]
    )
    np.testing.assert_array_equal(doubt(0.0, 0.5, 3), [0.0, 0.0, 0.0])


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="row 1"):
        doubt([0.2, wrong], 0.5, 2)


def test_an_alarm_is_remembered_with_its_peak_and_its_last_moment():
    p = [0.1, 0.6, 0.9, 0.7, 0.1, 0.1, 0.55, 0.1]
    peak, changed_at = remember_changes(p, ["A"] * 8, np.arange(10, 18), 0.5, 99)
    np.testing.assert_array_equal(peak, [0.0, 0.6, 0.9, 0.9, 0.9, 0.9, 0.55, 0.55])
    np.testing.assert_array_equal(changed_at, [10, 11, 12, 13, 13, 13, 16, 16])


def test_an_alarm_is_forgotten():
    p = [0.9, 0.1, 0.1, 0.1, 0.1, 0.6, 0.1]
    peak, changed_at = remember_changes(p, ["A"] * 7, [0, 1, 2, 3, 9, 10, 12], 0.5, 2)
    np.testing.assert_array_equal(peak, [0.9, 0.9, 0.9, 0.0, 0.0, 0.6, 0.6])
    np.testing.assert_array_equal(changed_at, [0, 0, 0, 3, 9, 10, 10])


def test_series_do_not_doubt_each_other():
    peak, changed_at = remember_changes(
        [0.9, 0.0, 0.0, 0.8, 0.0, 0.0], ["A", "B", "A", "B", "A", "B"], [0, 0, 1, 1, 2, 2], 0.5, 99
    )
    np.testing.assert_array_equal(peak, [0.9, 0.0, 0.9, 0.8, 0.9, 0.8])
    np.testing.assert_array_equal(changed_at, [0, 0, 0, 1, 0, 1])


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_memory_equals_a_walk_and_never_looks_ahead(seed):
    rng = np.random.default_rng(seed)
    n, memory = 60, int(rng.integers(1, 20))
    p, series, clock = rng.random(n), rng.choice(["A", "B"], n), np.sort(rng.integers(0, 30, n))
    p[rng.random(n) < 0.1] = np.nan
    state: dict = dict.fromkeys("AB", (0.0, None, False))
    whole = remember_changes(p, series, clock, 0.7, memory)
    for i in range(n):
        peak, at, running = state[series[i]]
        stated = 0.7 if np.isnan(p[i]) else p[i]
        if stated >= 0.7:
            peak, at, running = (max(peak, stated) if running else stated), clock[i], True
        else:
            running = False
        state[series[i]] = peak, at, running
        forgotten = at is None or clock[i] - at > memory
        assert (whole[0][i], whole[1][i]) == ((0.0, clock[i]) if forgotten else (peak, at))
        if i % 20 == 0:
            seen = remember_changes(p[: i + 1], series[: i + 1], clock[: i + 1], 0.7, memory)
            np.testing.assert_array_equal(seen, [whole[0][: i + 1], whole[1][: i + 1]])


def test_clock_is_checked():
    with pytest.raises(ValueError, match="ascend"):
        remember_changes([0.1, 0.1], ["A", "A"], [1, 0], 0.5, 99)
