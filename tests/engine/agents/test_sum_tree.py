"""SumTree and MaxTree against cumulative sums and plain maxima."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.agents.sum_tree import MaxTree, SumTree, aligned

sizes = st.integers(1, 700)
seeds = st.integers(0, 2**32 - 1)


def weights(size: int, seed: int) -> np.ndarray:
    """Small whole numbers, sums of which are exact, with many zeros."""
    drawn = np.random.default_rng(seed).integers(0, 5, size).astype(float)
    drawn[drawn.argmax()] += 1.0
    return drawn


@settings(deadline=None)
@given(size=sizes, seed=seeds, batch=st.integers(1, 50))
def test_draws_are_those_of_the_cumulative_sum(size: int, seed: int, batch: int) -> None:
    tree, values = SumTree(size), weights(size, seed)
    tree.place_run(0, values)
    assert tree.total == values.sum()
    uniform = np.random.default_rng(seed).integers(0, 64, batch) / 64
    heights = (np.arange(batch) + uniform) * (values.sum() / batch)
    leaves, drawn = tree.draw(uniform)
    np.testing.assert_array_equal(leaves, np.searchsorted(values.cumsum(), heights, "right"))
    np.testing.assert_array_equal(drawn, values[leaves])


@settings(deadline=None)
@given(size=sizes, seed=seeds)
def test_changes_reach_the_root(size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    sums, maxima, values = SumTree(size), MaxTree(size), np.zeros(size)
    for _ in range(5):
        leaves = random.integers(0, size, 9)
        new = random.integers(0, 100, 9).astype(float)
        start = int(random.integers(0, size))
        run = random.integers(0, 100, int(random.integers(1, size - start + 1))).astype(float)
        for tree in (sums, maxima):
            tree.place(leaves, new)
            tree.place_run(start, run)
        for leaf, value in zip(leaves, new, strict=True):
            values[leaf] = value
        values[start : start + len(run)] = run
        np.testing.assert_array_equal(sums.leaves, values)
        assert sums.total == values.sum()
        assert maxima.maximum == values.max()


@settings(deadline=None)
@given(size=sizes, seed=seeds, spread=st.floats(0, 40))
def test_no_leaf_of_weight_zero_is_drawn(size: int, seed: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    values = np.exp(random.normal(0, spread, size)) * (random.random(size) < 0.3)
    values[random.integers(size)] = 1.0
    tree = SumTree(size)
    tree.place_run(0, values)
    leaves, drawn = tree.draw(np.full(64, np.nextafter(1.0, 0.0)))
    assert (drawn > 0.0).all()
    assert (leaves < size).all()
    assert (np.diff(leaves) >= 0).all()


def test_sums_do_not_drift() -> None:
    random = np.random.default_rng(0)
    tree, running = SumTree(1000), np.float32(0)
    values = np.zeros(1000)
    for _ in range(2000):
        leaves = random.choice(1000, 50, replace=False)
        new = np.exp(random.normal(0, 6, 50))
        running += np.float32((new - values[leaves]).sum())
        values[leaves] = new
        tree.place(leaves, new)
    small = random.exponential(size=1000)
    running += np.float32((small - tree.leaves).sum())
    tree.place_run(0, small)
    assert tree.total == pytest.approx(math.fsum(small), rel=1e-14)
    assert abs(running - tree.total) > 0.01, "single precision, corrected by differences, drifts"


def test_leaves_are_not_written_from_outside() -> None:
    with pytest.raises(ValueError, match="read-only"):
        SumTree(3).leaves[0] = 1.0


def test_nodes_begin_on_a_cache_line() -> None:
    for size in (1, 100, 12345):
        assert aligned(size, np.dtype(np.float64)).ctypes.data % 64 == 0


def test_a_tree_needs_a_leaf() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SumTree(0)
