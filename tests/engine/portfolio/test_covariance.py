from __future__ import annotations

import numpy as np
import pytest
from skfolio.moments import EWCovariance, LedoitWolf

from engine.errors import NotEnoughDataError
from engine.portfolio.covariance import estimate_covariance, pairwise_correlation, usable_assets


def market(seed: int, periods: int = 250, assets: int = 8, beta: float = 1.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((periods, 1))
    return (rng.standard_normal((periods, assets)) + beta * common) * np.linspace(0.01, 0.08, assets)


def correlation_of(covariance: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


def test_volatility_is_exponentially_weighted():
    returns = market(0)
    age = np.arange(250)[::-1]
    weight = 0.5 ** (age / 11.2)
    expected = np.sqrt(weight @ returns**2 / weight.sum())
    found = np.sqrt(np.diag(estimate_covariance(returns, half_life=11.2, min_history=60)))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    library = EWCovariance(half_life=11.2).fit(returns).covariance_
    np.testing.assert_allclose(found, np.sqrt(np.diag(library)), rtol=1e-10)


def test_volatility_of_an_asset_with_holes_is_weighted_by_its_own_returns():
    returns = market(0)
    returns[::2, 3] = np.nan
    own = returns[1::2, 3]
    weight = 0.5 ** (np.arange(own.size)[::-1] / 11.2)
    found = estimate_covariance(returns, half_life=11.2, min_history=60)
    assert np.sqrt(found[3, 3]) == pytest.approx(np.sqrt(weight @ own**2 / weight.sum()), rel=1e-10)


def test_pairwise_shrinkage_agrees_with_ledoit_wolf_on_complete_rows():
    returns = market(1)
    scaled = returns / returns.std(axis=0)
    library = correlation_of(LedoitWolf().fit(scaled).covariance_)
    np.testing.assert_allclose(pairwise_correlation(returns, min_history=60), library, atol=0.01)
    np.testing.assert_allclose(
        correlation_of(estimate_covariance(returns, half_life=30, min_history=60)), library, atol=1e-12
    )


def test_correlation_of_a_ragged_pair_is_that_of_its_shared_rows():
    returns = market(2, 2000)
    returns[:1500, 3] = np.nan
    found = pairwise_correlation(returns, min_history=60)
    plain = np.corrcoef(returns[1500:, [0, 3]].T)[0, 1]
    assert found[0, 3] == pytest.approx(plain, abs=0.01)
    assert found[0, 1] == pytest.approx(np.corrcoef(returns[:, :2].T)[0, 1], abs=0.01)


def test_a_young_asset_leaves_the_others_their_volatility():
    returns = market(3)
    ragged = returns.copy()
    ragged[:150, 5] = np.nan
    whole = estimate_covariance(returns, half_life=20, min_history=60)
    partly = estimate_covariance(ragged, half_life=20, min_history=60)
    keep = np.arange(8) != 5
    np.testing.assert_allclose(np.diag(partly)[keep], np.diag(whole)[keep], rtol=1e-10)
    assert partly[5, 5] == pytest.approx(whole[5, 5], rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_more_assets_than_periods_and_holes_still_give_a_positive_definite_matrix(seed):
    rng = np.random.default_rng(seed)
    returns = market(seed, 30, 40, 0.5)
    assert np.linalg.eigvalsh(estimate_covariance(returns, half_life=10, min_history=20))[0] > 0
    returns[rng.random(returns.shape) < 0.15] = np.nan
    returns[-1] = market(seed, 30, 40)[-1]
    covariance = estimate_covariance(returns, half_life=10, min_history=10)
    assert np.linalg.eigvalsh(correlation_of(covariance))[0] >= 0.9e-6


def test_pairs_that_contradict_each_other_are_shrunk_until_they_fit():
    """Three pairs, each seen in a period of its own, with correlations no three assets can have at once."""
    rng = np.random.default_rng(0)
    returns = np.full((6000, 3), np.nan)
    for k, (i, j, sign) in enumerate([(0, 1, 1), (1, 2, 1), (0, 2, -1)]):
        common = rng.standard_normal((2000, 1))
        block = common + 0.2 * rng.standard_normal((2000, 2))
        returns[2000 * k : 2000 * (k + 1), [i, j]] = block * [1, sign]
    found = pairwise_correlation(returns, min_history=60)
    assert np.linalg.eigvalsh(found)[0] >= 0.9e-6
    assert found[0, 1] == pytest.approx(0.5, abs=0.02)


def test_shrinkage_vanishes_with_evidence_and_is_strong_without():
    noise = np.random.default_rng(0).standard_normal((40, 10))
    plain = np.corrcoef(noise.T)
    off = ~np.eye(10, dtype=bool)
    assert np.abs(pairwise_correlation(noise, min_history=20)[off]).max() < 0.4 * np.abs(plain[off]).max()
    much = market(0, 20_000)
    np.testing.assert_allclose(pairwise_correlation(much, min_history=20), np.corrcoef(much.T), atol=2e-3)


def test_scale_of_returns_only_scales():
    returns = market(5)
    returns[:90, 2] = np.nan
    small = estimate_covariance(returns * 1e-6, half_life=20, min_history=60)
    np.testing.assert_allclose(
        small * 1e12, estimate_covariance(returns, half_life=20, min_history=60), rtol=1e-9
    )


def test_usable_assets_and_reasons():
    returns = market(6, 100, 5)
    returns[:70, 1] = np.nan
    returns[-3:, 2] = np.nan
    returns[:, 3] = 0.001
    returns[-2:, 4] = np.nan
    usable = usable_assets(returns, min_history=60, max_stale=3)
    np.testing.assert_array_equal(usable.mask, [True, False, False, False, True])
    assert usable.reasons == (
        None,
        "30 returns, 60 needed",
        "no return in the last 3 periods",
        "returns are constant",
        None,
    )


def test_too_little_shared_history_is_said():
    returns = market(7, 100, 3)
    returns[:60, 0] = np.nan
    returns[50:, 1] = np.nan
    with pytest.raises(NotEnoughDataError, match="share 0 returns"):
        estimate_covariance(returns, half_life=20, min_history=30)
    with pytest.raises(NotEnoughDataError, match="100 returns, 200 needed"):
        estimate_covariance(market(7, 100, 3), half_life=20, min_history=200)
    flat = market(7, 100, 3)
    flat[:, 1] = np.nan
    flat[40:, 1] = 0.01
    with pytest.raises(NotEnoughDataError, match="constant"):
        estimate_covariance(flat, half_life=20, min_history=30)
