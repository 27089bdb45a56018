from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import trim_mean

from engine.evaluation.bootstrap import bootstrap_interval
from engine.evaluation.interquartile import (
    interquartile_mean,
    probability_of_improvement,
    stratified_interval,
)

MATRIX = np.array([[0.2, 0.5, 0.9], [0.3, 0.6, 1.0], [0.1, 0.4, 0.8], [0.4, 0.7, 1.1], [0.2, 0.6, 0.9]])
LEVELS = np.array([0.0, 1.0, 4.0, 20.0])


def test_closed_forms():
    assert interquartile_mean(np.arange(20)) == 9.5
    assert interquartile_mean([0.1, 0.9, 0.5, 0.4, 0.6, 5, -3, 0.55]) == pytest.approx(0.5125, abs=1e-12)
    assert interquartile_mean(MATRIX) == pytest.approx(0.57778, abs=5e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_middle_half_is_that_of_scipy(scores):
    assert interquartile_mean(scores) == pytest.approx(trim_mean(scores, 0.25), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("trimmed", [0.1, 0.2, 0.375])
def test_other_trimming_fractions_miss_the_closed_forms(trimmed):
    scores = np.sort([0.1, 0.9, 0.5, 0.4, 0.6, 5, -3, 0.55])
    cut = int(trimmed * scores.size)
    wrong = scores[cut : scores.size - cut].mean()
    assert abs(wrong - 0.5125) > 0.003


def test_interval_of_the_small_matrix():
    found = stratified_interval(MATRIX)
    assert found.value == pytest.approx(0.57778, abs=5e-6)
    assert (found.low, found.high) == pytest.approx((0.511, 0.633), abs=0.003)


def pooled_interval(scores, draws, seed):
    """Deliberately wrong: all scores from one urn."""
    rows = np.random.default_rng(seed).integers(0, scores.size, (draws, scores.size))
    return bootstrap_interval(trim_mean(scores.ravel()[rows], 0.25, axis=1))


def population(n=400_000):
    rng = np.random.default_rng(99)
    return interquartile_mean(LEVELS + rng.standard_normal((n, 4)))


def test_coverage_and_width_with_regimes_of_different_level():
    rng, truth, repetitions = np.random.default_rng(5), population(), 400
    covered, width = 0, 0.0
    for repetition in range(repetitions):
        found = stratified_interval(LEVELS + rng.standard_normal((10, 4)), draws=399, seed=repetition)
        covered += found.low <= truth <= found.high
        width += (found.high - found.low) / repetitions
    assert 0.88 <= covered / repetitions <= 0.985
    assert width <= 1.2


def test_pooled_resampling_is_far_too_wide():
    rng = np.random.default_rng(6)
    width = []
    for repetition in range(20):
        low, high = pooled_interval(LEVELS + rng.standard_normal((10, 4)), 399, repetition)
        width.append(high - low)
    assert np.mean(width) > 2.0


def brute_force_probability(ours, theirs):
    wins = (ours[:, None] > theirs[None]).astype(float) + 0.5 * (ours[:, None] == theirs[None])
    return wins.mean()


@settings(max_examples=60, deadline=None)
@given(
    ours=arrays(np.float64, (4, 3), elements=st.integers(-3, 3)),
    theirs=arrays(np.float64, (5, 3), elements=st.integers(-3, 3)),
)
def test_probability_of_improvement_counts_pairs(ours, theirs):
    found = probability_of_improvement(ours, theirs, draws=99)
    assert found.value == pytest.approx(brute_force_probability(ours, theirs), abs=1e-12)
    mirrored = probability_of_improvement(theirs, ours, draws=99)
    assert mirrored.value == pytest.approx(1.0 - found.value, abs=1e-12)


def test_probability_of_improvement_stays_inside_strata():
    """Levels apart by more than the effect: pairs from different strata would hide it."""
    rng = np.random.default_rng(7)
    theirs = LEVELS + 0.1 * rng.standard_normal((10, 4))
    found = probability_of_improvement(theirs + 0.5, theirs)
    assert found.value == 1.0
    assert found.low == 1.0
    pooled = brute_force_probability((theirs + 0.5).reshape(-1, 1), theirs.reshape(-1, 1))
    assert pooled < 0.7


def test_probability_of_improvement_under_the_null():
    rng = np.random.default_rng(8)
    covered = 0
    for repetition in range(150):
        a, b = rng.standard_normal((2, 10, 4))
        found = probability_of_improvement(a, b, draws=199, seed=repetition)
        covered += found.low <= 0.5 <= found.high
    assert 0.86 <= covered / 150 <= 0.985


def test_same_seed_same_interval_and_equal_runs_have_no_width():
    scores = np.random.default_rng(3).standard_normal((6, 3))
    assert stratified_interval(scores, seed=3) == stratified_interval(scores, seed=3)
    assert stratified_interval(scores, seed=3) != stratified_interval(scores, seed=4)
    same = stratified_interval(np.tile(LEVELS, (6, 1)))
    assert same.low == same.value == same.high == 2.5


@pytest.mark.parametrize("scores", [[1.0, 2.0], [[1.0, 2.0]], [[], []], [[1.0], [np.nan]]])
def test_scores_that_cannot_be_judged_are_refused(scores):
    with pytest.raises(ValueError, match=r"shape|NaN"):
        stratified_interval(scores)


def test_different_strata_are_refused():
    with pytest.raises(ValueError, match="strata"):
        probability_of_improvement(MATRIX, MATRIX[:, :2])
