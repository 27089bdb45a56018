"""Clopper-Pearson bounds of a binomial proportion, also for effective (non-integer) counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

__all__ = ["clopper_pearson", "clopper_pearson_lower"]


def clopper_pearson_lower(successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> NDArray:
    """One-sided lower bound: the proportion is at least this with probability `confidence` or more.

    Parameters
    ----------
    successes, trials : array_like of float
        Counts with ``0 <= successes <= trials``. Dependent observations enter as *effective* counts, both
        divided by the same factor; the Beta form of the bound is defined for them too.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    ndarray
        In ``[0, 1)``; 0 without successes or without trials.

    References
    ----------
    Clopper and Pearson (1934).
    """
    won, tried = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    _require_counts(won, tried)
    some = won > 0
    return np.where(some, betaincinv(np.where(some, won, 1.0), tried - won + 1.0, 1.0 - confidence), 0.0)


def clopper_pearson(
    successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray, NDArray]:
    """Two-sided interval of a proportion; parameters as in `clopper_pearson_lower`.

    Returns
    -------
    low, high : ndarray
        ``[0, 1]`` where there are no trials.
    """
    one_sided = (1.0 + confidence) / 2.0
    won, tried = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    return (
        clopper_pearson_lower(won, tried, one_sided),
        1.0 - clopper_pearson_lower(tried - won, tried, one_sided),
    )


def _require_counts(won: NDArray, tried: NDArray) -> None:
    if not (np.isfinite(tried).all() and (won >= 0).all() and (won <= tried * (1 + 1e-12)).all()):
        raise ValueError("counts must satisfy 0 <= successes <= trials and be finite")
