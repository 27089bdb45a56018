from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from engine.errors import NotEnoughDataError
from engine.evaluation.overfitting import (
    deflated_sharpe,
    deflated_sharpe_of,
    expected_maximum_sharpe,
    probabilistic_sharpe,
    probability_of_backtest_overfitting,
)


@pytest.mark.parametrize(("trials", "published"), [(100, 0.9004), (46, 0.9505)])
def test_deflated_sharpe_of_the_published_example(trials, published):
    """Annual Sharpe ratio 2.5 of 1250 days, skew -3, kurtosis 10, variance of the trials 0.5 annual."""
    found = deflated_sharpe(2.5 / np.sqrt(250), 1250, trials, 0.5 / 250, -3.0, 10.0)
    assert found == pytest.approx(published, abs=5e-5)


def test_deflated_sharpe_by_the_formula():
    assert deflated_sharpe(0.1, 1000, 20, 0.0005, -1.0, 6.0) == pytest.approx(0.95756, abs=5e-6)


def test_excess_kurtosis_or_annual_figures_give_another_answer():
    assert abs(deflated_sharpe(0.1, 1000, 20, 0.0005, -1.0, 3.0) - 0.95756) > 1e-4
    assert abs(deflated_sharpe(2.5, 1250, 100, 0.5, -3.0, 10.0) - 0.9004) > 1e-3


def test_expected_maximum_is_that_of_simulated_trials():
    best = 0.03 * np.random.default_rng(0).standard_normal((20_000, 50)).max(axis=1)
    assert expected_maximum_sharpe(50, 0.03**2) == pytest.approx(best.mean(), rel=0.02)
    assert expected_maximum_sharpe(1, 0.5) == 0.0


def test_probabilistic_sharpe_of_normal_returns_is_calibrated():
    rng = np.random.default_rng(1)
    returns = 0.1 + rng.standard_normal((2000, 400))
    ratios = returns.mean(axis=1) / returns.std(axis=1)
    p = np.array([probabilistic_sharpe(ratio, 0.1, 400) for ratio in ratios])
    assert (p > 0.95).mean() == pytest.approx(0.05, abs=0.012)
    assert p.mean() == pytest.approx(0.5, abs=0.02)


def test_the_best_of_many_without_skill_is_deflated():
    """Taken alone, the best of 50 looks certain; deflated, it does not."""
    rng = np.random.default_rng(2)
    alone, deflated = [], []
    for _ in range(100):
        returns = rng.standard_normal((300, 50))
        ratios = returns.mean(axis=0) / returns.std(axis=0)
        best = returns[:, ratios.argmax()]
        alone.append(deflated_sharpe_of(best, 1, 0.0) > 0.95)
        deflated.append(deflated_sharpe_of(best, 50, ratios.var()) > 0.95)
    assert np.mean(alone) > 0.8
    assert np.mean(deflated) < 0.05


def test_moments_of_a_stream_are_its_own():
    stream = np.random.default_rng(3).standard_t(5, 800) + 0.05
    standard = (stream - stream.mean()) / stream.std()
    expected = deflated_sharpe(
        stream.mean() / stream.std(), 800, 7, 0.001, (standard**3).mean(), (standard**4).mean()
    )
    assert deflated_sharpe_of(stream, 7, 0.001) == pytest.approx(expected)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: probabilistic_sharpe(0.1, 0.0, 1),
        lambda: probabilistic_sharpe(0.1, 0.0, 100, 0.0, 0.0),
        lambda: expected_maximum_sharpe(0, 0.1),
        lambda: expected_maximum_sharpe(5, float("nan")),
        lambda: deflated_sharpe_of(np.zeros(50), 2, 0.1),
        lambda: deflated_sharpe_of(np.array([0.1, np.nan, 0.2]), 2, 0.1),
    ],
)
def test_impossible_figures_are_refused(bad):
    with pytest.raises(ValueError, match=r"at least|vary"):
        bad()


def noise(seed, periods=800, candidates=20):
    return np.random.default_rng(seed).standard_normal((periods, candidates))


def test_pbo_by_brute_force():
    table = noise(4, 90, 5) + np.array([0.0, 0.0, 0.1, 0.0, 0.2])
    parts = np.array_split(np.arange(90), 6)
    ranks = []
    for half in combinations(range(6), 3):
        inside = np.concatenate([parts[i] for i in half])
        outside = np.setdiff1d(np.arange(90), inside)
        before = table[inside].mean(axis=0) / table[inside].std(axis=0)
        after = table[outside].mean(axis=0) / table[outside].std(axis=0)
        ranks.append(rankdata(after)[before.argmax()] / 6)
    found = probability_of_backtest_overfitting(table, 6)
    np.testing.assert_allclose(found.relative_rank, ranks)
    assert found.probability == np.mean(np.array(ranks) <= 0.5)


def test_pbo_of_noise_is_about_one_half():
    found = [probability_of_backtest_overfitting(noise(seed), 10).probability for seed in range(12)]
    assert 0.42 <= np.mean(found) <= 0.60


def test_pbo_of_one_real_edge_is_small():
    table = noise(5)
    table[:, 7] += 0.35
    found = probability_of_backtest_overfitting(table, 10)
    assert found.probability <= 0.02
    assert (found.chosen == 7).mean() > 0.95
    assert found.probability_of_loss <= 0.02


def test_demeaned_columns_give_one():
    """The wrong version: with each column's mean taken out, the good half is matched by a bad one."""
    table = noise(6)
    table[:, 7] += 0.35
    assert probability_of_backtest_overfitting(table - table.mean(axis=0), 10).probability >= 0.95


def test_pbo_says_nothing_where_candidates_are_alike():
    """A real edge that all share is invisible to it; identical candidates are refused."""
    common = 0.2 + noise(7, 800, 1)
    alike = [
        probability_of_backtest_overfitting(common + 1e-3 * noise(seed), 10).probability
        for seed in range(8, 20)
    ]
    assert 0.35 < np.mean(alike) < 0.65
    with pytest.raises(ValueError, match="nothing to select"):
        probability_of_backtest_overfitting(np.repeat(common, 3, axis=1), 10)


def test_pbo_ignores_scale_and_order_of_candidates():
    table = noise(9)
    table[:, 3] += 0.1
    found = probability_of_backtest_overfitting(table, 8)
    shuffled = np.random.default_rng(0).permutation(20)
    again = probability_of_backtest_overfitting(1e-4 * table[:, shuffled], 8)
    np.testing.assert_allclose(again.relative_rank, found.relative_rank)
    np.testing.assert_array_equal(shuffled[again.chosen], found.chosen)


@pytest.mark.parametrize(
    ("table", "blocks", "match"),
    [
        (noise(0, 100, 1), 10, "2 candidates"),
        (np.full((100, 3), np.nan), 10, "finite"),
        (noise(0, 100, 3), 5, "even"),
        (noise(0, 100, 3), 22, "even"),
    ],
)
def test_unusable_tables_are_refused(table, blocks, match):
    with pytest.raises(ValueError, match=match):
        probability_of_backtest_overfitting(table, blocks)


def test_too_few_periods_for_the_blocks():
    with pytest.raises(NotEnoughDataError):
        probability_of_backtest_overfitting(noise(0, 19, 3), 10)


def test_quantiles_of_luck_are_normal():
    share = np.euler_gamma
    by_hand = (1 - share) * norm.ppf(1 - 1 / 30) + share * norm.ppf(1 - 1 / (30 * np.e))
    assert expected_maximum_sharpe(30, 4.0) == pytest.approx(2 * by_hand)
