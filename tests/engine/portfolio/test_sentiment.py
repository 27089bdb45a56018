from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.portfolio.sentiment import SentimentBounds, fear_greed_factor

INDEX = np.arange(0.0, 101.0)


def violations(factor) -> set[str]:
    """Which of the demands on the factor a function does not meet."""
    values = np.array([factor(i) for i in INDEX])
    found = set()
    if any(not 0.25 <= v <= 1.0 for v in [*values, factor(None), factor(math.nan)]):
        found.add("range")
    if np.abs(np.diff(values)).max() > 0.10:
        found.add("cliff")
    middle = np.argmax(values)
    if (np.diff(values[: middle + 1]) < 0).any() or (np.diff(values[middle:]) > 0).any():
        found.add("monotone")
    if max(factor(None), factor(math.nan), factor(140.0), factor(-1.0)) > values.min():
        found.add("unknown")
    return found


def test_a13_2_the_factor_meets_every_demand():
    assert violations(fear_greed_factor) == set()
    assert fear_greed_factor(50.0) == 1.0
    assert fear_greed_factor(25.0) == pytest.approx(0.625)
    assert fear_greed_factor(0.0) == fear_greed_factor(100.0) == fear_greed_factor(None) == 0.25


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (lambda i: 0.5 if i is not None and (i <= 25 or i >= 75) else 1.0, "cliff"),
        (lambda i: fear_greed_factor(i) if i is not None else fear_greed_factor(50.0), "unknown"),
        (lambda i: 1.0 - 0.0075 * (0.0 if i is None or math.isnan(i) else i), "unknown"),
        (lambda i: 1.0 + 0.005 * (50.0 if i is None or math.isnan(i) else 50 - i), "range"),
        (lambda i: 0.6 + 0.3 * math.cos((i if i is not None and i == i else 0.0) / 8), "monotone"),
    ],
)
def test_wrong_factors_are_caught(wrong, fault):
    """A cliff at 25 and 75, a neutral guess for None, ``value or 0``, a contrarian bonus, a wave."""
    assert fault in violations(wrong)


@given(st.floats(0, 100), st.floats(0, 100))
def test_between_the_points_too(a, b):
    assert abs(fear_greed_factor(a) - fear_greed_factor(b)) <= 0.0251 * abs(a - b) + 1e-12


def test_the_gate_does_not_flap():
    """An index that wavers about a bound closes the gate once; without a margin it would by turns."""
    wavering = [16.0, 14.0, 16.0, 14.0, 19.0, 15.5, 21.0, 15.5, 16.0]

    def changes(bounds: SentimentBounds) -> list[bool]:
        is_open, course = True, []
        for index in wavering:
            is_open = bounds.opens(index, is_open)
            course.append(is_open)
        return course

    steady = changes(SentimentBounds(15.0, 85.0, 5.0))
    assert steady == [True, False, False, False, False, False, True, True, True]
    assert np.count_nonzero(np.diff(changes(SentimentBounds(15.0, 85.0, 0.0)))) > 2


def test_unknown_closes_and_only_well_inside_opens_again():
    bounds = SentimentBounds(15.0, 85.0, 5.0)
    assert not bounds.opens(None, was_open=True)
    assert not bounds.opens(82.0, was_open=False)
    assert bounds.opens(82.0, was_open=True)
    assert bounds.opens(80.0, was_open=False)


@given(st.none() | st.floats(0, 100))
def test_a_closed_gate_never_lets_in_more_than_an_open_one(index):
    bounds = SentimentBounds(15.0, 85.0, 5.0)
    assert bounds.opens(index, was_open=True) or not bounds.opens(index, was_open=False)


@pytest.mark.parametrize(
    "bad", [(60.0, 50.0, 0.0), (10.0, 90.0, -1.0), (10.0, 90.0, 45.0), (-9.0, 90.0, 1.0)]
)
def test_bounds_without_a_range_are_refused(bad):
    with pytest.raises(ValueError, match="leave no range"):
        SentimentBounds(*bad)
