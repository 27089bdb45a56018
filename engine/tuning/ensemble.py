"""Several good variants of a search taken together, against the luck of the single best.

The highest of a thousand scores is high by merit and by luck. Sets that score almost as high and lie apart
from it share the merit more than the luck. Whether their mean is better than any of them is not taken for
granted: it joins those that were searched, as one more that the gate judges.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.tuning.parameters import PARAMETERS, ParameterSet, highs, lows
from engine.tuning.search import Objective, SearchResult

__all__ = ["ensemble", "variants", "with_ensemble"]

Floats = NDArray[np.float64]


def variants(searched: SearchResult, k: int = 5, *, apart: float = 0.1) -> NDArray[np.int64]:
    """Choose the best candidates that differ: each lies apart from all that were chosen before it.

    Only candidates that score above what is in force are chosen, so that there may be fewer than `k`, or
    none.

    Parameters
    ----------
    searched : SearchResult
    k : int
    apart : float
        Least distance: of some parameter, as a share of its range.

    Returns
    -------
    ndarray of int
        Rows of the candidates, the best first.

    Raises
    ------
    ValueError
        If `k` is less than 1 or `apart` not from 0 to 1.
    """
    if k < 1:
        raise ValueError(f"k = {k} must be at least 1")
    if not 0.0 <= apart <= 1.0:
        raise ValueError(f"apart = {apart} must lie between 0 and 1")
    shares = (searched.candidates - lows()) / (highs() - lows())
    chosen: list[int] = []
    for row in np.argsort(-searched.scores, kind="stable"):
        if len(chosen) == k or searched.scores[row] <= searched.scores[0]:
            break
        if all(np.abs(shares[row] - shares[other]).max() >= apart for other in chosen):
            chosen.append(int(row))
    return np.array(chosen, np.int64)


def ensemble(searched: SearchResult, members: NDArray[np.int64]) -> ParameterSet:
    """Combine variants into one set: their mean, weighted by what each scores above what is in force.

    Parameters that no member moved stay as they are, the others are on the grid of steps.

    Parameters
    ----------
    searched : SearchResult
    members : ndarray of int
        As of `variants`; without any, what is in force is returned.

    Raises
    ------
    ValueError
        If a member does not score above what is in force.
    """
    incumbent = searched.candidates[0]
    if not len(members):
        return ParameterSet.from_vector(incumbent)
    gain = searched.scores[members] - searched.scores[0]
    if not (gain > 0.0).all():
        raise ValueError("every member must score above what is in force")
    sets = searched.candidates[members]
    mean = np.average(sets, axis=0, weights=gain)
    moved = (sets != incumbent).any(axis=0)
    return ParameterSet.from_vector(
        [
            row.snap(value) if moves else now
            for row, value, moves, now in zip(PARAMETERS.values(), mean, moved, incumbent, strict=True)
        ]
    )


def with_ensemble(searched: SearchResult, objective: Objective) -> SearchResult:
    """Let the mean of the best variants join what was searched, as its last candidate.

    Nothing is added where there are fewer than two variants, or their mean is a set that was searched itself.

    Parameters
    ----------
    searched : SearchResult
    objective : Objective
        What the search maximised.
    """
    members = variants(searched)
    together = ensemble(searched, members)
    vector = together.vector()
    if members.size < 2 or (searched.candidates == vector).all(axis=1).any():
        return searched
    score = objective(vector[None])
    return replace(
        searched,
        best=together if score[0] > searched.scores.max() else searched.best,
        candidates=np.vstack([searched.candidates, vector]),
        scores=np.append(searched.scores, score),
    )
