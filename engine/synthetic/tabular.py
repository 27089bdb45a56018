"""Rows of a table as columns that are jointly close to Gaussian, and back: what a GAN is given to learn.

Most of a table's law is in its margins and in how its columns correlate. Both can be written down (a Gaussian
copula with empirical margins, one for each category), so that a network need only learn what they miss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.window_generator import Floats

__all__ = ["CategoryCopula", "EmpiricalMargins", "Integers", "symmetric_power"]

Integers = NDArray[np.int64]


def symmetric_power(matrix: Floats, power: float) -> Floats:
    """Power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    result: Floats = (vectors * values**power) @ vectors.T
    return result


@dataclass(frozen=True, eq=False)
class EmpiricalMargins:
    """Margins of columns, as their sorted values.

    Parameters
    ----------
    values : ndarray, shape (n, columns)
        Each column in ascending order.
    """

    values: Floats

    @classmethod
    def fit(cls, rows: Floats) -> EmpiricalMargins:
        """Take the margins of ``rows``, shape (n, columns)."""
        return cls(np.sort(rows, axis=0))

    def scores(self, rows: Floats) -> Floats:
        """Return normal scores of rows: standard normal quantiles of mid-ranks among the sample's values."""
        n = len(self.values)
        uniform = np.empty(rows.shape)
        for j, column in enumerate(self.values.T):
            below, upto = (np.searchsorted(column, rows[:, j], side) for side in ("left", "right"))
            uniform[:, j] = (below + upto) / (2.0 * n)
        result: Floats = ndtri(np.clip(uniform, 0.5 / n, 1.0 - 0.5 / n))
        return result

    def rows(self, scores: Floats) -> Floats:
        """Values at normal scores, between neighbouring values by straight lines; inverse of `scores`."""
        n = len(self.values)
        rank = ndtr(scores) * n - 0.5
        return np.stack(
            [np.interp(rank[:, j], np.arange(n), column) for j, column in enumerate(self.values.T)], axis=1
        )


class CategoryCopula:
    """Gaussian copula with empirical margins for each category; all are mapped onto the average one.

    Latent columns have the average correlation matrix in every category and keep the meaning of the columns
    they come from: what is left to be learnt looks alike in all categories.

    Parameters
    ----------
    rows : ndarray, shape (n, columns)
    categories : ndarray of int, shape (n,)

    Attributes
    ----------
    root : ndarray, shape (columns, columns)
        Symmetric root of the average correlation matrix: standard normal rows times it have the latents' law.

    Raises
    ------
    DataError
        If a number is not finite or a column is constant within a category.
    NotEnoughDataError
        If a category has fewer rows than twice the columns: its correlations would be noise.
    """

    def __init__(self, rows: Floats, categories: Integers) -> None:
        if not np.isfinite(rows).all():
            raise DataError("a value is NaN or infinite")
        columns = rows.shape[1]
        self._margins: dict[int, EmpiricalMargins] = {}
        correlation: dict[int, Floats] = {}
        for category in np.unique(categories).tolist():
            own = rows[categories == category]
            if len(own) < 2 * columns:
                raise NotEnoughDataError(
                    f"category {category} has {len(own)} rows; {2 * columns} are needed for {columns} columns"
                )
            if (np.ptp(own, axis=0) == 0.0).any():
                column = int(np.ptp(own, axis=0).argmin())
                raise DataError(f"constant in category {category}; drop it", column=str(column))
            self._margins[category] = EmpiricalMargins.fit(own)
            correlation[category] = np.atleast_2d(
                np.corrcoef(self._margins[category].scores(own), rowvar=False)
            )
        share = {category: float((categories == category).mean()) for category in correlation}
        average = np.sum([share[c] * correlation[c] for c in correlation], axis=0)
        self.root = symmetric_power(average, 0.5)
        whitened = symmetric_power(average, -0.5)
        self._to_latents = {c: symmetric_power(m, -0.5) @ self.root for c, m in correlation.items()}
        self._to_scores = {c: whitened @ symmetric_power(m, 0.5) for c, m in correlation.items()}

    def latents(self, rows: Floats, categories: Integers) -> Floats:
        """Latent columns of rows, shape (n, columns)."""
        result = np.empty(rows.shape)
        for category, margins in self._margins.items():
            own = categories == category
            result[own] = margins.scores(rows[own]) @ self._to_latents[category]
        return result

    def rows(self, latents: Floats, categories: Integers) -> Floats:
        """Rows of latent columns; inverse of `latents`."""
        result = np.empty(latents.shape)
        for category, margins in self._margins.items():
            own = categories == category
            result[own] = margins.rows(latents[own] @ self._to_scores[category])
        return result

    def with_training_margins(self, rows: Floats, categories: Integers) -> Floats:
        """Give rows the margins of the training rows within each category, ranks as they are."""
        result = np.empty(rows.shape)
        for category, margins in self._margins.items():
            own = categories == category
            if own.any():
                result[own] = margins.rows(ndtri((rankdata(rows[own], axis=0) - 0.5) / own.sum()))
        return result
