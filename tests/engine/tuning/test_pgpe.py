"""Policy gradients with parameter-based exploration: closed forms, convergence, the box, resuming."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tuning.pgpe import PGPE, gradients, utilities


def test_gradients_on_a_parabola_have_their_closed_form() -> None:
    """A14.9: of -(x - c)^2 they are -2 (mean - c) and -2 spread, within four standard errors."""
    rng, pairs = np.random.default_rng(3), 40_000
    mean, centre, spread = 1.7, 0.4, np.array([0.8])
    eps = rng.standard_normal((pairs, 1)) * spread
    plus, minus = (-((mean + sign * eps[:, 0] - centre) ** 2) for sign in (1.0, -1.0))
    by_mean, by_spread = gradients(eps, plus, minus, spread, baseline=-2.0)
    per_mean = eps[:, 0] / spread**2 * (plus - minus) / 2
    per_spread = (eps[:, 0] ** 2 - spread**2) / spread**3 * ((plus + minus) / 2 + 2.0)
    assert abs(by_mean[0] + 2 * (mean - centre)) < 4 * per_mean.std() / pairs**0.5
    assert abs(by_spread[0] + 2 * spread[0]) < 4 * per_spread.std() / pairs**0.5


def test_mirrored_pairs_cancel_what_both_share() -> None:
    """Noise common to a pair leaves the gradient of the mean as it is; noise of each by itself does not."""
    rng = np.random.default_rng(0)
    eps, spread = rng.standard_normal((50, 2)), np.ones(2)
    plus, minus, common = eps @ [1.0, -1.0], -eps @ [1.0, -1.0], 100.0 * rng.standard_normal(50)
    clean, _ = gradients(eps, plus, minus, spread, 0.0)
    shared, _ = gradients(eps, plus + common, minus + common, spread, 0.0)
    own, _ = gradients(eps, plus + common, minus - common, spread, 0.0)
    np.testing.assert_allclose(shared, clean, atol=1e-12)
    assert np.abs(own - clean).max() > 1.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_it_finds_the_highest_point_whatever_the_unit_of_the_score(scale: float) -> None:
    search = PGPE([0.2] * 5, [0.15] * 5, low=[0.0] * 5, high=[1.0] * 5, seed=1)
    target = np.array([0.8, 0.3, 0.5, 0.6, 0.1])
    for _ in range(60):
        search.tell(scale * -((search.ask() - target) ** 2).sum(axis=1))
    np.testing.assert_allclose(search.mean, target, atol=0.03)
    assert (search.spread < 0.15).all()


def test_proposals_stay_in_the_box_and_a_target_beyond_it_is_met_at_the_border() -> None:
    search = PGPE([0.5, 0.5], [0.3, 0.3], low=[0.4, 0.0], high=[0.6, 1.0], seed=2)
    for _ in range(40):
        drawn = search.ask()
        assert ((drawn >= [0.4, 0.0]) & (drawn <= [0.6, 1.0])).all()
        search.tell(drawn[:, 0] - (drawn[:, 1] - 0.7) ** 2)
    assert search.mean[0] == pytest.approx(0.6, abs=0.01)


def test_utilities_by_hand() -> None:
    """Of four, log 3 and log 3 - log 2 for the better half and nothing for the worse; ties share."""
    plain = utilities(np.array([7.0, -1e9, 8.0, 0.0]))
    worth = np.array([np.log(1.5), 0.0, np.log(3.0), 0.0])
    np.testing.assert_allclose(plain, (worth - worth.mean()) / worth.std())
    tied = utilities(np.array([1.0, 5.0, 5.0, 0.0]))
    np.testing.assert_allclose(tied, [-1.0, 1.0, 1.0, -1.0])
    assert utilities(np.full(6, 3.0)).tolist() == [0.0] * 6


@given(st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=12))
def test_only_the_order_of_scores_counts(scores: list[float]) -> None:
    found = np.array(scores)
    np.testing.assert_array_equal(utilities(found), utilities(np.exp(found)))


def test_scores_that_are_all_alike_teach_nothing() -> None:
    search = PGPE([0.5], [0.1], low=[0.0], high=[1.0])
    search.ask()
    search.tell(np.zeros(32))
    assert search.mean.tolist() == [0.5]
    assert search.spread.tolist() == [0.1]


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie in the box"):
        PGPE([1.2], [0.1], low=[0.0], high=[1.0])
    with pytest.raises(ValueError, match="spread"):
        PGPE([0.5], [0.0], low=[0.0], high=[1.0])
    search = PGPE([0.5], [0.1], low=[0.0], high=[1.0], pairs=2)
    with pytest.raises(ValueError, match="ask first"):
        search.tell([1.0, 2.0, 3.0, 4.0])
    search.ask()
    with pytest.raises(ValueError, match="finite"):
        search.tell([1.0, np.nan, 3.0, 4.0])
