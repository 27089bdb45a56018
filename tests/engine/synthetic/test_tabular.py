import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import ks_2samp

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.tabular import CategoryCopula, EmpiricalMargins, symmetric_power


def skewed_rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    category = rng.integers(0, 2, n)
    common = rng.standard_normal((n, 1))
    sign = np.where(category, -1.0, 1.0)[:, None]
    rows = np.exp(np.concatenate([common, 0.8 * sign * common + 0.6 * rng.standard_normal((n, 1))], axis=1))
    return rows, category


def test_power_of_a_matrix_is_its_root():
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    root = symmetric_power(matrix, 0.5)
    np.testing.assert_allclose(root @ root, matrix)
    np.testing.assert_allclose(symmetric_power(matrix, -1.0), np.linalg.inv(matrix))


def test_scores_of_the_sample_are_quantiles_of_mid_ranks():
    margins = EmpiricalMargins.fit(np.array([[3.0], [1.0], [2.0], [2.0]]))
    expected = ndtri(np.array([7.0, 1.0, 4.0, 4.0]) / 8.0)
    np.testing.assert_allclose(margins.scores(np.array([[3.0], [1.0], [2.0], [2.0]]))[:, 0], expected)


def test_scores_beyond_the_sample_stay_finite_and_come_back_as_its_ends():
    margins = EmpiricalMargins.fit(np.arange(10.0)[:, None])
    scores = margins.scores(np.array([[-1e9], [1e9]]))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(margins.rows(scores)[:, 0], [0.0, 9.0])


def test_rows_come_back_from_their_latents():
    rows, category = skewed_rows(400, 0)
    copula = CategoryCopula(rows, category)
    np.testing.assert_allclose(copula.rows(copula.latents(rows, category), category), rows, rtol=1e-8)


def test_latents_have_the_average_correlation_in_every_category():
    rows, category = skewed_rows(1000, 1)
    copula = CategoryCopula(rows, category)
    average = copula.root @ copula.root
    for own in (category == 0, category == 1):
        np.testing.assert_allclose(np.corrcoef(copula.latents(rows, category)[own].T), average, atol=1e-6)
    pooled = np.corrcoef(EmpiricalMargins.fit(rows).scores(rows).T)[0, 1]
    assert abs(pooled) < 0.2  # what one copula for both would have seen of correlations of .8 and -.8


def test_each_category_gets_back_its_own_correlation():
    rows, category = skewed_rows(1000, 2)
    copula = CategoryCopula(rows, category)
    noise = np.random.default_rng(3).standard_normal(rows.shape) @ copula.root
    drawn = np.log(copula.rows(noise, category))
    assert np.corrcoef(drawn[category == 0].T)[0, 1] > 0.7
    assert np.corrcoef(drawn[category == 1].T)[0, 1] < -0.7


def test_training_margins_are_put_back_and_ranks_stay():
    rows, category = skewed_rows(600, 4)
    copula = CategoryCopula(rows, category)
    wrong = np.tanh(np.log(rows)) * 7.0
    restored = copula.with_training_margins(wrong, category)
    assert ks_2samp(restored[:, 0], rows[:, 0]).statistic < 0.01
    own = category == 1
    np.testing.assert_array_equal(restored[own, 1].argsort(), wrong[own, 1].argsort())


def test_few_rows_are_refused_with_the_number_needed():
    rows, category = skewed_rows(50, 5)
    category[:] = 0
    category[:3] = 1
    with pytest.raises(NotEnoughDataError, match=r"category 1 has 3 rows; 4 are needed"):
        CategoryCopula(rows, category)


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "NaN"), (1.0, "constant in category 0")])
def test_broken_columns_are_refused(value: float, reason: str):
    rows, category = skewed_rows(50, 6)
    rows[:, 1] = value
    with pytest.raises(DataError, match=reason):
        CategoryCopula(rows, category)
