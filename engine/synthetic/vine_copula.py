"""Vine copula as a generator of windows: the baseline that models pairs of columns."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri
from skfolio.distribution import GaussianCopula, StudentTCopula, VineCopula

from engine.synthetic.tabular_windows import WindowCopula
from engine.synthetic.window_generator import Floats

__all__ = ["VineCopulaGenerator"]

_EDGE = 1e-9


class VineCopulaGenerator:
    """Regular vine of Gaussian and Student-t pairs on a flattened window, with empirical margins.

    Columns are those of `WindowCopula`: rank correlation, which a vine is grown by, sees no clustering of
    signed returns. Pairs beyond ``depth`` trees count as independent given those before.

    Parameters
    ----------
    depth : int
        Trees of the vine, at least 2.
    windows_at_most : int
        Windows the vine is fitted on, evenly spaced: the first tree compares every two columns, and its cost
        grows with the windows. Margins are those of all.

    References
    ----------
    Aas, Czado, Frigessi and Bakken (2009); Dissmann, Brechmann, Czado and Kurowicka (2013).
    """

    name = "vine copula"

    def __init__(self, depth: int = 2, windows_at_most: int = 500) -> None:
        if depth < 2 or windows_at_most < 1:
            raise ValueError(
                f"depth = {depth} must be at least 2, windows_at_most = {windows_at_most} at least 1"
            )
        self.depth, self.windows_at_most = depth, windows_at_most
        self._copula: WindowCopula | None = None

    def fit(self, windows: Floats, seed: int) -> VineCopulaGenerator:
        """Learn from training windows, shape (n, length, channels), channel 0 the log return.

        Raises
        ------
        NotEnoughDataError
            If there are fewer than 40 windows.
        """
        self._copula = WindowCopula(windows)
        rows = np.linspace(0, len(windows) - 1, min(len(windows), self.windows_at_most)).astype(int)
        uniform = ndtr(self._copula.latents(windows[rows], seed))
        self._vine = VineCopula(
            fit_marginals=False,
            copula_candidates=[GaussianCopula(), StudentTCopula()],
            max_depth=self.depth,
        ).fit(uniform)
        return self

    def sample(self, count: int, seed: int) -> Floats:
        """Draw ``count`` windows, shape (count, length, channels).

        Raises
        ------
        ValueError
            If the generator was not fitted.
        """
        if self._copula is None:
            raise ValueError("the generator was not fitted; call fit first")
        self._vine.random_state = seed
        uniform = np.clip(self._vine.sample(count), _EDGE, 1.0 - _EDGE)
        return self._copula.windows(ndtri(uniform))
