"""Fronts: known answers, brute force, figures by hand, the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.tuning.front import front, non_dominated
from engine.tuning.front_plots import front_picture
from engine.tuning.kernel import Evaluation

SMALL = st.integers(-2, 2).map(float)


def evaluation(returns: list[list[float]], cost: list[float]) -> Evaluation:
    n, periods = np.shape(returns)
    none = np.zeros(n)
    count = np.zeros(n, np.int64)
    days = np.datetime64("2024-01-01", "us") + np.arange(periods) * np.timedelta64(1, "D")
    return Evaluation(days, np.array(returns), count, count, none, np.array(cost), none, none)


def test_known_fronts() -> None:
    corners = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [1.5, 1.5], [2.0, 2.0]])
    assert non_dominated(corners).tolist() == [0, 1, 2]
    assert non_dominated(np.array([[1.0], [0.0], [0.0]])).tolist() == [1]
    assert non_dominated(np.array([[0.0, 1.0], [0.0, 0.0]])).tolist() == [1]
    assert non_dominated(np.zeros((4, 3))).tolist() == [0]
    assert non_dominated(np.empty((0, 3))).tolist() == []


@given(arrays(float, st.tuples(st.integers(1, 25), st.integers(1, 4)), elements=SMALL))
def test_the_front_is_that_of_brute_force(figures: np.ndarray) -> None:
    expected = []
    for i, one in enumerate(figures):
        beaten = any((other <= one).all() and (other < one).any() for other in figures)
        earlier = any((other == one).all() for other in figures[:i])
        if not beaten and not earlier:
            expected.append(i)
    assert non_dominated(figures).tolist() == expected


def test_figures_by_hand_and_the_order_by_risk() -> None:
    """Two periods: +10 % then -5 %; a steady +1 %; nothing; and the steady one at a higher cost."""
    found = front(evaluation([[0.1, -0.05], [0.01, 0.01], [0.0, 0.0], [0.01, 0.01]], [0.02, 0.01, 0.0, 0.03]))
    np.testing.assert_allclose(found.growth[:3], [1.045 ** (365 / 2) - 1, 1.01**365 - 1, 0.0])
    np.testing.assert_allclose(found.risks, [0.05, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(found.costs, [3.65, 1.825, 0.0, 5.475])
    assert found.members.tolist() == [1, 2, 0]
    volatile = front(evaluation([[0.1, -0.05], [0.0, 0.0]], [0.0, 0.0]), "volatility")
    assert volatile.risks[0] == pytest.approx(np.std([0.1, -0.05], ddof=1) * 365**0.5)


def test_few_of_the_front_stand_for_all_and_both_ends_stay() -> None:
    rates = np.linspace(0.001, 0.02, 30)
    found = front(evaluation([[3 * rate, -rate] for rate in rates], [0.0] * 30))
    assert found.members.size == 30
    few = found.spread(4)
    assert few.tolist() == [found.members[rank] for rank in (0, 10, 19, 29)]
    assert found.spread(100).tolist() == found.members.tolist()
    assert front(evaluation([[0.0, 0.0]], [0.0])).spread(2).tolist() == [0]
    with pytest.raises(ValueError, match="most = 1"):
        found.spread(1)


def test_what_has_no_front_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has a figure that is NaN"):
        non_dominated(np.array([[0.0], [np.nan]]))
    with pytest.raises(ValueError, match="drawdown"):
        front(evaluation([[0.0, 0.0]], [0.0]), "skew")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2"):
        front(evaluation([[0.0]], [0.0]))


def test_the_picture_is_a_small_png() -> None:
    rng = np.random.default_rng(0)
    found = front(evaluation(rng.normal(0.0, 0.01, (40, 100)).tolist(), rng.random(40).tolist()))
    drawn = front_picture(found, chosen=3)
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < 100_000
    assert drawn != front_picture(found)
