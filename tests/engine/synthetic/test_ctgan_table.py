import numpy as np
import pytest

from engine.synthetic.ctgan_table import CTGANTable


def bent(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Second column is the square of the first, and noise: uncorrelated, so that a copula sees nothing."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    rows = np.stack([np.exp(x), x**2 + 0.3 * rng.standard_normal(n), rng.standard_normal(n)], axis=1)
    return rows, rng.choice(2, n, p=[0.8, 0.2])


def bend(rows: np.ndarray) -> float:
    return float(np.corrcoef(np.log(rows[:, 0]) ** 2, rows[:, 1])[0, 1])


@pytest.fixture(scope="module")
def fitted() -> CTGANTable:
    return CTGANTable(updates=3, head_start=2, ratio_steps=250).fit(*bent(1200, 0), seed=0)


def test_resampling_finds_what_the_copula_misses(fitted: CTGANTable):
    copula = CTGANTable(updates=0, candidates=1).fit(*bent(1200, 0), seed=0)
    assert abs(bend(copula.sample(1000, 1)[0])) < 0.3
    assert bend(fitted.sample(1000, 1)[0]) > 0.5


def test_shares_of_categories_and_margins_are_those_of_training(fitted: CTGANTable):
    rows, categories = fitted.sample(2000, 2)
    train = bent(1200, 0)[0]
    assert rows.shape == (2000, 3)
    assert categories.mean() == pytest.approx(0.2, abs=0.03)
    np.testing.assert_allclose(np.median(rows, axis=0), np.median(train, axis=0), atol=0.1)


def test_rows_come_in_random_order(fitted: CTGANTable):
    categories = fitted.sample(1000, 3)[1]
    assert abs(categories[:500].mean() - categories[500:].mean()) < 0.08


def test_no_training_row_is_copied(fitted: CTGANTable):
    train = bent(1200, 0)[0]
    rows = fitted.sample(300, 4)[0]
    assert not (rows[:, None] == train[None]).all(axis=2).any()


def test_same_seed_same_sample(fitted: CTGANTable):
    first, again, other = (fitted.sample(50, seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="fit"):
        CTGANTable().sample(3, 0)
    with pytest.raises(ValueError, match="candidates = 0"):
        CTGANTable(candidates=0)
