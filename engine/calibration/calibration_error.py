"""How far stated probabilities are from what came true."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "adaptive_calibration_error",
    "bins_of_equal_count",
    "bins_of_equal_width",
    "expected_calibration_error",
]

Ints = NDArray[np.int64]


def expected_calibration_error(stated: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Mean distance between stated probability and realised share, over equal bins of [0, 1].

    Parameters
    ----------
    stated : array_like, shape (n,)
        In [0, 1], without NaN.
    correct : array_like of bool, shape (n,)
    bins : int

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015); Guo et al. (2017).
    """
    return _mean_gap(bins_of_equal_width(stated, bins), stated, correct)


def adaptive_calibration_error(stated: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """`expected_calibration_error` over bins of equally many rows; equal values are never parted.

    References
    ----------
    Nixon et al. (2019).
    """
    return _mean_gap(bins_of_equal_count(stated, bins), stated, correct)


def bins_of_equal_width(stated: ArrayLike, bins: int) -> Ints:
    """Bin of each probability, 0 to ``bins - 1``."""
    return np.searchsorted(np.arange(1, bins) / bins, _known(stated), side="right")


def bins_of_equal_count(stated: ArrayLike, bins: int) -> Ints:
    """Bin of each probability, about equally many in each."""
    p = _known(stated)
    edges = np.unique(np.sort(p)[(np.arange(1, bins) * p.size) // bins])
    return np.searchsorted(edges, p, side="right")


def _mean_gap(place: Ints, stated: ArrayLike, correct: ArrayLike) -> float:
    gap = np.asarray(stated, np.float64) - np.asarray(correct, np.float64)
    return float(np.abs(np.bincount(place, gap)).sum() / gap.size)


def _known(stated: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(stated, np.float64)
    if p.size == 0 or np.isnan(p).any():
        raise ValueError("stated must hold probabilities without NaN, at least one; drop unknown rows first")
    return p
