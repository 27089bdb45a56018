from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.calibration.confidence import fit_confidence_map
from engine.errors import NotEnoughDataError


def test_no_output_above_what_the_model_can_do():
    """True accuracy at most .65: the raw confidence near 1 must not survive."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        raw = rng.uniform(0.5, 1, 12_000)
        correct = rng.random(12_000) < 0.5 + 0.3 * (raw - 0.5)
        assert fit_confidence_map(raw, correct)(raw).max() <= 0.70


@given(st.integers(0, 10_000), st.integers(1, 400), st.floats(1, 30))
@settings(max_examples=60, deadline=None)
def test_map_never_decreases_and_stays_below_the_evidence(seed, n, overlap):
    rng = np.random.default_rng(seed)
    raw = np.round(rng.random(n), 2)
    correct = rng.random(n) < raw
    fitted = fit_confidence_map(raw, correct, overlap=overlap)
    grid = np.linspace(0, 1, 201)
    bound = fitted(grid)
    assert (np.diff(bound) >= 0).all()
    assert (bound >= 0).all()
    assert (bound < 1).all()
    assert np.mean(fitted(raw)) <= correct.mean() + 1e-12


def test_bound_holds_at_nearly_every_point_of_a_linear_accuracy():
    """One-sided 95 % bounds of pools: below the true accuracy of the rows that get them, on average."""
    over = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        raw = rng.uniform(0.5, 1, 3000)
        fitted = fit_confidence_map(raw, rng.random(3000) < raw)
        steps = np.unique(fitted.bound)
        mean_truth = [raw[fitted(raw) == step].mean() for step in steps]
        over.append(np.mean(steps > mean_truth))
    assert np.mean(over) <= 0.08


def test_useful_when_the_model_is_good():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.5, 1, 20_000)
    fitted = fit_confidence_map(raw, rng.random(20_000) < raw)
    assert fitted(np.array([0.99]))[0] > 0.94
    assert np.abs(fitted(raw) - raw).mean() < 0.04


def test_equal_confidences_share_one_bin():
    raw = np.repeat([0.6, 0.9], [500, 500])
    correct = np.r_[np.arange(500) < 300, np.arange(500) < 450]
    fitted = fit_confidence_map(raw, correct)
    np.testing.assert_array_equal(fitted.edges, [0.6, 0.9])
    assert fitted(np.array([0.75]))[0] == fitted(np.array([0.6]))[0]


def test_below_the_evidence_the_answer_is_at_most_the_raw_confidence():
    fitted = fit_confidence_map(np.full(1000, 0.8), np.ones(1000, bool))
    np.testing.assert_allclose(fitted(np.array([0.1, 0.8, 1.0])), [0.1, *[0.05 ** (1 / 1000)] * 2])


def test_missing_confidence_stays_missing():
    fitted = fit_confidence_map(np.full(50, 0.8), np.ones(50, bool))
    assert np.isnan(fitted(np.array([np.nan]))[0])


def test_no_outcomes_no_map():
    with pytest.raises(NotEnoughDataError):
        fit_confidence_map(np.array([]), np.array([], bool))


def test_confidence_that_misleads_is_pooled():
    """Where less confident predictions are right more often, nothing above the common accuracy is stated."""
    raw = np.repeat([0.6, 0.9], [500, 500])
    correct = np.r_[np.arange(500) < 450, np.arange(500) < 300]
    fitted = fit_confidence_map(raw, correct)
    np.testing.assert_array_equal(fitted.edges, [0.6])
    assert 0.7 < fitted.bound[0] < 0.75


def test_a_thin_pool_above_a_thick_one_keeps_the_bound_below_it():
    """Accuracy does not fall with confidence, so the bound of the thick pool holds for the thin one."""
    raw = np.linspace(0.5, 1, 996)
    rate = np.repeat([0.84, 0.82, 0.80, 0.78, 0.76, 0.81], 166)
    correct = np.arange(996) % 166 < 166 * rate
    fitted = fit_confidence_map(raw, correct)
    assert fitted.edges.size == 2
    assert fitted.bound[1] == fitted.bound[0] > 0.77


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_an_outcome_of_half_the_weight_counts_half(seed):
    """Every outcome twice at weight one half is every outcome once."""
    rng = np.random.default_rng(seed)
    raw = np.round(rng.random(200), 2)
    correct = rng.random(200) < raw
    once = fit_confidence_map(raw, correct)
    halves = fit_confidence_map(np.repeat(raw, 2), np.repeat(correct, 2), weight=0.5)
    grid = np.linspace(0, 1, 101)
    np.testing.assert_allclose(halves(grid), once(grid), atol=1e-12)
    assert halves.effective == once.effective


def test_old_outcomes_in_doubt_move_the_bound_to_the_new_ones():
    raw, correct = np.full(400, 0.8), np.r_[np.ones(200, bool), np.arange(200) < 120]
    weight = np.repeat([0.05, 1.0], 200)
    assert fit_confidence_map(raw, correct)(np.array([0.8]))[0] > 0.75
    assert fit_confidence_map(raw, correct, weight=weight)(np.array([0.8]))[0] < 0.6


def test_a_raw_softmax_is_not_a_confidence():
    """The wrong version: stating what the model states. Right in 65 % where it says 95 %."""
    rng = np.random.default_rng(3)
    raw = rng.uniform(0.5, 1, 12_000)
    correct = rng.random(12_000) < 0.5 + 0.3 * (raw - 0.5)
    sure = raw >= 0.90
    assert correct[sure].mean() < 0.70
    assert not (fit_confidence_map(raw, correct)(raw) >= 0.90).any()
