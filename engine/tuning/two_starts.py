"""A search that is told where others found something, and does not take it on trust.

What suits one symbol may mislead on another. So the first generation is shared: half of it is drawn about
what is in force, half about the prior, both by the same deviations. The method then begins at whichever half
did better. Where that is what is in force, one generation is lost and all goes on as if nothing were known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.tuning.proposers import METHODS, Box, Method, Proposer

__all__ = ["TwoStarts"]

Floats = NDArray[np.float64]

_BEST = 0.25


class TwoStarts(Proposer):
    """Compare two starts in the first generation, then search from the better one.

    Compared is the mean score of the best quarter of each half: a search goes on from its best, whatever
    the worst. Where both are equal, the search begins at what is in force.

    Parameters
    ----------
    method : {"pgpe", "cma-es", "tpe", "random"}
    box, told : Box
        The same borders; the start and the spread of what is in force, and of the prior.
    size, seed : int
    """

    def __init__(self, method: Method, box: Box, told: Box, size: int, seed: int) -> None:
        super().__init__(box, size, seed)
        self._method, self._starts, self._seed = method, (box, told), seed
        self._chosen: Proposer | None = None

    def ask(self) -> Floats:
        """Propose the shared generation, or one of the method."""
        if self._chosen is not None:
            return self._chosen.ask()
        drawn = np.random.default_rng(self._seed).standard_normal((self.size // 2, self.box.start.size))
        halves = [np.clip(of.start + of.spread * drawn, of.low, of.high) for of in self._starts]
        return np.concatenate(halves)

    def tell(self, scores: Floats) -> None:
        """Choose a start, or let the method learn."""
        if self._chosen is not None:
            self._chosen.tell(scores)
            return
        best = max(int(_BEST * (self.size // 2)), 1)
        in_force, told = (np.sort(half)[-best:].mean() for half in np.split(scores, 2))
        start = self._starts[int(told > in_force)]
        self._chosen = METHODS[self._method](start, self.size, self._seed)
