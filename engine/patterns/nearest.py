"""Exact search for the nearest points of a past that keep apart from each other in time."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = ["Neighbours", "nearest_apart"]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# Squared distances in float32 are right to less than this share of the largest squared length.
_ROUNDING = 1e-5
# Candidates for each neighbour: most lie in a stretch of time that a nearer one stands for.
_CANDIDATES = 16


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Entries nearest to each query, nearest first: index -1 and infinite distance where there are no more.

    Both have the shape (Q, top_k); distances are Euclidean.
    """

    index: Integers
    distance: NDArray[np.float64]


def nearest_apart(
    points: Floats, entries: Floats, past: Integers, step: Integers, top_k: int, apart: int
) -> Neighbours:
    """Find the nearest of the first entries to each point, at least `apart` steps from each other.

    Nearest first; of equal ones the first. An entry is passed over if a nearer one that was taken is less
    than `apart` steps from it.

    Parameters
    ----------
    points : ndarray of float32, shape (Q, D)
    entries : ndarray of float32, shape (M, D)
    past : ndarray of int64, shape (Q,)
        How many entries, from the first on, each point may see.
    step : ndarray of int64, shape (M,)
        Place of each entry in time.
    top_k : int
        At least 1.
    apart : int
        Not negative; 0 takes all.
    """
    index = np.full((len(points), top_k), -1, np.int64)
    distance = np.full((len(points), top_k), np.inf)
    rounding = _ROUNDING * float(max((a**2).sum(axis=1).max(initial=1.0) for a in (points, entries)))
    # Each search is short: threads would wait for each other longer than they work.
    with threadpool_limits(limits=1):
        for n in np.unique(past[past > 0]).tolist():
            rows, width, seen = np.flatnonzero(past == n), min(n, _CANDIDATES * top_k), entries[:n]
            while rows.size:
                found = faiss.knn(points[rows], seen, width)[1]
                done = _nearest(points, rows, seen, found, step, apart, width == n, rounding, index, distance)
                rows, width = rows[~done], min(n, 4 * width)
    return Neighbours(index, distance)


@njit(cache=True)
def _nearest(points, rows, entries, found, step, apart, everything, rounding, index, distance):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take the nearest of the candidates that keep apart, for queries whose candidates suffice to tell.

    Distances are computed anew in float64, pair by pair, so that ties are ties whatever the search rounds.
    """
    top_k, width = index.shape[1], found.shape[1]
    done = np.zeros(rows.size, np.bool_)
    away = np.empty(width)
    for q in range(rows.size):
        point = points[rows[q]]
        for c in range(width):
            total = 0.0
            for d in range(point.size):
                gap = np.float64(point[d]) - np.float64(entries[found[q, c], d])
                total += gap * gap
            away[c] = total
        # Stable sorts, the last one first: by distance, then in the order of entries.
        by_entry = np.argsort(found[q], kind="mergesort")
        order = by_entry[np.argsort(away[by_entry], kind="mergesort")]
        taken = 0
        for c in order:
            entry, free = found[q, c], True
            for k in range(taken):
                if abs(step[entry] - step[index[rows[q], k]]) < apart:
                    free = False
                    break
            if free:
                index[rows[q], taken] = entry
                distance[rows[q], taken] = np.sqrt(away[c])
                taken += 1
                if taken == top_k:
                    break
        enough = taken == top_k and distance[rows[q], top_k - 1] ** 2 < away[order[-1]] - rounding
        done[q] = everything or enough
        if not done[q]:
            index[rows[q], :] = -1
            distance[rows[q], :] = np.inf
    return done
