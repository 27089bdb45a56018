"""Betting against "the candidate is no better": evidence that may be looked at after every observation.

A player starts with 1 and bets a part of the capital on every next difference being positive, at fair odds if
its mean is zero. Without an edge the capital is expected to stay at 1 or shrink, so the chance that it *ever*
reaches 20 is at most 1/20, whenever and however often one looks (Ville's inequality). With an edge it grows
exponentially. An ordinary test repeated after every observation has no such bound.

What the bound rests on:

- **The mean that is tested is that of the clipped difference.** Gains count up to `bound`, so that one lucky
  day cannot win the bet; that lowers the mean and errs on the careful side. Losses count in full up to
  `worst`, which caps the bet; what lies beyond is missing from the mean. A disaster that is possible but has
  not happened yet is invisible to this test, as to any.
- **No edge given the past.** The mean of each difference, *given those before it*, must not be positive under
  the null. Overlapping observations (12-bar labels every bar) and autocorrelated differences break this;
  `disjoint_sums` makes one observation of each span.
- `bound` and `worst` are fixed beforehand, not from the data tested.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EProcess", "disjoint_sums"]

Floats = NDArray[np.float64]


class EProcess:
    """Capital of one who bets that differences have a positive mean.

    The bet on the next difference is the best one for the mean and variance so far (which begin as if one
    observation had shown the mean zero and the variance `bound` squared), never negative and never so large
    that a loss of `worst`, or of twice `bound`, takes more than everything.

    Parameters
    ----------
    bound : float
        Gains above it count as `bound`; in the unit of the differences. Three or four of their standard
        deviations lose little.
    worst : float, optional
        Largest loss that is possible; twice `bound` unless given.
    alpha : float
        Probability allowed for ever promoting without an edge. With several candidates give each its share.

    Raises
    ------
    ValueError
        If `bound` or `worst` is not positive and finite or `alpha` not between 0 and 1.

    References
    ----------
    Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting" (the approximate
    growth-rate-adaptive bet); Ramdas et al. (2023).
    """

    def __init__(self, bound: float, *, worst: float | None = None, alpha: float = 0.05) -> None:
        largest_loss = 2.0 * bound if worst is None else worst
        if not (0.0 < bound < np.inf and 0.0 < largest_loss < np.inf):
            raise ValueError(f"bound={bound} and worst={worst} must be positive and finite")
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha={alpha} must lie between 0 and 1")
        self.bound = bound
        self.largest_bet = 1.0 / max(2.0 * bound, largest_loss)
        self.alpha = alpha
        self.observations = 0
        self.log_capital: Floats = np.zeros(())
        self.log_peak: Floats = np.zeros(())
        self._sum: Floats = np.zeros(())
        self._squares: Floats = np.asarray(bound**2)

    @property
    def promote(self) -> NDArray[np.bool_]:
        """Whether the capital ever reached ``1 / alpha``, 20 for 5 %."""
        return self.log_peak >= -np.log(self.alpha)

    @property
    def p_value(self) -> Floats:
        """Any-time valid p-value: one over the largest capital so far."""
        return np.exp(-self.log_peak)

    @property
    def bet(self) -> Floats:
        """Part of the capital staked per unit of the next difference."""
        mean = self._sum / (self.observations + 1)
        return np.clip(mean / (self._squares / (self.observations + 1)), 0.0, self.largest_bet)

    def update(self, difference: ArrayLike) -> Floats:
        """Settle the bet on the next difference and return the log of the capital.

        Parameters
        ----------
        difference : array_like
            Candidate less baseline, net of costs. An array plays one game per entry, side by side.

        Raises
        ------
        ValueError
            If it is not finite. Leave a period out that could not be observed; leaving it out because of what
            it would have shown breaks the test.
        """
        observed = np.asarray(difference, np.float64)
        if not np.isfinite(observed).all():
            raise ValueError(f"difference {self.observations + 1} is not finite")
        clipped = np.minimum(observed, self.bound)
        with np.errstate(divide="ignore"):
            self.log_capital = self.log_capital + np.log(np.maximum(1.0 + self.bet * clipped, 0.0))
        self.log_peak = np.maximum(self.log_peak, self.log_capital)
        self._sum = self._sum + clipped
        self._squares = self._squares + clipped**2
        self.observations += 1
        return self.log_capital


def disjoint_sums(differences: Floats, span: int) -> Floats:
    """Sum each stretch of `span` periods, none used twice; a last incomplete one is left out.

    Parameters
    ----------
    differences : ndarray, shape (T, ...)
    span : int
        Periods over which the observations depend on each other.

    Returns
    -------
    ndarray, shape (T // span, ...)
    """
    if span < 1:
        raise ValueError(f"span={span} must be at least 1")
    count = differences.shape[0] // span
    return differences[: count * span].reshape(count, span, *differences.shape[1:]).sum(axis=1)
