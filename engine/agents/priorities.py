"""With which probability prioritised replay draws (Schaul, Quan, Antonoglou & Silver 2016).

Item i is drawn with P(i) = m_i f(p_i) / sum, where p_i = min(|td|, clip) + eps and m_i is its regime's
factor. f(p) is p^alpha ("proportional") or rank^-alpha ("rank"). For rewards with heavy tails take ranks or
a clip, else a few outliers that nothing can predict are replayed for ever. The importance weight
(N P(i))^-beta is of that same law, factor included, over the largest of the batch: over the largest of all
items, weights vanish as soon as one item is very unlikely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "PriorityLaw", "importance_weights"]

Floats = NDArray[np.float64]
Kind = Literal["proportional", "rank"]


@dataclass(frozen=True)
class PriorityLaw:
    """From TD errors to priorities, and from priorities to the mass that an item is drawn with.

    The parameters are those of `engine.agents.replay.PrioritizedReplayBuffer`.

    Raises
    ------
    ValueError
        A parameter is out of its bounds.
    """

    alpha: float
    kind: Kind
    eps: float
    clip: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")
        if self.kind not in ("proportional", "rank"):
            raise ValueError(f"kind must be 'proportional' or 'rank', got {self.kind!r}")
        if not 0.0 < self.eps < np.inf:
            raise ValueError(f"eps must be above 0, got {self.eps}")
        if not self.clip > 0.0:
            raise ValueError(f"clip must be above 0, got {self.clip}")

    def priorities(self, td: NDArray[np.floating], n: int) -> Floats:
        """Priority p of each of n TD errors, which must be finite."""
        size = np.abs(np.asarray(td, np.float64))
        if size.shape != (n,) or not np.isfinite(size).all():
            raise ValueError(f"TD errors must be {n} finite numbers, got {td!r}")
        return np.minimum(size, self.clip) + self.eps

    def masses(self, priorities: Floats, ordered: Floats) -> Floats:
        """f(p) of each priority; ranks are those among `ordered`, which ascends."""
        if self.kind == "proportional":
            return priorities**self.alpha
        greater = ordered.size - np.searchsorted(ordered, priorities, "right")
        equal = ordered.size - greater - np.searchsorted(ordered, priorities, "left")
        return (greater + np.maximum(equal + 1, 2) / 2) ** -self.alpha


def importance_weights(probabilities: Floats, size: int, beta: float) -> Floats:
    """Weights (N P)^-beta of a batch over their largest: all 1 at beta 0, unbiased up to scale at beta 1.

    Parameters
    ----------
    probabilities : array (B,)
        With which each item of the batch was really drawn.
    size : int
        Number N of items drawn from.
    beta : float
        In [0, 1].
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta must be in [0, 1], got {beta}")
    weights = (size * probabilities) ** -beta
    return weights / weights.max()
