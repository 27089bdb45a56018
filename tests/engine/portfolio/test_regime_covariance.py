from __future__ import annotations

import numpy as np
import pytest

from engine.errors import NotEnoughDataError
from engine.portfolio.covariance import (
    estimate_covariance,
    ewma_covariance,
    pairwise_correlation,
    shared_evidence,
    to_correlation,
)
from engine.portfolio.regime_covariance import regime_covariance

SETTINGS = {"window": 180, "half_life": 30.0, "min_history": 60, "stress_correlation": 0.8}
TREND, RANGE, PANIC = np.eye(3)


def two_worlds(seed: int, periods: int = 4000, assets: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Calm days of correlation 0.2 and panics of 0.9 with three times the volatility, in runs of fifty."""
    rng = np.random.default_rng(seed)
    panic = (np.arange(periods) // 50) % 4 == 3
    rho = np.where(panic, 0.9, 0.2)[:, None]
    returns = np.sqrt(rho) * rng.standard_normal((periods, 1))
    returns = returns + np.sqrt(1 - rho) * rng.standard_normal((periods, assets))
    returns *= np.where(panic, 0.06, 0.02)[:, None]
    return returns, np.where(panic[:, None], PANIC, RANGE)


def off_diagonal(covariance: np.ndarray) -> np.ndarray:
    return to_correlation(covariance)[~np.eye(len(covariance), dtype=bool)]


def test_each_regime_has_its_own_correlation_and_volatility():
    returns, regimes = two_worlds(0)
    for now, rho, volatility in ((RANGE, 0.2, 0.02), (PANIC, 0.9, 0.06)):
        found = regime_covariance(returns, np.vstack([regimes[:-1], now]), **SETTINGS)
        np.testing.assert_allclose(off_diagonal(found), rho, atol=0.05)
        np.testing.assert_allclose(np.sqrt(np.diag(found)), volatility, rtol=0.1)


def test_one_estimate_for_all_days_is_wrong_in_both():
    """The version without regimes: too loose for a panic, too tight for calm days."""
    returns, _ = two_worlds(0)
    plain = off_diagonal(estimate_covariance(returns, half_life=1000.0, min_history=60))
    assert (plain < 0.8).all()
    assert (plain > 0.4).all()


def test_the_forecast_mixes_the_regimes_by_their_probability_now():
    returns, regimes = two_worlds(1)
    calm, panic, half = (
        regime_covariance(returns, np.vstack([regimes[:-1], now]), **SETTINGS)
        for now in (RANGE, PANIC, (RANGE + PANIC) / 2)
    )
    # the last row's weight in each regime is one day in a thousand
    np.testing.assert_allclose(half, (calm + panic) / 2, rtol=5e-3)


def test_a_panic_never_seen_leans_on_the_stress_correlation():
    returns, _ = two_worlds(2, 150)
    never = np.tile(RANGE, (150, 1))
    found = regime_covariance(returns, np.vstack([never[:-1], PANIC]), **SETTINGS)
    np.testing.assert_allclose(off_diagonal(found), 0.8, atol=1e-12)
    whole = estimate_covariance(returns, half_life=30.0, min_history=60)
    assert (np.diag(found) >= np.diag(whole) - 1e-18).all()
    plain = off_diagonal(estimate_covariance(returns, half_life=30.0, min_history=60))
    assert (off_diagonal(found) > plain).all()


def test_in_a_panic_no_variance_is_below_that_of_all_days():
    """The calmer panics of the past must not talk down a market that is wild already."""
    returns, regimes = two_worlds(2, 400)
    returns[-40:] *= 20.0
    found = regime_covariance(returns, np.vstack([regimes[:-1], PANIC]), **SETTINGS)
    whole = estimate_covariance(returns[-180:], half_life=30.0, min_history=60)
    assert (np.diag(found) >= np.diag(whole) * (1 - 1e-12)).all()


def test_an_unknown_present_is_a_panic_and_an_unknown_past_belongs_to_none():
    returns, regimes = two_worlds(3)
    unknown = np.vstack([regimes[:-1], np.full(3, np.nan)])
    as_panic = np.vstack([regimes[:-1], PANIC])
    found, stressed = (regime_covariance(returns, r, **SETTINGS) for r in (unknown, as_panic))
    np.testing.assert_allclose(found, stressed, rtol=5e-3)
    holes = regimes.copy()
    holes[:2000] = np.nan
    np.testing.assert_array_equal(
        regime_covariance(returns, holes, **SETTINGS),
        regime_covariance(returns[2000:], regimes[2000:], **SETTINGS),
    )


@pytest.mark.parametrize("now", [TREND, RANGE, PANIC, np.array([0.3, 0.3, 0.4])])
def test_young_assets_and_holes_still_give_a_positive_definite_matrix(now):
    returns, regimes = two_worlds(4, 400, 12)
    returns[:300, 3] = np.nan
    returns[np.random.default_rng(0).random(returns.shape) < 0.05] = np.nan
    found = regime_covariance(returns, np.vstack([regimes[:-1], now]), **SETTINGS)
    assert np.linalg.eigvalsh(found)[0] > 0
    np.testing.assert_array_equal(found, found.T)


def test_scale_only_scales_and_the_order_of_assets_does_not_matter():
    returns, regimes = two_worlds(5, 600)
    found = regime_covariance(returns, regimes, **SETTINGS)
    np.testing.assert_allclose(
        regime_covariance(returns * 1e-4, regimes, **SETTINGS), found * 1e-8, rtol=1e-9
    )
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(
        regime_covariance(returns[:, order], regimes, **SETTINGS), found[np.ix_(order, order)], rtol=1e-9
    )


@pytest.mark.parametrize(
    ("regimes", "told"),
    [
        (np.ones((10, 3)) / 3, "have shape"),
        (np.ones((600, 2)) / 2, "have shape"),
        (np.ones((600, 3)), "sum to 1"),
        (np.tile([1.5, -0.5, 0.0], (600, 1)), "non-negative"),
    ],
)
def test_what_are_no_probabilities_is_refused(regimes, told):
    with pytest.raises(ValueError, match=told):
        regime_covariance(two_worlds(6, 600)[0], regimes, **SETTINGS)


class TestWeights:
    def test_equal_weights_are_none(self):
        returns, _ = two_worlds(7, 300)
        returns[:100, 2] = np.nan
        np.testing.assert_allclose(
            pairwise_correlation(returns, np.full(300, 0.3), min_history=60),
            pairwise_correlation(returns, min_history=60),
            rtol=1e-12,
        )

    def test_weights_of_nought_and_one_choose_rows(self):
        returns, regimes = two_worlds(8, 1000)
        panic = regimes[:, 2]
        rows = panic == 1.0
        np.testing.assert_allclose(
            pairwise_correlation(returns, panic, min_history=60),
            pairwise_correlation(returns[rows], min_history=60),
            rtol=1e-9,
        )

    def test_evidence_counts_shared_periods(self):
        returns, regimes = two_worlds(9, 400)
        returns[:300, 1] = np.nan
        evidence = shared_evidence(returns, np.ones(400))
        assert (evidence[0, 0], evidence[0, 1]) == (400.0, 100.0)
        decay = 0.9 ** np.arange(400)
        assert shared_evidence(returns, decay)[0, 0] == pytest.approx(1.9 / 0.1)
        assert shared_evidence(returns, np.zeros(400))[0, 0] == 0.0
        with pytest.raises(NotEnoughDataError, match="share"):
            pairwise_correlation(returns, regimes[:, 0], min_history=2)


class TestEwma:
    def test_is_the_recursion_of_riskmetrics(self):
        returns, _ = two_worlds(10, 1500, 3)
        decay = 0.5 ** (1 / 11.2)
        recursive = np.zeros((3, 3))
        for row in returns:
            recursive = decay * recursive + (1 - decay) * np.outer(row, row)
        found = ewma_covariance(returns, half_life=11.2, min_history=60)
        np.testing.assert_allclose(found, recursive, rtol=1e-9)

    def test_answers_faster_than_the_window(self):
        returns, _ = two_worlds(11, 200)
        returns[-50:] = returns[-50:, :1] + 0.001 * returns[-50:]
        quick = off_diagonal(ewma_covariance(returns, half_life=11.2, min_history=60)).mean()
        slow = off_diagonal(estimate_covariance(returns, half_life=11.2, min_history=60)).mean()
        assert quick > slow + 0.2

    def test_more_assets_than_evidence_is_still_definite(self):
        """The plain matrix of 40 assets from 30 days is singular: no risk where there is some."""
        rng = np.random.default_rng(12)
        returns = rng.standard_normal((30, 40)) + rng.standard_normal((30, 1))
        assert np.linalg.eigvalsh(np.cov(returns, rowvar=False))[0] < 1e-10
        assert np.linalg.eigvalsh(ewma_covariance(returns, half_life=11.2, min_history=20))[0] > 1e-8
        assert np.linalg.eigvalsh(estimate_covariance(returns, half_life=11.2, min_history=20))[0] > 1e-3

    def test_a_pair_needs_shared_periods(self):
        returns, _ = two_worlds(13, 100)
        returns[:50, 0] = np.nan
        returns[50:, 1] = np.nan
        with pytest.raises(NotEnoughDataError, match="share 0 returns"):
            ewma_covariance(returns, half_life=11.2, min_history=30)


def test_missing_bars_filled_with_zero_bias_correlation_down():
    """Epps: a missing return set to 0 pairs a move with none. Shared periods alone do not."""
    rng = np.random.default_rng(14)
    common = rng.standard_normal((4000, 1))
    returns = np.sqrt(0.7) * common + np.sqrt(0.3) * rng.standard_normal((4000, 2))
    holes = rng.random(4000) < 0.4
    returns[holes, 1] = np.nan
    found = pairwise_correlation(returns, min_history=60)[0, 1]
    filled = np.corrcoef(np.nan_to_num(returns).T)[0, 1]
    assert found == pytest.approx(0.7, abs=0.03)
    assert filled < 0.6
