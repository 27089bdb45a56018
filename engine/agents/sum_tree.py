"""Sums and maxima over a long array that changes: eight children to a node, so that a node is one cache line.

A binary tree over a million leaves is twenty reads deep and most of them miss the cache; with eight children
it is seven. A batch goes down all at once, level by level, and asks for the lines of the next level while it
is at this one. A node is always joined anew from its children and never corrected by a difference, so that
nothing drifts however often a leaf changes.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.agents.prefetch import prefetch

__all__ = ["MaxTree", "SumTree", "aligned"]

_WIDTH, _BITS, _LINE = 8, 3, 64
_AHEAD = 16


def aligned(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Array of unset values that begins on a cache line."""
    room = np.empty(size * dtype.itemsize + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size * dtype.itemsize].view(dtype)


@nb.njit(cache=True, error_model="numpy")
def _join(nodes, first, largest):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Join the eight nodes from `first` on, their sums in pairs as `_draw` takes them apart."""
    at = np.uintp(first)
    a, b, c, d = nodes[at], nodes[at + _U1], nodes[at + _U2], nodes[at + _U3]
    at += _U4
    e, f, g, h = nodes[at], nodes[at + _U1], nodes[at + _U2], nodes[at + _U3]
    if largest:
        return max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)))
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


# Unsigned, since a compiled index that may be negative costs a comparison.
_U1, _U2, _U3, _U4 = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)


@nb.njit(cache=True, error_model="numpy")
def _draw(nodes, offsets, uniform, leaves, heights):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write the leaf drawn from each stratum into `leaves` and its weight into `heights`."""
    stratum = _join(nodes, 0, False) / leaves.size
    leaves[:] = 0
    for k in range(leaves.size):
        heights[k] = (k + uniform[k]) * stratum
    for level in range(offsets.size):
        start = offsets[level]
        below = offsets[min(level + 1, offsets.size - 1)]
        for k in range(leaves.size):
            first = np.uintp(start + _WIDTH * leaves[k])
            height, at = heights[k], first
            left = (nodes[at] + nodes[at + _U1]) + (nodes[at + _U2] + nodes[at + _U3])
            right = height >= left
            height -= left if right else 0.0
            at += _U4 * np.uintp(right)
            left = nodes[at] + nodes[at + _U1]
            right = height >= left
            height -= left if right else 0.0
            at += _U2 * np.uintp(right)
            left = nodes[at]
            right = height >= left
            height -= left if right else 0.0
            at += np.uintp(right)
            # rounding may lead past the last child that has any weight; all below that one are passed as well
            while nodes[at] <= 0.0 and at > first:
                at -= _U1
                height = nodes[at]
            leaf = _WIDTH * leaves[k] + np.intp(at - first)
            leaves[k] = leaf
            heights[k] = height if level < offsets.size - 1 else nodes[at]
            prefetch(nodes, below + _WIDTH * leaf)


@nb.njit(cache=True, error_model="numpy")
def _place(nodes, offsets, leaves, values, largest):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set leaves in any order, the last of equal ones stays, and join anew what stands above them."""
    last = offsets.size - 1
    for k in range(leaves.size):
        prefetch(nodes, offsets[last] + leaves[min(k + _AHEAD, leaves.size - 1)])
        nodes[offsets[last] + leaves[k]] = values[k]
    for level in range(last, 0, -1):
        before = -1
        for k in range(leaves.size):
            node = leaves[k] >> (_BITS * (last - level + 1))
            if node != before:
                nodes[offsets[level - 1] + node] = _join(nodes, offsets[level] + _WIDTH * node, largest)
            before = node


@nb.njit(cache=True, error_model="numpy")
def _place_run(nodes, offsets, start, values, largest):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set consecutive leaves; each node above them is joined once."""
    last = offsets.size - 1
    begin = offsets[last] + start
    nodes[begin : begin + values.size] = values
    low, high = start, start + values.size - 1
    for level in range(last, 0, -1):
        low, high = low >> _BITS, high >> _BITS
        for node in range(low, high + 1):
            nodes[offsets[level - 1] + node] = _join(nodes, offsets[level] + _WIDTH * node, largest)


class _Tree:
    """`size` leaves, float64, zero at first, under nodes that join them; the root's children come first."""

    _largest: bool

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        widths = [-(-size // _WIDTH) * _WIDTH]
        while widths[0] > _WIDTH:
            widths.insert(0, -(-widths[0] // _WIDTH**2) * _WIDTH)
        self.size = size
        self._offsets = np.concatenate(([0], np.cumsum(widths[:-1]))).astype(np.int64)
        self._nodes: NDArray[np.float64] = aligned(sum(widths), np.dtype(np.float64))
        self._nodes[:] = 0.0

    @property
    def leaves(self) -> NDArray[np.float64]:
        """The leaves, to be read."""
        start = int(self._offsets[-1])
        view = self._nodes[start : start + self.size]
        view.flags.writeable = False
        return view

    def place(self, leaves: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Set leaves in any order; of equal ones the last counts."""
        _place(self._nodes, self._offsets, leaves, values, self._largest)

    def place_run(self, start: int, values: NDArray[np.float64]) -> None:
        """Set the consecutive leaves from `start` on."""
        _place_run(self._nodes, self._offsets, start, values, self._largest)


class SumTree(_Tree):
    """Weights in which one finds where a share of their sum falls (Schaul et al. 2016, appendix B.2.1).

    Parameters
    ----------
    size : int
        Number of leaves.
    """

    _largest = False

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        return float(_join(self._nodes, 0, largest=False))

    def draw(self, uniform: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """One leaf from each of as many equal strata of the total as there are numbers.

        Parameters
        ----------
        uniform : array (B,)
            Where in its stratum each draw falls, in [0, 1).

        Returns
        -------
        leaves : array of int64, shape (B,)
            Ascending. Leaf i covers the heights from the sum of the leaves before it up to, but not with,
            that sum and its own; one of weight zero is never drawn.
        weights : array (B,)
            Their weights.
        """
        leaves, weights = np.empty(len(uniform), np.int64), np.empty(len(uniform))
        _draw(self._nodes, self._offsets, uniform, leaves, weights)
        return leaves, weights


class MaxTree(_Tree):
    """Values, none negative, whose largest is known at any time.

    Parameters
    ----------
    size : int
        Number of leaves.
    """

    _largest = True

    @property
    def maximum(self) -> float:
        """Largest leaf."""
        return float(_join(self._nodes, 0, largest=True))
