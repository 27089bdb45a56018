"""Conformal thresholds with the exact rank, of scores that are held in order.

The threshold is the k-th smallest score, k = ceil((n + 1)(1 - alpha)), infinite when k > n (Lei et al. 2018).
Where older scores are in doubt they weigh less than one, and the threshold is the smallest score below which
the weights reach (1 - alpha)(their sum + 1): the new score itself weighs one, at infinity (Barber, Candes,
Ramdas and Tibshirani 2023).

`overlap` counts the scores per independent outcome: the new outcome then weighs as much as that many scores.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "conformal_quantile",
    "covering_level",
    "discounted_covering_level",
    "discounted_threshold",
    "remember",
    "threshold",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What rounding may add to a rank: 75 * 0.68 is 51.00000000000001.
_ROUNDING = 1e-9


@nb.njit(cache=True)
def threshold(ordered: Floats, n: int, alpha: float, overlap: float) -> float:
    """Threshold from the first `n` scores of an ascending array."""
    rank = int(np.ceil((n + overlap) * (1.0 - alpha) - _ROUNDING))
    if rank > n:
        return np.inf
    return ordered[rank - 1] if rank >= 1 else -np.inf


def conformal_quantile(scores: ArrayLike, level: float) -> float:
    """Split-conformal threshold: the k-th smallest score, ``k = ceil((n + 1) level)``, infinite if ``k > n``.

    A new exchangeable score lies at or below it with probability ``k / (n + 1) >= level`` exactly, when
    scores are continuous. (`numpy.quantile(scores, level)` covers less than `level`.)

    Parameters
    ----------
    scores : array_like, shape (n,)
        Nonconformity scores of data the model was not fitted on, without NaN.
    level : float
        Coverage asked for, between 0 and 1.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if np.isnan(ordered).any():
        raise ValueError("scores hold NaN; drop unlabelled rows first")
    return float(threshold(ordered, ordered.size, 1.0 - level, 1.0))


@nb.njit(cache=True)
def discounted_threshold(
    ordered: Floats, born: Ints, n: int, alpha: float, overlap: float, kept: float, since: int
) -> float:
    """Threshold where scores born at `since` or before weigh `kept`, the others 1; with 1 as `threshold`."""
    below = 0.0
    for i in range(n):
        below += kept if born[i] <= since else 1.0
    needed = (below + overlap) * (1.0 - alpha) - _ROUNDING
    if needed > below:
        return np.inf
    if needed <= 0.0:
        return -np.inf
    for i in range(n - 1, -1, -1):
        below -= kept if born[i] <= since else 1.0
        if below < needed:
            return ordered[i]
    return ordered[0]


@nb.njit(cache=True)
def _count_below(ordered: Floats, n: int, score: float) -> int:
    """Count the first `n` ascending scores that are below `score`; quicker to compile than numpy's."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < score:
            low = middle + 1
        else:
            high = middle
    return low


@nb.njit(cache=True)
def covering_level(ordered: Floats, n: int, score: float, overlap: float) -> float:
    """Largest alpha whose threshold still covers `score` (beta of Gibbs and Candes), exclusive."""
    return 1.0 - _count_below(ordered, n, score) / (n + overlap)


@nb.njit(cache=True)
def discounted_covering_level(
    ordered: Floats, born: Ints, n: int, score: float, overlap: float, kept: float, since: int
) -> float:
    """`covering_level` under the weights of `discounted_threshold`."""
    total, below = 0.0, 0.0
    for i in range(n):
        weight = kept if born[i] <= since else 1.0
        total += weight
        if ordered[i] < score:
            below += weight
    return 1.0 - below / (total + overlap)


@nb.njit(cache=True)
def remember(
    score: float,
    clock: int,
    recent: Floats,
    recent_born: Ints,
    ordered: Floats,
    ordered_born: Ints,
    count: int,
    seen: int,
) -> int:
    """Put a score into the ring and the ordered copy of one category; the oldest leaves a full window."""
    window = recent.size
    slot = seen % window
    if count == window:
        gap = _count_below(ordered, window, recent[slot])
        while ordered_born[gap] != recent_born[slot]:  # equal scores of different age
            gap += 1
    else:
        gap = count
        count += 1
    while gap + 1 < count and ordered[gap + 1] < score:
        ordered[gap], ordered_born[gap] = ordered[gap + 1], ordered_born[gap + 1]
        gap += 1
    while gap > 0 and ordered[gap - 1] > score:
        ordered[gap], ordered_born[gap] = ordered[gap - 1], ordered_born[gap - 1]
        gap -= 1
    ordered[gap], ordered_born[gap] = score, clock
    recent[slot], recent_born[slot] = score, clock
    return count
