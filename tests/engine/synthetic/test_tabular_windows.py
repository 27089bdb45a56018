import numpy as np
import pytest

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.tabular_windows import WindowCopula
from engine.synthetic.validation_distances import clustering, leverage


def panic(n: int, seed: int, length: int = 30) -> np.ndarray:
    """Stochastic volatility with leverage, a wick and a volume that follow it."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0.0, 0.4, n)
    windows = np.empty((n, length, 3))
    for t in range(length):
        z = rng.standard_normal(n)
        windows[:, t, 0] = np.exp(level) * z
        windows[:, t, 1] = level + rng.normal(0.0, 0.6, n)
        windows[:, t, 2] = 0.8 * level + 0.2 * np.abs(z) + rng.normal(0.0, 0.3, n)
        level = 0.9 * level - 0.25 * z + rng.normal(0.0, 0.2, n)
    return windows


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return panic(500, 0)


@pytest.fixture(scope="module")
def copula(windows: np.ndarray) -> WindowCopula:
    return WindowCopula(windows)


def draw(copula: WindowCopula, count: int, seed: int) -> np.ndarray:
    normal = np.random.default_rng(seed).standard_normal((count, len(copula.correlation)))
    return copula.windows(normal @ np.linalg.cholesky(copula.correlation).T)


def test_windows_come_back_from_their_latents(copula: WindowCopula, windows: np.ndarray):
    back = copula.windows(copula.latents(windows, 1))
    np.testing.assert_array_equal(back[:, :, 0] >= 0, windows[:, :, 0] >= 0)
    np.testing.assert_allclose(back, windows, rtol=1e-6, atol=1e-9)


def test_latents_have_the_correlation_that_was_fitted(copula: WindowCopula):
    drawn = draw(copula, 2000, 2)
    found = np.corrcoef(copula.latents(drawn, 3), rowvar=False)
    assert np.abs(found - copula.correlation).max() < 0.15
    assert np.abs(found - copula.correlation).mean() < 0.03


def test_time_structure_survives(copula: WindowCopula, windows: np.ndarray):
    drawn = draw(copula, 2000, 4)
    rng = np.random.default_rng(5)
    shuffled = np.take_along_axis(drawn, rng.random(drawn.shape[:2]).argsort(axis=1)[:, :, None], axis=1)
    fresh = panic(2000, 6)
    for figure in (lambda w: clustering(w, 1), lambda w: clustering(w, 3), leverage):
        assert abs(figure(shuffled) - figure(fresh)) > 0.08
        assert abs(figure(drawn) - figure(fresh)) < 0.6 * abs(figure(shuffled) - figure(fresh))


def test_ageing_survives():
    windows = panic(400, 7)
    windows[:, :, 2] -= 0.1 * np.arange(30)
    drawn = draw(WindowCopula(windows), 400, 8)
    np.testing.assert_allclose(drawn[:, :, 2].mean(axis=0), windows[:, :, 2].mean(axis=0), atol=0.35)


def test_margins_survive_also_where_falls_are_larger():
    windows = panic(500, 9)
    windows[:, :, 0] = np.where(windows[:, :, 0] < 0.0, 2.0, 1.0) * windows[:, :, 0]
    drawn = draw(WindowCopula(windows), 500, 10)
    for side in (drawn[:, :, 0] < 0.0, drawn[:, :, 0] >= 0.0):
        falls = drawn[side][0, 0] < 0.0
        real = windows[:, :, 0][(windows[:, :, 0] < 0.0) == falls]
        assert np.median(drawn[:, :, 0][side]) == pytest.approx(np.median(real), rel=0.1)
    assert (drawn[:, :, 0] < 0.0).mean() == pytest.approx((windows[:, :, 0] < 0.0).mean(), abs=0.02)


def test_few_windows_are_refused_with_the_number_needed():
    with pytest.raises(NotEnoughDataError, match="39 windows; a generator needs at least 40"):
        WindowCopula(panic(39, 0))


def test_broken_windows_are_refused():
    broken = panic(50, 0)
    broken[3, 4, 1] = np.inf
    with pytest.raises(DataError, match="NaN or infinity"):
        WindowCopula(broken)
    broken[:, :, 1] = 1.0
    with pytest.raises(DataError, match="constant"):
        WindowCopula(broken)
    with pytest.raises(NotEnoughDataError, match="20 of each sign"):
        WindowCopula(np.abs(panic(50, 0)))
    with pytest.raises(ValueError, match="must be"):
        WindowCopula(np.zeros((50, 30)))
