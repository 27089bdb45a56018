from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.calibration.scores import (
    conformal_quantile,
    covering_level,
    discounted_covering_level,
    discounted_threshold,
    remember,
    threshold,
)


def test_rank_is_exact():
    assert conformal_quantile(np.arange(1, 40), 0.9) == 36
    assert conformal_quantile(np.arange(1, 9), 0.9) == np.inf
    assert conformal_quantile(np.arange(1, 10), 0.9) == 9
    assert conformal_quantile([], 0.9) == np.inf
    # 75 * 0.68 is 51.00000000000001 in floating point
    assert conformal_quantile(np.arange(1, 75), 0.68) == 51


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=200)
def test_rank_is_exact_for_every_size(n, level):
    """Integer arithmetic in hundredths leaves no room for rounding."""
    rank = -((n + 1) * round(level * 100) // -100)
    assert conformal_quantile(np.arange(1, n + 1), level) == (rank if rank <= n else np.inf)


def test_mean_coverage_is_the_rank_over_n_plus_one():
    scores = np.random.default_rng(0).random((8000, 39))
    # uniform scores: the threshold is the coverage
    assert np.mean([conformal_quantile(row, 0.9) for row in scores]) == pytest.approx(0.9, abs=0.003)


@pytest.mark.parametrize(("n", "covered"), [(19, 0.863), (29, 0.874)])
def test_the_quantile_of_numpy_covers_too_little(n, covered):
    scores = np.random.default_rng(1).random((20_000, n))
    assert np.quantile(scores, 0.9, axis=1).mean() == pytest.approx(covered, abs=0.003)
    assert np.mean([conformal_quantile(row, 0.9) for row in scores]) >= 0.897


def test_nan_scores_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        conformal_quantile([1.0, np.nan], 0.9)


def weighted_quantile(scores, weights, alpha, overlap):
    """Smallest score that carries (1 - alpha) of all weight, the new score's at infinity included."""
    needed = (1 - alpha) * (sum(weights) + overlap) - 1e-9
    for score in sorted(scores):
        if sum(w for s, w in zip(scores, weights, strict=True) if s <= score) >= needed:
            return score
    return np.inf


@given(st.integers(0, 10_000), st.floats(0.01, 0.99), st.floats(0, 1), st.sampled_from([1.0, 3.5]))
@settings(max_examples=150, deadline=None)
def test_discounted_threshold_is_the_weighted_quantile(seed, alpha, kept, overlap):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    ordered = np.sort(np.round(rng.standard_normal(n), 1))
    born = rng.integers(0, 10, n)
    weights = np.where(born <= 5, kept, 1.0)
    given_ = discounted_threshold(ordered, born, n, alpha, overlap, kept, 5)
    assert given_ == weighted_quantile(ordered, weights, alpha, overlap)
    assert discounted_threshold(ordered, born, n, alpha, overlap, 1.0, 5) == threshold(
        ordered, n, alpha, overlap
    )


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_covering_level_parts_the_alphas_that_cover_from_those_that_do_not(seed, kept):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    ordered, born = np.sort(np.round(rng.standard_normal(n), 1)), rng.integers(0, 10, n)
    score = float(np.round(rng.standard_normal(), 1))
    beta = covering_level(ordered, n, score, 1.0)
    assert score <= threshold(ordered, n, beta - 1e-6, 1.0)
    assert score > threshold(ordered, n, beta + 1e-6, 1.0)
    beta = discounted_covering_level(ordered, born, n, score, 1.0, kept, 5)
    assert score <= discounted_threshold(ordered, born, n, beta - 1e-6, 1.0, kept, 5)
    if kept > 1e-3:
        assert score > discounted_threshold(ordered, born, n, beta + 1e-6, 1.0, kept, 5)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_ring_and_order_hold_the_newest_scores_with_their_clocks(values, window):
    recent, ordered = np.full((2, window), np.nan)
    recent_born, born = np.zeros((2, window), np.int64)
    count = 0
    for clock, value in enumerate(values):
        count = remember(float(value), clock, recent, recent_born, ordered, born, count, clock)
        held = sorted(
            zip(values[: clock + 1][-window:], range(max(0, clock + 1 - window), clock + 1), strict=True)
        )
        assert count == len(held)
        assert sorted(zip(ordered[:count], born[:count], strict=True)) == held
        assert (np.diff(ordered[:count]) >= 0).all()
