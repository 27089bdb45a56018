from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ttest_ind, ttest_rel

from engine.errors import NotEnoughDataError
from engine.evaluation.seed_effects import holm, paired_effect, relative_effect


def paired_runs(rng, effect, seeds=10, noise=0.3, shared=1.0):
    """Scores of two variants on the same seeds: what differs between them has the deviation `noise`."""
    theirs = shared * rng.standard_normal(seeds)
    return theirs + effect + noise * rng.standard_normal(seeds), theirs


def test_effect_is_the_paired_t_test():
    ours, theirs = paired_runs(np.random.default_rng(0), 0.4)
    found, known = paired_effect(ours, theirs), ttest_rel(ours, theirs)
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(known.confidence_interval(0.95), rel=1e-9)
    assert found.value == pytest.approx(np.mean(ours - theirs))
    assert found.seeds == 10


def test_false_claims_under_the_paired_null():
    rng = np.random.default_rng(1)
    claims = [paired_effect(*paired_runs(rng, 0.0)).p_value <= 0.05 for _ in range(400)]
    assert np.mean(claims) <= 0.072


def test_power_of_ten_seeds_and_what_ignoring_the_pairs_leaves_of_it():
    rng = np.random.default_rng(2)
    pairs = [paired_runs(rng, 0.4) for _ in range(400)]
    assert np.mean([paired_effect(*pair).p_value <= 0.05 for pair in pairs]) >= 0.85
    unpaired = [ttest_ind(*pair, equal_var=False).pvalue <= 0.05 for pair in pairs]
    assert np.mean(unpaired) < 0.25


def regimes_of_runs(rng, seeds=10, regimes=4):
    """A null: every run has luck of its own in all its regimes at once."""
    luck = 0.3 * rng.standard_normal((2, seeds, 1))
    return luck + 0.3 * rng.standard_normal((2, seeds, regimes))


def test_regimes_are_not_repetitions():
    rng = np.random.default_rng(3)
    over_seeds, over_all = [], []
    for _ in range(400):
        ours, theirs = regimes_of_runs(rng)
        over_seeds.append(paired_effect(ours.mean(axis=1), theirs.mean(axis=1)).p_value <= 0.05)
        difference = (ours - theirs).ravel()
        z = difference.mean() / (difference.std(ddof=1) / np.sqrt(difference.size))
        over_all.append(2 * norm.sf(abs(z)) <= 0.05)
    assert np.mean(over_seeds) <= 0.072
    assert np.mean(over_all) > 0.15


@pytest.mark.parametrize("judge", [paired_effect, relative_effect])
def test_three_seeds_are_refused(judge):
    with pytest.raises(NotEnoughDataError, match="3 seeds cannot carry a claim at 95%; at least 5"):
        judge([1.0, 1.1, 1.2], [0.5, 0.5, 0.6])


def test_identical_runs_show_nothing():
    found = paired_effect(np.arange(10.0), np.arange(10.0))
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_that_never_varies_was_not_repeated():
    scores = np.random.default_rng(4).standard_normal(10)
    for judge in (paired_effect, relative_effect):
        found = judge(scores + 5.25, scores + 5.0)
        assert found.p_value == 1.0
        assert np.isnan(found.low)
        assert found.value > 0.0


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (np.zeros(6), np.zeros(7), "pairs"),
        (np.zeros((6, 2)), np.zeros((6, 2)), "one score per seed"),
        ([np.nan, *range(5)], np.zeros(6), "NaN"),
    ],
)
def test_scores_that_cannot_be_paired_are_refused(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        paired_effect(ours, theirs)


def test_ratio_without_noise_in_the_denominator_is_the_scaled_difference():
    rng = np.random.default_rng(5)
    theirs = 2.0 + 1e-9 * rng.standard_normal(10)
    ours = 2.2 + 0.1 * rng.standard_normal(10)
    ratio, difference = relative_effect(ours, theirs), paired_effect(ours, theirs)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx(
        (difference.value / 2, difference.low / 2, difference.high / 2), rel=1e-6
    )


def test_ends_of_the_ratios_interval_are_where_the_test_turns():
    """Fieller: a ratio is inside exactly if ours less ratio times theirs may have mean zero."""
    rng = np.random.default_rng(6)
    theirs = 1.0 + 0.3 * rng.standard_normal(12)
    ours = 1.3 * theirs + 0.2 * rng.standard_normal(12)
    found = relative_effect(ours, theirs)
    for end in (found.low, found.high):
        assert ttest_rel(ours, (1 + end) * theirs).pvalue == pytest.approx(0.05, rel=1e-6)
    assert found.low < found.value < found.high


def test_coverage_of_the_ratios_interval():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        theirs = 1.0 + 0.5 * rng.standard_normal(10)
        ours = theirs + 0.2 + 0.3 * rng.standard_normal(10)
        found = relative_effect(ours, theirs)
        covered += found is not None and found.low <= 0.2 <= found.high
    assert 0.92 <= covered / 400 <= 0.985


@pytest.mark.parametrize("level", [-0.1, 0.0, 0.02])
def test_ten_percent_more_of_a_loss_is_no_improvement(level):
    """A baseline of -0.10 against -0.15 would read as +50 %."""
    theirs = level + 0.1 * np.random.default_rng(8).standard_normal(10)
    assert relative_effect(theirs + 0.05, theirs) is None


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, 0.9]), [0.8, 0.9])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=15), st.floats(0.01, 0.3))
def test_holm_rejects_what_the_stepwise_procedure_rejects(p_values, alpha):
    order, rejected = np.argsort(p_values, kind="stable"), set()
    for step, row in enumerate(order):
        if p_values[row] * (len(p_values) - step) > alpha:
            break
        rejected.add(int(row))
    assert set(np.flatnonzero(holm(p_values) <= alpha)) == rejected


def test_without_holm_fifteen_rows_claim_something_in_half_of_all_tables():
    rng = np.random.default_rng(9)
    tables = rng.random((2000, 15))
    assert np.mean(tables.min(axis=1) <= 0.05) > 0.5
    assert np.mean([holm(row).min() <= 0.05 for row in tables]) <= 0.06
