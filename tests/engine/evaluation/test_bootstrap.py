from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from engine.evaluation.bootstrap import (
    automatic_block_length,
    bootstrap_interval,
    effective_sample_size,
    long_run_variance,
    stationary_bootstrap_indices,
)


def autoregression(phi: float, n: int, rng: np.random.Generator, paths: int = 1) -> np.ndarray:
    noise = rng.standard_normal((paths, n + 500))
    return lfilter([1.0], [1.0, -phi], noise, axis=1)[:, 500:]


@pytest.mark.parametrize(("phi", "measured"), [(0.3, 7.0), (0.7, 17.4)])
def test_block_length_of_autoregressions(phi, measured):
    """Median of 40 within 25 % of theory and of an independent implementation."""
    paths = autoregression(phi, 1000, np.random.default_rng(7), 40)
    median = np.median([automatic_block_length(path) for path in paths])
    theory = (2 * phi / (1 - phi**2)) ** (2 / 3) * 1000 ** (1 / 3)
    assert abs(median / theory - 1) <= 0.25
    assert abs(median / measured - 1) <= 0.25


def test_block_length_is_one_without_dependence_and_bounded():
    rng = np.random.default_rng(1)
    assert np.median([automatic_block_length(rng.standard_normal(1000)) for _ in range(40)]) < 4
    assert automatic_block_length(np.full(100, 0.25)) == 1.0
    walk = np.cumsum(rng.standard_normal(400))
    assert automatic_block_length(walk) <= 60


def test_block_length_ignores_scale_and_level():
    path = autoregression(0.6, 800, np.random.default_rng(3))[0]
    assert automatic_block_length(1e-5 * path + 0.3) == pytest.approx(automatic_block_length(path), rel=1e-6)


@pytest.mark.parametrize("bad", [[1.0], [1.0, np.nan, 2.0], [[1.0, 2.0]], [0.0, np.inf]])
def test_unusable_series_are_refused(bad):
    with pytest.raises(ValueError, match="series"):
        automatic_block_length(bad)


def test_indices_have_geometric_blocks_and_uniform_positions():
    n, block, draws = 200, 8.0, 2000
    index = stationary_bootstrap_indices(n, block, draws, np.random.default_rng(0))
    assert index.shape == (draws, n)
    assert index.min() == 0
    assert index.max() == n - 1
    continues = (np.diff(index, axis=1) % n) == 1
    assert continues.mean() == pytest.approx(1 - 1 / block + 1 / (block * n), abs=0.002)
    share = np.bincount(index.ravel(), minlength=n) / index.size
    assert np.abs(share * n - 1).max() < 0.1
    # a draw does not go on where the one before ended
    assert (((index[1:, 0] - index[:-1, -1]) % n) == 1).mean() < 0.02


def test_block_one_is_the_independent_bootstrap():
    index = stationary_bootstrap_indices(500, 1.0, 200, np.random.default_rng(0))
    assert ((np.diff(index, axis=1) % 500) == 1).mean() < 0.004


def test_same_seed_same_indices():
    first, again = (stationary_bootstrap_indices(50, 5, 7, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("n", "block", "draws"), [(0, 2, 3), (5, 0.5, 3), (5, np.inf, 3), (5, 2, 0)])
def test_impossible_draws_are_refused(n, block, draws):
    with pytest.raises(ValueError, match="at least 1"):
        stationary_bootstrap_indices(n, block, draws, np.random.default_rng(0))


def test_bootstrap_variance_of_the_mean_matches_the_autoregression():
    """The independent bootstrap would be too small by the factor (1 + phi) / (1 - phi) = 4."""
    phi, n = 0.6, 2000
    rng = np.random.default_rng(5)
    ratios = []
    for path in autoregression(phi, n, rng, 20):
        index = stationary_bootstrap_indices(n, automatic_block_length(path), 400, rng)
        ratios.append(path[index].mean(axis=1).var() / (1 / (1 - phi) ** 2 / n))
    assert 0.8 <= np.mean(ratios) <= 1.15


def test_long_run_variance_and_effective_size_of_an_autoregression():
    phi = 0.5
    paths = autoregression(phi, 4000, np.random.default_rng(2), 30)
    assert np.mean([long_run_variance(p) for p in paths]) == pytest.approx(1 / (1 - phi) ** 2, rel=0.1)
    share = np.mean([effective_sample_size(p) for p in paths]) / 4000
    assert share == pytest.approx((1 - phi) / (1 + phi), rel=0.1)


def test_effective_size_of_overlapping_labels_is_their_number_over_the_overlap():
    rng = np.random.default_rng(4)
    sums = np.convolve(rng.standard_normal(20_000), np.ones(12), "valid")
    assert sums.size / effective_sample_size(sums) == pytest.approx(12, rel=0.25)


def test_effective_size_stays_between_one_and_n():
    alternating = np.tile([1.0, -1.0], 100)
    assert effective_sample_size(alternating) == 200
    assert effective_sample_size(np.zeros(50)) == 50
    assert 1 <= effective_sample_size(np.arange(50.0)) <= 50


def test_interval_uses_exact_ranks():
    low, high = bootstrap_interval(np.arange(1.0, 1000.0)[:, None], 0.95)
    assert (low[0], high[0]) == (25.0, 975.0)
    low, high = bootstrap_interval(np.arange(1.0, 400.0)[:, None], 0.90)
    assert (low[0], high[0]) == (20.0, 380.0)


def test_interval_of_undefined_statistics_is_undefined():
    low, high = bootstrap_interval(np.column_stack([np.arange(99.0), np.r_[np.arange(98.0), np.nan]]), 0.9)
    assert np.isfinite(low[0])
    assert np.isnan(low[1])
    assert np.isnan(high[1])


@pytest.mark.parametrize(("draws", "confidence"), [(10, 0.95), (100, 1.0), (100, 0.0)])
def test_too_few_draws_are_refused(draws, confidence):
    with pytest.raises(ValueError, match="draws"):
        bootstrap_interval(np.zeros((draws, 1)), confidence)
