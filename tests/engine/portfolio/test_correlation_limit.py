from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.portfolio.correlation_limit import limit_correlation


def limited(correlation, priority, signs=None, held=None, limit=0.6, hysteresis=0.05):
    n = len(priority)
    return limit_correlation(
        np.asarray(correlation, float), np.asarray(priority, float),
        np.ones(n) if signs is None else np.asarray(signs, float),
        np.zeros(n, bool) if held is None else np.asarray(held, bool),
        limit=limit, hysteresis=hysteresis,
    )  # fmt: skip


@given(st.integers(0, 10_000), st.integers(2, 25))
@settings(max_examples=100, deadline=None)
def test_no_pair_above_the_limit_none_could_return_and_the_first_stays(seed, n):
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((60, n)) + rng.uniform(0, 2) * rng.standard_normal((60, 1))
    correlation = np.corrcoef(data.T)
    signs, held = rng.choice([-1.0, 1.0], n), rng.random(n) < 0.5
    priority = rng.integers(0, 4, n).astype(float)
    kept, conflicts = limited(correlation, priority, signs, held)
    together = correlation * np.outer(signs, signs)
    pairs = together[np.ix_(kept, kept)] - 2 * np.eye(kept.sum())
    assert (pairs <= 0.6).all()
    assert kept[np.argmax(priority)]
    assert {c.dropped for c in conflicts} == set(np.flatnonzero(~kept))
    for c in conflicts:
        assert kept[c.kept]
        assert together[c.dropped, c.kept] == c.correlation > c.allowed
        assert priority[c.kept] >= priority[c.dropped]


def test_priority_decides_and_ties_go_to_the_first():
    correlation = [[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]]
    assert limited(correlation, [1, 2, 3])[0].tolist() == [False, True, True]
    assert limited(correlation, [1, 1, 1])[0].tolist() == [True, False, True]


def test_long_and_short_of_the_same_bet():
    correlation = [[1, 0.9], [0.9, 1]]
    assert limited(correlation, [1, 1], [1, -1])[0].all()
    assert limited([[1, -0.9], [-0.9, 1]], [1, 1], [1, -1])[0].tolist() == [True, False]
    assert limited(correlation, [1, 1], [-1, -1])[0].tolist() == [True, False]


def test_a_wavering_estimate_does_not_trade_back_and_forth():
    """Between .55 and .60 both stay if both are held, and neither joins the other if not."""
    near = [[1, 0.58], [0.58, 1]]
    assert limited(near, [2, 1], held=[True, True])[0].all()
    assert limited(near, [2, 1], held=[True, False])[0].tolist() == [True, False]
    assert limited([[1, 0.54], [0.54, 1]], [2, 1])[0].all()
    assert limited([[1, 0.61], [0.61, 1]], [2, 1], held=[True, True])[0].tolist() == [True, False]
