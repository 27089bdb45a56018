"""What a generator of windows must offer."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "WindowGenerator"]

Floats = NDArray[np.float64]


class WindowGenerator(Protocol):
    """Learns the law of windows and draws new ones; the same seed on the same windows gives the same draw."""

    name: str

    def fit(self, windows: Floats, seed: int) -> WindowGenerator:
        """Learn from training windows and from nothing else.

        Parameters
        ----------
        windows : ndarray, shape (n, length, channels)
            Any finite real numbers: the unconstrained form of `engine.synthetic.windows`.
        seed : int

        Raises
        ------
        NotEnoughDataError
            If there are too few windows to learn from.
        """
        ...

    def sample(self, count: int, seed: int) -> Floats:
        """Draw ``count`` windows, shape (count, length, channels).

        Raises
        ------
        ValueError
            If the generator was not fitted.
        """
        ...
