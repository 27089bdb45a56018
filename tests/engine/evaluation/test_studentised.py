from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from engine.evaluation.bootstrap import (
    stationary_bootstrap_blocks,
    stationary_bootstrap_indices,
    stationary_bootstrap_variance,
)
from engine.evaluation.studentised import draw_means, draw_sharpes


def returns(rng, n=300, k=4, phi=0.4):
    baseline = 0.001 + 0.01 * rng.standard_t(4, n)
    noise = lfilter([1.0], [1.0, -phi], 0.005 * rng.standard_t(5, (n + 100, k)), axis=0)[100:]
    return baseline, baseline[:, None] + noise


def test_blocks_and_indices_are_the_same_draws():
    start, length, first = stationary_bootstrap_blocks(70, 6.0, 9, np.random.default_rng(2))
    index = stationary_bootstrap_indices(70, 6.0, 9, np.random.default_rng(2))
    for d in range(9):
        mine = slice(first[d], first[d + 1])
        strung = [(s + np.arange(size)) % 70 for s, size in zip(start[mine], length[mine], strict=True)]
        np.testing.assert_array_equal(np.concatenate(strung), index[d])


@pytest.mark.parametrize("block", [1.0, 5.0, 40.0])
def test_variance_in_closed_form_is_that_of_many_draws(block):
    rng = np.random.default_rng(0)
    series = lfilter([1.0], [1.0, -0.6], rng.standard_normal((200, 2)), axis=0)
    index = stationary_bootstrap_indices(200, block, 20_000, rng)
    np.testing.assert_allclose(
        stationary_bootstrap_variance(series, block), series[index].mean(axis=1).var(axis=0), rtol=0.04
    )


def test_variance_with_blocks_of_one_is_the_independent_one():
    series = np.random.default_rng(1).standard_normal(90)
    assert stationary_bootstrap_variance(series, 1.0) == pytest.approx(series.var() / 90)


def test_means_are_those_of_the_drawn_series():
    """The compiled sums over stretches against plain indexing with the same draws."""
    baseline, candidates = returns(np.random.default_rng(3))
    found = draw_means(baseline, candidates, draws=50, rng=np.random.default_rng(11))
    index = stationary_bootstrap_indices(300, found.block, 50, np.random.default_rng(11))
    np.testing.assert_allclose(found.baseline_draws, baseline[index].mean(axis=1), atol=1e-15)
    np.testing.assert_allclose(
        found.improvement_draws, (candidates - baseline[:, None])[index].mean(axis=1), atol=1e-15
    )


def test_standard_errors_of_a_draw_come_from_its_stretches():
    baseline, candidates = returns(np.random.default_rng(4))
    found = draw_means(baseline, candidates, draws=20, rng=np.random.default_rng(12))
    start, length, first = stationary_bootstrap_blocks(300, found.block, 20, np.random.default_rng(12))
    difference = candidates - baseline[:, None]
    for d in range(20):
        stretches = [
            difference[(start[j] + np.arange(length[j])) % 300] for j in range(first[d], first[d + 1])
        ]
        mean = np.concatenate(stretches).mean(axis=0)
        sums = np.stack([(stretch - mean).sum(axis=0) for stretch in stretches])
        np.testing.assert_allclose(found.standard_error_draws[d], np.sqrt((sums**2).sum(axis=0)) / 300)


def test_sharpe_ratios_are_those_of_the_drawn_series():
    baseline, candidates = returns(np.random.default_rng(5))
    found = draw_sharpes(baseline, candidates, draws=50, rng=np.random.default_rng(13))
    index = stationary_bootstrap_indices(300, found.block, 50, np.random.default_rng(13))
    own = baseline[index].mean(axis=1) / baseline[index].std(axis=1)
    theirs = candidates[index].mean(axis=1) / candidates[index].std(axis=1)
    np.testing.assert_allclose(found.baseline_draws, own, rtol=1e-9)
    np.testing.assert_allclose(found.improvement_draws, theirs - own[:, None], rtol=1e-8)


def test_standard_errors_of_drawn_sharpe_ratios_come_from_their_stretches():
    """The delta method written out on the drawn returns themselves."""
    baseline, candidates = returns(np.random.default_rng(10))
    series = np.column_stack([baseline, candidates]) + 0.01
    found = draw_sharpes(series[:, 0], series[:, 1:], draws=10, rng=np.random.default_rng(14))
    start, length, first = stationary_bootstrap_blocks(300, found.block, 10, np.random.default_rng(14))
    for d in range(10):
        rows = [(start[j] + np.arange(length[j])) % 300 for j in range(first[d], first[d + 1])]
        drawn = series[np.concatenate(rows)]
        mean, deviation = drawn.mean(axis=0), drawn.std(axis=0)

        def influence(x, mean=mean, deviation=deviation):
            standard = (x - mean) / deviation
            return standard - 0.5 * mean / deviation * (standard**2 - 1)

        sums = np.stack([influence(series[one]).sum(axis=0) for one in rows])
        by_hand = np.sqrt(((sums[:, 1:] - sums[:, :1]) ** 2).sum(axis=0)) / 300
        np.testing.assert_allclose(found.standard_error_draws[d], by_hand, rtol=1e-7)


def test_standard_error_of_a_sharpe_ratio_is_that_of_many_samples():
    rng = np.random.default_rng(6)
    ratios, errors, drawn = [], [], []
    for seed in range(150):
        baseline, candidates = returns(rng, n=600, k=1, phi=0.3)
        found = draw_sharpes(baseline, candidates + 0.0005, draws=99, rng=np.random.default_rng(seed))
        ratios.append(found.improvement[0])
        errors.append(found.standard_error[0])
        drawn.append(np.median(found.standard_error_draws))
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.15)
    assert np.mean(drawn) == pytest.approx(np.mean(errors), rel=0.10)


@pytest.mark.parametrize("draw", [draw_means, draw_sharpes])
def test_all_candidates_share_their_draws(draw):
    baseline, candidates = returns(np.random.default_rng(7), k=1)
    twice = draw(baseline, np.repeat(candidates, 2, axis=1), draws=30, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(twice.statistic_draws[:, 0], twice.statistic_draws[:, 1])


def test_statistic_without_effect_is_about_standard():
    baseline, candidates = returns(np.random.default_rng(8), n=2000)
    draws = draw_means(baseline, candidates, draws=2000, rng=np.random.default_rng(1)).statistic_draws
    assert np.abs(draws.mean(axis=0)).max() < 0.1
    np.testing.assert_allclose(draws.std(axis=0), 1.0, atol=0.08)


def test_a_draw_without_variation_is_no_evidence_either_way():
    baseline = np.random.default_rng(9).standard_normal(60)
    rare = baseline.copy()
    rare[7] += 5.0
    found = draw_means(baseline, rare[:, None], draws=300, rng=np.random.default_rng(1))
    assert not np.isnan(found.statistic_draws).any()
    assert (found.statistic_draws == -np.inf).any()
