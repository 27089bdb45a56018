from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from engine.portfolio.risk_budget import (
    NotConvergedError,
    budget_residual,
    inverse_volatility,
    risk_budget_weights,
    risk_contributions,
)

VOLATILITY = np.array([0.1, 0.2, 0.3])
CORRELATION = np.array([[1, 0.2, 0.3], [0.2, 1, 0.5], [0.3, 0.5, 1]])
COVARIANCE = CORRELATION * np.outer(VOLATILITY, VOLATILITY)


def random_covariance(rng: np.random.Generator, n: int) -> np.ndarray:
    loading = rng.normal(0.3, 1.0, (n, 3))
    covariance = loading @ loading.T + np.diag(rng.uniform(0.2, 2.0, n))
    scale = np.exp(rng.normal(0, 1, n))
    return covariance * np.outer(scale, scale)


@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.0, 0.5, 0.99])
def test_two_assets_by_inverse_volatility_whatever_the_correlation(rho):
    s1, s2 = 0.13, 0.55
    weights = risk_budget_weights([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]])
    np.testing.assert_allclose(weights, [s2 / (s1 + s2), s1 / (s1 + s2)], atol=1e-12)


def test_three_assets_known_weights():
    np.testing.assert_allclose(
        risk_budget_weights(COVARIANCE), [0.56928164, 0.26343197, 0.16728639], atol=5e-9
    )
    np.testing.assert_allclose(
        risk_budget_weights(COVARIANCE, [0.5, 0.3, 0.2]), [0.66811703, 0.22901158, 0.10287139], atol=5e-9
    )


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_budgets_are_met(seed, n):
    rng = np.random.default_rng(seed)
    covariance, budgets = random_covariance(rng, n), rng.uniform(0.05, 1.0, n)
    signs = rng.choice([-1.0, 1.0], n)
    weights = risk_budget_weights(covariance, budgets, signs)
    np.testing.assert_allclose(risk_contributions(weights, covariance), budgets / budgets.sum(), atol=1e-10)
    assert budget_residual(weights, covariance, budgets) <= 1e-10
    np.testing.assert_array_equal(np.sign(weights), signs)
    assert np.abs(weights).sum() == pytest.approx(1.0, abs=1e-12)


def test_thirty_assets_to_a_hundred_millionth_and_free_of_scale():
    covariance = random_covariance(np.random.default_rng(0), 30)
    weights = risk_budget_weights(covariance)
    assert np.abs(risk_contributions(weights, covariance) * 30 - 1).max() <= 1e-8
    np.testing.assert_allclose(risk_budget_weights(covariance * 1e-8), weights, atol=1e-8)


@pytest.mark.parametrize("n", [10, 50, 200, 500])
def test_budgets_are_met_to_ten_digits_at_any_size(n):
    rng = np.random.default_rng(17 + n)
    load = np.c_[rng.uniform(0.3, 1.2, n), rng.normal(0, 0.4, (n, 4))]
    returns = 0.8 * rng.standard_t(5, (1000, 5)) @ load.T + rng.standard_t(5, (1000, n))
    covariance = np.cov(returns * np.exp(rng.normal(np.log(0.02), 0.6, n)), rowvar=False)
    weights = risk_budget_weights(covariance)
    shares = risk_contributions(weights, covariance)
    assert np.abs(shares * n - 1).max() <= 1e-10
    assert budget_residual(weights, covariance) == np.abs(shares / (1 / n) - 1).max()


@given(st.integers(0, 10_000), st.integers(2, 15), st.floats(1e-12, 1e6))
@settings(max_examples=60, deadline=None)
def test_scale_does_not_matter_and_order_only_reorders(seed, n, scale):
    rng = np.random.default_rng(seed)
    covariance, budgets = random_covariance(rng, n), rng.uniform(0.05, 1.0, n)
    weights, order = risk_budget_weights(covariance, budgets), rng.permutation(n)
    np.testing.assert_allclose(risk_budget_weights(covariance * scale, budgets * 7), weights, rtol=1e-8)
    permuted = risk_budget_weights(covariance[np.ix_(order, order)], budgets[order])
    np.testing.assert_allclose(permuted, weights[order], rtol=1e-8)


def test_a_generic_minimiser_with_an_absolute_tolerance_stops_at_equal_weights():
    """Hourly returns: squared differences of risks of 1e-5 are below any such tolerance from the start."""
    hourly = COVARIANCE * 1e-5

    def squared_differences(w):
        parts = w * (hourly @ w)
        return ((parts - parts.mean()) ** 2).sum()

    wrong = minimize(
        squared_differences, np.full(3, 1 / 3), method="SLSQP", bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    ).x  # fmt: skip
    np.testing.assert_allclose(wrong, 1 / 3, atol=1e-3)
    assert budget_residual(wrong, hourly) > 0.5
    assert budget_residual(risk_budget_weights(hourly), hourly) <= 1e-10


def test_inverse_volatility_is_not_risk_parity_unless_correlations_are_equal():
    assert budget_residual(inverse_volatility(COVARIANCE), COVARIANCE) > 0.09
    equal = (0.4 + 0.6 * np.eye(3)) * np.outer(VOLATILITY, VOLATILITY)
    assert budget_residual(inverse_volatility(equal), equal) <= 1e-12


def test_agrees_with_a_general_minimiser_of_the_objective():
    covariance, budgets = random_covariance(np.random.default_rng(4), 6), np.arange(1.0, 7.0) / 21
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    best = minimize(
        lambda u: 0.5 * np.exp(u) @ correlation @ np.exp(u) - budgets @ u, np.zeros(6), method="BFGS",
        options={"gtol": 1e-9},
    ).x  # fmt: skip
    expected = np.exp(best) / scale
    np.testing.assert_allclose(risk_budget_weights(covariance, budgets), expected / expected.sum(), rtol=1e-5)


def test_zero_budget_is_zero_weight_even_for_a_hedge():
    covariance = np.array([[1.0, -0.8, 0.1], [-0.8, 1.0, 0.0], [0.1, 0.0, 1.0]])
    weights = risk_budget_weights(covariance, [0.5, 0.0, 0.5])
    assert weights[1] == 0.0
    np.testing.assert_allclose(risk_contributions(weights, covariance), [0.5, 0.0, 0.5], atol=1e-12)


def test_sides_turn_the_correlations():
    long_short = risk_budget_weights(COVARIANCE, signs=[1, -1, 1])
    flip = np.diag([1.0, -1.0, 1.0])
    np.testing.assert_allclose(np.abs(long_short), risk_budget_weights(flip @ COVARIANCE @ flip), atol=1e-12)


def test_singular_covariance_is_solved_and_a_perfect_hedge_refused():
    rng = np.random.default_rng(1)
    returns = rng.standard_normal((30, 40)) + rng.standard_normal((30, 1))
    covariance = np.cov(returns, rowvar=False)
    weights = risk_budget_weights(covariance)
    assert np.abs(risk_contributions(weights, covariance) * 40 - 1).max() <= 1e-10
    with pytest.raises(NotConvergedError, match="missed by"):
        risk_budget_weights([[1.0, -1.0], [-1.0, 1.0]], sweeps=200)


def test_what_overflows_is_a_failure_and_not_weights_of_nan():
    impossible = [[1e-300, 1.0], [1.0, 1e-300]]
    with pytest.raises(NotConvergedError, match="missed by nan"):
        risk_budget_weights(impossible, sweeps=50)


def test_inverse_volatility_is_risk_budgeting_without_correlation():
    uncorrelated, budgets = np.diag(VOLATILITY**2), [0.5, 0.3, 0.2]
    expected = risk_budget_weights(uncorrelated, budgets, [1, -1, 1])
    np.testing.assert_allclose(inverse_volatility(uncorrelated, budgets, [1, -1, 1]), expected, atol=1e-12)


def test_contributions_of_nothing_are_nothing():
    np.testing.assert_array_equal(risk_contributions(np.zeros(3), COVARIANCE), np.zeros(3))
    assert budget_residual(np.zeros(3), COVARIANCE) == np.inf


@pytest.mark.parametrize(
    ("covariance", "budgets", "signs", "told"),
    [
        (np.zeros((2, 3)), None, None, "n, n"),
        (COVARIANCE, [1.0, 1.0], None, "n, n"),
        (np.diag([1.0, 0.0]), None, None, "positive variances"),
        (np.diag([1.0, np.nan]), None, None, "finite"),
        (COVARIANCE, [1.0, -1.0, 1.0], None, "non-negative"),
        (COVARIANCE, [0.0, 0.0, 0.0], None, "not all zero"),
        (COVARIANCE, None, [1, 0, 1], "signs"),
    ],
)
def test_bad_problems_are_refused(covariance, budgets, signs, told):
    for solve in (risk_budget_weights, inverse_volatility):
        with pytest.raises(ValueError, match=told):
            solve(covariance, budgets, signs)
