import numpy as np
import pytest
from scipy.stats import ks_2samp

from engine.errors import NotEnoughDataError
from engine.synthetic.validation_distances import clustering
from engine.synthetic.vine_copula import VineCopulaGenerator


def panic(n: int, seed: int, length: int = 8) -> np.ndarray:
    """Volatility that wanders, and a volume that follows it."""
    rng = np.random.default_rng(seed)
    level = np.cumsum(0.6 * rng.standard_normal((n, length)), axis=1)
    returns = np.exp(level) * rng.standard_normal((n, length))
    return np.stack([returns, level + 0.3 * rng.standard_normal((n, length))], axis=2)


@pytest.fixture(scope="module")
def fitted() -> VineCopulaGenerator:
    return VineCopulaGenerator(windows_at_most=200).fit(panic(300, 0), 0)


def test_windows_have_shape_margins_and_clustering_of_the_law(fitted: VineCopulaGenerator):
    drawn, fresh = fitted.sample(600, 1), panic(600, 2)
    assert drawn.shape == fresh.shape
    assert np.isfinite(drawn).all()
    for channel in (0, 1):
        assert ks_2samp(drawn[:, :, channel].ravel(), fresh[:, :, channel].ravel()).statistic < 0.08
    order = np.random.default_rng(3).random(drawn.shape[:2]).argsort(axis=1)
    shuffled = np.take_along_axis(drawn, order[:, :, None], axis=1)
    assert abs(clustering(drawn, 1) - clustering(fresh, 1)) < 0.6 * abs(
        clustering(shuffled, 1) - clustering(fresh, 1)
    )


def test_same_seed_same_windows(fitted: VineCopulaGenerator):
    np.testing.assert_array_equal(fitted.sample(5, 1), fitted.sample(5, 1))
    assert not np.array_equal(fitted.sample(5, 1), fitted.sample(5, 2))


def test_misuse_is_refused():
    with pytest.raises(NotEnoughDataError, match="needs at least 40"):
        VineCopulaGenerator().fit(panic(10, 0), 0)
    with pytest.raises(ValueError, match="call fit first"):
        VineCopulaGenerator().sample(3, 0)
    with pytest.raises(ValueError, match="depth = 1 must be at least 2"):
        VineCopulaGenerator(depth=1)
