import numpy as np
import pytest
from scipy.stats import ks_2samp

from engine.errors import NotEnoughDataError
from engine.synthetic.ctgan_generator import CTGANGenerator
from engine.synthetic.validation_copies import copied_excess, distances
from engine.synthetic.validation_distances import clustering, leverage


def panic(n: int, seed: int, length: int = 16) -> np.ndarray:
    """Stochastic volatility with leverage, and a volume that follows it."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0.0, 0.4, n)
    windows = np.empty((n, length, 2))
    for t in range(length):
        z = rng.standard_normal(n)
        windows[:, t, 0] = np.exp(level) * z
        windows[:, t, 1] = 0.8 * level + 0.2 * np.abs(z) + rng.normal(0.0, 0.3, n)
        level = 0.9 * level - 0.3 * z + rng.normal(0.0, 0.2, n)
    return windows


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return panic(300, 0)


@pytest.fixture(scope="module")
def fitted(train: np.ndarray) -> CTGANGenerator:
    return CTGANGenerator(components=4, updates=3, head_start=2).fit(train, 0)


def test_it_draws_as_many_windows_as_asked_for(fitted: CTGANGenerator):
    for count in (1, 7):
        drawn = fitted.sample(count, 0)
        assert drawn.shape == (count, 16, 2)
        assert np.isfinite(drawn).all()


def test_time_structure_is_nearer_to_the_truth_than_a_shuffled_one(fitted: CTGANGenerator):
    drawn, fresh = fitted.sample(1000, 1), panic(1000, 2)
    order = np.random.default_rng(3).random(drawn.shape[:2]).argsort(axis=1)
    shuffled = np.take_along_axis(drawn, order[:, :, None], axis=1)
    for figure in (lambda w: clustering(w, 1), leverage):
        assert abs(figure(drawn) - figure(fresh)) < 0.6 * abs(figure(shuffled) - figure(fresh))


def test_margins_and_window_volatility_are_those_of_the_law(fitted: CTGANGenerator):
    drawn, fresh = fitted.sample(800, 4), panic(800, 5)
    for channel in (0, 1):
        assert ks_2samp(drawn[:, :, channel].ravel(), fresh[:, :, channel].ravel()).statistic < 0.06
    volatility = [np.log((w[:, :, 0] ** 2).mean(axis=1)) for w in (drawn, fresh)]
    assert ks_2samp(*volatility).statistic < 0.15


def test_nothing_is_learnt_by_heart(fitted: CTGANGenerator, train: np.ndarray):
    holdout = panic(300, 6)
    near = distances(holdout, train, train)
    assert copied_excess(distances(fitted.sample(300, 7), train, train), near) < 0.05
    noisy = train + 0.01 * np.random.default_rng(8).standard_normal(train.shape)
    assert copied_excess(distances(noisy, train, train), near) > 0.9


def test_same_seed_same_windows(fitted: CTGANGenerator, train: np.ndarray):
    again = CTGANGenerator(components=4, updates=3, head_start=2).fit(train, 0)
    np.testing.assert_array_equal(again.sample(9, 5), fitted.sample(9, 5))
    assert not np.array_equal(fitted.sample(9, 5), fitted.sample(9, 6))


def test_without_components_and_candidates_it_is_the_copula(train: np.ndarray):
    copula = CTGANGenerator(components=0, candidates=1).fit(train, 0)
    assert copula.sample(5, 1).shape == (5, 16, 2)


def test_few_windows_are_refused_with_the_number_needed():
    with pytest.raises(NotEnoughDataError, match="12 windows; a generator needs at least 40"):
        CTGANGenerator().fit(panic(12, 0), 0)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="call fit first"):
        CTGANGenerator().sample(3, 0)
    with pytest.raises(ValueError, match="updates = 0"):
        CTGANGenerator(updates=0)
