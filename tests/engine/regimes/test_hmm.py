"""Forward and backward pass against enumeration of all paths."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from engine.regimes.hmm import forward, smooth

MODES = np.array([[0.9, 0.08, 0.02], [0.05, 0.9, 0.05], [0.1, 0.2, 0.7]])
LEVELS = np.array([[0.8, 0.2], [0.3, 0.7]])
FIRST = np.array([0.3, 0.1, 0.2, 0.1, 0.1, 0.2])
MOVES = np.kron(MODES, LEVELS)


def bars(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 2.0 * rng.standard_normal((n, 6)), rng.standard_normal((n, 3))


def enumerated(density: np.ndarray, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of each bar's state given all bars, and the expected moves between modes."""
    weight = np.exp(density + np.repeat(evidence, 2, axis=1))
    n = len(density)
    posterior, moves = np.zeros((n, 6)), np.zeros((3, 3))
    for path in product(range(6), repeat=n):
        p = (FIRST @ MOVES)[path[0]] * weight[0, path[0]]
        for t in range(1, n):
            p *= MOVES[path[t - 1], path[t]] * weight[t, path[t]]
        for t, state in enumerate(path):
            posterior[t, state] += p
            if t:
                moves[path[t - 1] // 2, state // 2] += p
    total = posterior[0].sum()
    return posterior / total, moves / total


def test_the_filter_equals_enumeration_of_all_paths() -> None:
    density, evidence = bars(1, 5)
    beliefs, _ = forward(density, evidence, FIRST, MODES, LEVELS)
    for t in range(1, 6):
        posterior, _ = enumerated(density[:t], evidence[:t])
        np.testing.assert_allclose(beliefs[t - 1], posterior[-1], rtol=1e-9)


def test_smoothing_equals_enumeration_of_all_paths() -> None:
    density, _ = bars(2, 5)
    silent = np.zeros((5, 3))
    beliefs, _ = forward(density, silent, FIRST, MODES, LEVELS)
    posterior, moves = smooth(density, beliefs, MODES, LEVELS)
    expected, expected_moves = enumerated(density, silent)
    np.testing.assert_allclose(posterior, expected, rtol=1e-9)
    np.testing.assert_allclose(moves, expected_moves, rtol=1e-9)


def test_the_likelihood_is_of_the_densities_alone_whatever_else_is_believed() -> None:
    density, evidence = bars(3, 6)
    beliefs, likelihood = forward(density, evidence, FIRST, MODES, LEVELS)
    before = np.vstack([FIRST, beliefs[:-1]])
    predicted = ((before @ MOVES) * np.exp(density)).sum(axis=1)
    assert likelihood == pytest.approx(np.log(predicted).sum())
    assert likelihood != pytest.approx(forward(density, np.zeros((6, 3)), FIRST, MODES, LEVELS)[1])


def test_no_evidence_moves_belief_by_the_transitions_alone() -> None:
    beliefs, likelihood = forward(np.zeros((4, 6)), np.zeros((4, 3)), FIRST, MODES, LEVELS)
    np.testing.assert_allclose(beliefs[3], FIRST @ np.linalg.matrix_power(MOVES, 4), atol=1e-12)
    assert likelihood == pytest.approx(0.0, abs=1e-12)


def test_an_impossible_bar_rules_nothing_out_for_good() -> None:
    density = np.zeros((40, 6))
    density[0, 2:] = -5_000.0
    beliefs, likelihood = forward(density, np.zeros((40, 3)), FIRST, MODES, LEVELS)
    assert np.isfinite(likelihood)
    assert beliefs[0, :2].sum() > 1.0 - 1e-9
    assert beliefs[-1, 2:].sum() > 0.4


def test_the_future_of_a_bar_is_in_the_smoothed_and_not_in_the_filtered() -> None:
    density, _ = bars(4, 30)
    silent = np.zeros((30, 3))
    whole, _ = forward(density, silent, FIRST, MODES, LEVELS)
    past, _ = forward(density[:20], silent[:20], FIRST, MODES, LEVELS)
    np.testing.assert_array_equal(whole[:20], past)
    difference = smooth(density, whole, MODES, LEVELS)[0][:20] - smooth(density[:20], past, MODES, LEVELS)[0]
    assert np.abs(difference).max() > 1e-3
