"""Limit on the correlation between positions: the same bet must not be taken twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Conflict", "limit_correlation"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Conflict:
    """Why an asset was dropped: its position moves with that of `kept` more than allowed."""

    dropped: int
    kept: int
    correlation: float
    allowed: float


def limit_correlation(
    correlation: Floats,
    priority: Floats,
    signs: Floats,
    held: NDArray[np.bool_],
    *,
    limit: float,
    hysteresis: float,
) -> tuple[NDArray[np.bool_], list[Conflict]]:
    """Keep assets greedily, most important first, while no two positions move together too much.

    Positions move together by ``sign_i sign_j rho_ij``: a long and a short of like assets hedge each other
    and never conflict. Two positions already held may stay up to `limit`; a pair with a newcomer must lie
    `hysteresis` below it, so that an estimate that wavers about the limit does not trade back and forth.

    Parameters
    ----------
    correlation : ndarray, shape (n, n)
    priority : ndarray, shape (n,)
        Higher goes first; of equals the one that comes first. The first is always kept.
    signs : ndarray of -1 or 1, shape (n,)
        Side of each position.
    held : ndarray of bool, shape (n,)
        Positions held now on that side.
    limit, hysteresis : float

    Returns
    -------
    kept : ndarray of bool, shape (n,)
        No pair in it exceeds `limit`, and no other asset could be added.
    conflicts : list of Conflict
        One for each asset dropped, with the kept asset it moves most with.
    """
    together = correlation * np.outer(signs, signs)
    allowed = np.where(np.outer(held, held), limit, limit - hysteresis)
    kept = np.zeros(len(priority), dtype=bool)
    conflicts: list[Conflict] = []
    for i in np.argsort(-priority, kind="stable"):
        excess = np.where(kept, together[i] - allowed[i], -np.inf)
        worst = int(np.argmax(excess))
        if excess[worst] > 0:
            conflicts.append(Conflict(int(i), worst, float(together[i, worst]), float(allowed[i, worst])))
        else:
            kept[i] = True
    return kept, conflicts
