"""The regime chain: its filter against enumeration, its fit against a planted model, its fallbacks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from engine.regimes.hmm import FitSettings, RegimeChain, anchored_chain, filter_chain, fit_chain, named_order

TRANSITION = np.array([[0.9, 0.08, 0.02], [0.05, 0.9, 0.05], [0.1, 0.2, 0.7]])
ANCHORS = np.array([[0.0, 0.8], [-0.5, -0.5], [2.5, 0.0]])


def chain(seed: int = 0) -> RegimeChain:
    factor = np.random.default_rng(seed).standard_normal((3, 2, 2))
    return RegimeChain(TRANSITION, ANCHORS, factor @ factor.transpose(0, 2, 1) + 0.3 * np.eye(2))


def run(
    model: RegimeChain, rows: np.ndarray, weight: float = 1.0, steps: np.ndarray | None = None
) -> np.ndarray:
    n = len(rows)
    steps = np.r_[0, np.ones(n - 1, dtype=int)] if steps is None else steps
    return filter_chain(model, rows, np.arange(n) == 0, np.tile(model.stationary, (n, 1)), steps, weight)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_filter_equals_enumeration_of_all_paths(weight: float) -> None:
    model = chain()
    rows = np.random.default_rng(1).standard_normal((5, 2))
    density = np.array(
        [
            [multivariate_normal(m, c).pdf(x) for m, c in zip(model.means, model.covariances, strict=True)]
            for x in rows
        ]
    )
    for t in range(1, 6):
        mass = np.zeros(3)
        for path in product(range(3), repeat=t):
            p = model.stationary[path[0]] * density[0, path[0]] ** weight
            for s in range(1, t):
                p *= TRANSITION[path[s - 1], path[s]] * density[s, path[s]] ** weight
            mass[path[-1]] += p
        np.testing.assert_allclose(run(model, rows[:t], weight)[-1], mass / mass.sum(), rtol=1e-9)


def test_stationary_shares_are_left_unchanged() -> None:
    shares = chain().stationary
    np.testing.assert_allclose(shares @ TRANSITION, shares, atol=1e-12)


def test_unknown_rows_only_move_by_the_transition_matrix() -> None:
    rows = np.array([[2.5, 0.0], [2.5, 0.0], [np.nan, 0.0], [0.0, np.nan]])
    beliefs = run(chain(), rows)
    np.testing.assert_allclose(beliefs[2], beliefs[1] @ TRANSITION, atol=1e-14)
    np.testing.assert_allclose(beliefs[3], beliefs[2] @ TRANSITION, atol=1e-14)


def test_a_gap_counts_every_missing_bar() -> None:
    rows = np.array([[2.5, 0.0], [np.nan, np.nan]])
    beliefs = run(chain(), rows, steps=np.array([0, 7]))
    np.testing.assert_allclose(beliefs[1], beliefs[0] @ np.linalg.matrix_power(TRANSITION, 7), atol=1e-14)


def planted(seed: int, n: int = 12_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    moves = np.cumsum(np.array([[0.97, 0.02, 0.01], [0.02, 0.97, 0.01], [0.02, 0.03, 0.95]]), axis=1)
    state, states = 1, np.empty(n, int)
    for t, u in enumerate(rng.random(n)):
        state = int(np.searchsorted(moves[state], u))
        states[t] = state
    return np.array([[0.2, 1.0], [-0.7, -0.6], [2.0, 0.1]])[states] + 0.5 * rng.standard_normal(
        (n, 2)
    ), states


def test_fit_finds_a_planted_model() -> None:
    rows, states = planted(2)
    model = fit_chain(rows, [6_000, 6_000], ANCHORS, FitSettings(thinning=1, anchor_weight=0.05))
    np.testing.assert_allclose(model.means, [[0.2, 1.0], [-0.7, -0.6], [2.0, 0.1]], atol=0.1)
    np.testing.assert_allclose(np.diag(model.transition), [0.97, 0.97, 0.95], atol=0.02)
    assert not model.fallback
    assert (run(model, rows).argmax(axis=1) == states).mean() > 0.95


def test_a_refit_starts_from_the_previous_model() -> None:
    rows, _ = planted(3)
    settings = FitSettings(thinning=1, refit_iterations=1)
    first = fit_chain(rows, [len(rows)], ANCHORS, settings)
    again = fit_chain(rows, [len(rows)], ANCHORS, settings, first)
    np.testing.assert_allclose(again.means, first.means, atol=0.01)


def test_thinned_transitions_are_those_of_one_bar() -> None:
    rows, _ = planted(4, 40_000)
    model = fit_chain(rows[::2], [20_000], ANCHORS, FitSettings(thinning=2))
    np.testing.assert_allclose(np.diag(model.transition), [0.97, 0.97, 0.95], atol=0.02)
    np.testing.assert_allclose(model.transition.sum(axis=1), 1.0, atol=1e-12)


def test_a_degenerate_fit_leaves_the_previous_model_or_the_definition_in_force() -> None:
    quiet = np.random.default_rng(5).normal([-0.5, -0.5], 0.1, (2_000, 2))
    settings = FitSettings(anchor_weight=50.0, smallest_share=0.05)
    definition = fit_chain(quiet, [2_000], ANCHORS, settings)
    assert definition.fallback
    np.testing.assert_array_equal(definition.means, anchored_chain(ANCHORS).means)
    previous = chain()
    assert fit_chain(quiet, [2_000], ANCHORS, settings, previous) is previous


def test_states_are_named_by_what_they_are_not_by_their_order() -> None:
    means = np.array([[3.0, 0.1], [0.1, 0.9], [-0.6, -0.4]])
    assert named_order(means, ANCHORS) == [1, 2, 0]
