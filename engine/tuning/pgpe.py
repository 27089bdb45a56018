"""Policy gradients with parameter-based exploration (Sehnke et al. 2010), on a bounded box.

The policy of a search is a normal law over parameters, N(mean, spread^2) in each of them by itself. Proposals
come in pairs that mirror each other about the mean, so that what both have in common cancels. The gradients
are

    d mean   = E[ eps / spread^2 * (r+ - r-) / 2 ]
    d spread = E[ (eps^2 - spread^2) / spread^3 * ((r+ + r-) / 2 - baseline) ],

followed along the law's natural gradient (Wierstra et al. 2014): a step of the mean is its gradient times
spread^2, a step of the logarithm of the spread its gradient times spread / 2. Scores count by their rank in
the episode, those of the worse half alike: neither the unit of the goal nor how bad the worst are decides
anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PGPE", "gradients", "utilities"]

Floats = NDArray[np.float64]


def gradients(
    eps: Floats, plus: Floats, minus: Floats, spread: Floats, baseline: float
) -> tuple[Floats, Floats]:
    """Gradients of the expected score by mean and spread.

    Parameters
    ----------
    eps : ndarray, shape (pairs, d)
        What was added to the mean in `plus` and taken off in `minus`.
    plus, minus : ndarray, shape (pairs,)
        Scores.
    spread : ndarray, shape (d,)
    baseline : float
        Any number that does not depend on this episode's draws; it changes the variance alone.
    """
    by_mean = (eps / spread**2 * ((plus - minus) / 2.0)[:, None]).mean(axis=0)
    above = (plus + minus) / 2.0 - baseline
    by_spread = ((eps**2 - spread**2) / spread**3 * above[:, None]).mean(axis=0)
    return by_mean, by_spread


def utilities(scores: Floats) -> Floats:
    """Weigh scores by their rank among n: max(0, log(n / 2 + 1) - log(rank)), standardised.

    Equal scores are worth the same; where all are equal, nothing.

    References
    ----------
    Wierstra et al. (2014), "Natural evolution strategies".
    """
    n = scores.size
    worth = np.maximum(np.log(n / 2.0 + 1.0) - np.log(np.arange(1.0, n + 1.0)), 0.0)
    _, level, count = np.unique(-scores, return_inverse=True, return_counts=True)
    shared = (np.bincount(level, worth[np.argsort(np.argsort(-scores, kind="stable"))]) / count)[level]
    deviation = shared.std()
    return (shared - shared.mean()) / deviation if deviation > 0.0 else np.zeros(n)


class PGPE:
    """Search a box for the highest score, a generation of mirrored pairs at a time.

    Parameters
    ----------
    mean, spread : array, shape (d,)
        Where the search begins, and how widely.
    low, high : array, shape (d,)
        The box. Proposals beyond it are scored at its border.
    pairs : int
        Pairs of a generation.
    mean_rate, spread_rate : float
        Of the natural gradient.
    seed : int

    Raises
    ------
    ValueError
        If the box is empty, the mean lies outside of it, or a setting is not positive.
    """

    def __init__(
        self,
        mean: ArrayLike,
        spread: ArrayLike,
        *,
        low: ArrayLike,
        high: ArrayLike,
        pairs: int = 16,
        mean_rate: float = 1.0,
        spread_rate: float = 0.6,
        seed: int = 0,
    ) -> None:
        self.mean, self.spread, self.low, self.high = (
            np.array(values, dtype=np.float64) for values in (mean, spread, low, high)
        )
        if not ((self.low <= self.mean) & (self.mean <= self.high) & (self.low < self.high)).all():
            raise ValueError(f"mean {self.mean} must lie in the box from {self.low} to {self.high}")
        for name, value in (("spread", self.spread), ("pairs", pairs), ("mean_rate", mean_rate)):
            if not np.all(np.asarray(value) > 0):
                raise ValueError(f"{name} = {value} must be above 0")
        self.pairs, self.mean_rate, self.spread_rate = pairs, mean_rate, spread_rate
        self._widest, self._narrowest = 2.0 * self.spread, 0.05 * self.spread
        self._rng = np.random.default_rng(seed)
        self._eps = np.empty((0, self.mean.size))

    def ask(self) -> Floats:
        """Draw a generation, shape (2 pairs, d): all that add to the mean, then their mirrors."""
        self._eps = self._rng.standard_normal((self.pairs, self.mean.size)) * self.spread
        drawn = np.concatenate((self.mean + self._eps, self.mean - self._eps))
        return np.clip(drawn, self.low, self.high)

    def tell(self, scores: ArrayLike) -> None:
        """Learn from the scores of the generation that `ask` gave last, shape (2 pairs,).

        Raises
        ------
        ValueError
            If there are not as many, or one is not finite.
        """
        found = np.asarray(scores, dtype=np.float64)
        if found.shape != (2 * len(self._eps),) or not len(self._eps):
            raise ValueError(f"{found.size} scores for {2 * len(self._eps)} proposals; ask first")
        if not np.isfinite(found).all():
            raise ValueError("every score must be finite")
        plus, minus = utilities(found).reshape(2, -1)
        by_mean, by_spread = gradients(self._eps, plus, minus, self.spread, 0.0)
        step = self.mean_rate * self.spread**2 * by_mean
        growth = np.exp(0.5 * self.spread_rate * self.spread * by_spread)
        self.mean = np.clip(self.mean + step, self.low, self.high)
        self.spread = np.clip(self.spread * growth, self._narrowest, self._widest)
        self._eps = np.empty((0, self.mean.size))
