from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from engine.calibration.venn_abers import fit_venn_abers, merged
from engine.errors import NotEnoughDataError


def two_fits(raw, correct, score, weight=None, extra=1.0):
    """By the definition: an isotonic regression with the score labelled 0, and one with it labelled 1."""
    weight = np.ones(raw.size) if weight is None else weight
    return [
        IsotonicRegression(out_of_bounds="clip")
        .fit(np.append(raw, score), np.append(correct, label), sample_weight=np.append(weight, extra))
        .predict([score])[0]
        for label in (0.0, 1.0)
    ]


@given(st.integers(0, 100_000), st.integers(1, 40), st.integers(1, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_both_probabilities_equal_the_two_isotonic_fits(seed, n, digits, weighted):
    rng = np.random.default_rng(seed)
    raw = np.round(rng.random(n), digits)
    correct = rng.random(n) < raw
    weight, extra = (rng.uniform(0.1, 1, n), 2.5) if weighted else (np.ones(n), 1.0)
    scores = np.unique(np.concatenate([raw[:4], np.round(rng.random(4), 3), [0.0, 1.0]]))
    p0, p1 = fit_venn_abers(raw, correct, weight=weight, overlap=extra)(scores)
    expected = np.array([two_fits(raw, correct, s, weight, extra) for s in scores])
    np.testing.assert_allclose(p0, expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(p1, expected[:, 1], atol=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_probabilities_ascend_and_hold_their_merger_between_them(seed, n):
    rng = np.random.default_rng(seed)
    raw = np.round(rng.random(n), 2)
    p0, p1 = fit_venn_abers(raw, rng.random(n) < raw**2)(np.linspace(0, 1, 201))
    assert (np.diff(p0) >= -1e-12).all()
    assert (np.diff(p1) >= -1e-12).all()
    one = merged(p0, p1)
    assert ((p0 - 1e-12 <= one) & (one <= p1 + 1e-12)).all()
    assert ((p0 >= 0) & (p1 <= 1) & (p0 < p1)).all()


def test_one_outcome_by_hand():
    fitted = fit_venn_abers([0.6], [True])
    np.testing.assert_allclose(fitted([0.5, 0.6, 0.7]), [[0.0, 0.5, 0.5], [1.0, 1.0, 1.0]])
    assert merged(0.5, 1.0) == pytest.approx(2 / 3)
    assert np.isnan(fitted([np.nan])).all()


def test_one_of_the_pair_is_calibrated():
    """Choosing p1 where the outcome was 1 and p0 where it was 0 is calibrated for any model (theorem 1)."""
    gaps = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        raw = rng.uniform(0.5, 1, 1200)
        correct = rng.random(1200) < 0.5 + 0.3 * (raw - 0.5)
        p0, p1 = fit_venn_abers(raw[:200], correct[:200])(raw[200:])
        chosen, right = np.where(correct[200:], p1, p0), correct[200:]
        gaps.append(
            [(right - chosen)[(chosen > low) & (chosen <= low + 0.1)].sum() for low in (0.4, 0.5, 0.6)]
        )
        assert abs(raw[200:].mean() - right.mean()) > 0.1  # the model itself is boastful
        assert abs(merged(p0, p1).mean() - right.mean()) < 0.11
    gaps = np.array(gaps)
    assert (np.abs(gaps.mean(axis=0)) <= 3 * gaps.std(axis=0) / np.sqrt(30)).all()


def test_more_outcomes_bring_the_two_together_and_overlap_parts_them():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.5, 1, 20_000)
    correct = rng.random(20_000) < raw

    def apart(n, overlap=1.0):
        p0, p1 = fit_venn_abers(raw[:n], correct[:n], overlap=overlap)(np.linspace(0.55, 0.95, 41))
        return (p1 - p0).mean()

    assert apart(200) > 2 * apart(2000) > 3 * apart(20_000)
    assert apart(20_000, overlap=100.0) == pytest.approx(apart(200), rel=0.6)


def test_no_outcomes_no_probabilities():
    with pytest.raises(NotEnoughDataError):
        fit_venn_abers([], [])


def test_state_survives_storage():
    fitted = fit_venn_abers([0.1, 0.5, 0.9], [False, True, True])
    again = type(fitted).from_arrays(fitted.to_arrays())
    np.testing.assert_array_equal(again([0.2, 0.5, 1.0]), fitted([0.2, 0.5, 1.0]))
