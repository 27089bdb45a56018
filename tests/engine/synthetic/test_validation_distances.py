import numpy as np
import pytest
from scipy.stats import ks_2samp, norm

from engine.synthetic.validation_distances import (
    DISTANCES,
    clustering,
    correlation_distance,
    leverage,
    margin_distance,
    tail_ratio,
    volatility_distance,
)

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((400, 30, 2))


def clustered_path(rng: np.random.Generator, bars: int = 1_000) -> np.ndarray:
    """Returns whose log volatility is autoregressive."""
    level, path = 0.0, np.empty(bars)
    for t in range(bars):
        level = 0.97 * level + 0.2 * rng.standard_normal()
        path[t] = np.exp(level) * rng.standard_normal()
    return path


def test_a_sample_is_at_no_distance_from_itself() -> None:
    assert all(distance(NORMAL, NORMAL) == 0.0 for distance in DISTANCES.values())


def test_a_shift_of_a_normal_law_has_a_known_distance() -> None:
    shifted = NORMAL + np.array([0.0, 1.0])
    assert margin_distance(NORMAL, shifted, 0) == 0.0
    assert margin_distance(NORMAL, shifted, 1) == pytest.approx(2 * norm.cdf(0.5) - 1, abs=0.02)


def test_rank_correlations_do_not_see_a_monotone_change() -> None:
    mixed = NORMAL @ np.array([[1.0, 0.8], [0.0, 0.6]])
    assert correlation_distance(mixed, np.exp(mixed)) == pytest.approx(0.0, abs=1e-12)
    # Spearman's correlation of a normal pair: 6 / pi asin(r / 2).
    assert correlation_distance(mixed, NORMAL) == pytest.approx(6 / np.pi * np.arcsin(0.4), abs=0.03)


def test_clustering_tells_order_from_level() -> None:
    levels = np.exp(RNG.standard_normal((400, 1, 1)))
    assert clustering(NORMAL * levels, 1) == pytest.approx(clustering(NORMAL, 1), abs=1e-12)
    # Dividing by the mean of 30 makes any two bars slightly opposite: -1 / 29.
    assert clustering(NORMAL, 1) == pytest.approx(-1 / 29, abs=0.02)
    slow = NORMAL * np.exp(np.cumsum(0.3 * RNG.standard_normal((400, 30, 1)), axis=1))
    assert clustering(slow, 1) > clustering(slow, 3) > 0.1


def test_leverage_is_negative_where_falls_raise_volatility() -> None:
    returns = NORMAL.copy()
    for step in range(1, 30):
        returns[:, step, 0] *= np.exp(-0.4 * np.sign(returns[:, step - 1, 0]))
    assert leverage(returns) < -0.1
    assert leverage(-returns) == pytest.approx(-leverage(returns))
    assert abs(leverage(NORMAL)) < 0.03


def test_tail_ratio_of_a_normal_law() -> None:
    assert tail_ratio(NORMAL) == pytest.approx(np.log(norm.ppf(0.9975) / norm.ppf(0.75)), abs=0.05)
    assert tail_ratio(RNG.standard_t(3, (400, 30, 1))) > tail_ratio(NORMAL) + 0.4


def test_the_volatility_of_windows_is_not_that_of_bars() -> None:
    levels = np.exp(0.5 * RNG.standard_normal((400, 1, 1)))
    wilder = NORMAL * levels
    shuffled = RNG.permutation(wilder.reshape(-1, 2)).reshape(wilder.shape)
    assert margin_distance(wilder, shuffled, 0) == 0.0
    assert volatility_distance(wilder, shuffled) > 0.25


def test_p_values_reject_two_paths_of_one_clustered_law() -> None:
    pairs = [(clustered_path(RNG), clustered_path(RNG)) for _ in range(30)]
    rejected = np.mean([ks_2samp(a, b).pvalue < 0.05 for a, b in pairs])
    assert rejected > 0.3
