"""A few coordinates of an embedding, for models that cannot take all of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from engine.errors import NotEnoughDataError

__all__ = ["CompactProjection"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CompactProjection:
    """Principal components of the embeddings of a training window, each of variance 1 there.

    Parameters
    ----------
    center : ndarray of float32, shape (D,)
    axes : ndarray of float32, shape (D, K)
    """

    center: Floats
    axes: Floats

    @classmethod
    def fit(cls, embedding: Floats, width: int = 16) -> CompactProjection:
        """Fit on embeddings (n, D) of the training window.

        Raises
        ------
        NotEnoughDataError
            If there are not more embeddings than components.
        ValueError
            If the width is not from 1 to D.
        """
        if not 1 <= width <= embedding.shape[1]:
            raise ValueError(f"width = {width} must be from 1 to {embedding.shape[1]}")
        if len(embedding) <= width:
            raise NotEnoughDataError(f"{len(embedding)} embeddings are too few for {width} components")
        fitted = PCA(width, svd_solver="covariance_eigh").fit(embedding.astype(np.float64))
        spread = np.sqrt(np.maximum(fitted.explained_variance_, 1e-12))
        axes = fitted.components_.T / spread
        return cls(fitted.mean_.astype(np.float32), axes.astype(np.float32))

    def apply(self, embedding: Floats) -> Floats:
        """Project embeddings (n, D) to (n, K)."""
        return np.asarray((embedding - self.center) @ self.axes, np.float32)
