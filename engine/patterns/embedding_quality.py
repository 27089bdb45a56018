"""Whether embeddings use their space: effective rank, uniformity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["effective_rank", "uniformity"]


def effective_rank(embedding: ArrayLike) -> float:
    """Exponential of the entropy of the normalised singular values (Garrido et al. 2023).

    Parameters
    ----------
    embedding : array, shape (n, d)

    Returns
    -------
    float
        From 1, where all lie on a line through the origin, to min(n, d).

    Raises
    ------
    ValueError
        If there is nothing to judge, or it is all zero.
    """
    values = np.asarray(embedding, np.float64)
    if values.ndim != 2 or not values.any():
        raise ValueError(f"embedding of shape {values.shape} is not a table with a value other than 0")
    singular = np.linalg.svd(values, compute_uv=False)
    share = singular[singular > 0.0] / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def uniformity(embedding: ArrayLike, scale: float = 2.0) -> float:
    """Logarithm of the mean Gaussian potential of all pairs of unit vectors (n, d) (Wang & Isola 2020).

    0 where all are one point; -4 + O(1/d) is reached at scale 2 by points all over the sphere.
    """
    points = np.asarray(embedding, np.float64)
    squared = np.maximum(2.0 - 2.0 * (points @ points.T), 0.0)[np.triu_indices(len(points), k=1)]
    return float(np.log(np.exp(-scale * squared).mean()))
