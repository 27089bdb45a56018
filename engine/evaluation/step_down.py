"""Test many candidates at once: p-values adjusted for the luck of the best, stepping down from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

__all__ = ["MaximumTail", "step_down"]

Floats = NDArray[np.float64]

_RESOLVED_RANK = 20
_TINY = 1e-300


class MaximumTail:
    """Upper tail of the largest of several studentised statistics when none of them has an effect.

    Down to the 20th largest draw, probabilities are ranks: p = (1 + draws at or above) / (draws + 1), and
    critical values are draws, never interpolated between two. Beyond, where few draws lie and a nightly
    budget soon asks for one in 100 000, the maximum is taken for that of m independent Student variables,
    with the m that agrees with the 20th largest draw.

    Candidates that were searched but not handed in enter as independent Student variables. That is their
    worst case unless they are negatively correlated.

    Parameters
    ----------
    maxima : ndarray, shape (draws,)
        Largest statistic of each draw.
    degrees_of_freedom : float
        Of the Student variables.
    unseen : int
        Candidates searched but not among those behind `maxima`.

    Raises
    ------
    ValueError
        With fewer draws than resolve the tail.
    """

    def __init__(self, maxima: Floats, degrees_of_freedom: float, unseen: int = 0) -> None:
        if maxima.size < _RESOLVED_RANK:
            raise ValueError(f"{maxima.size} draws; at least {_RESOLVED_RANK} are needed")
        self._ascending = np.sort(maxima)
        self._df = degrees_of_freedom
        self._unseen = unseen
        self._last_resolved = self._ascending[-_RESOLVED_RANK]
        share = _RESOLVED_RANK / (maxima.size + 1)
        self._as_many_as = np.log1p(-share) / self._log_below(self._last_resolved)

    def _log_below(self, value: float | Floats) -> Floats:
        """Log of the probability that one Student variable stays below a value."""
        return np.log1p(-np.clip(stdtr(self._df, -np.asarray(value)), _TINY, 1.0 - 1e-16))

    def p_value(self, value: float | Floats) -> Floats:
        """P(maximum >= value) if nothing has an effect."""
        value = np.asarray(value, np.float64)
        draws = self._ascending.size
        at_or_above = draws - np.searchsorted(self._ascending, value, side="left")
        seen = np.where(
            value > self._last_resolved,
            -np.expm1(self._as_many_as * self._log_below(value)),
            (1 + at_or_above) / (draws + 1),
        )
        return np.where(at_or_above == draws, 1.0, self._or_unseen(seen, value))

    def _or_unseen(self, seen: Floats, value: Floats) -> Floats:
        """P(maximum >= value) from that of the candidates handed in; exactly that if they are all."""
        if not self._unseen:
            return seen
        return seen - (1.0 - seen) * np.expm1(self._unseen * self._log_below(value))

    def critical_value(self, alpha: float) -> float:
        """Value that a statistic must exceed for its p-value to be at most `alpha`."""
        draws = self._ascending.size
        resolved = self._ascending[: 1 - _RESOLVED_RANK]
        just_above = (draws - np.arange(resolved.size)) / (draws + 1)
        enough = self._or_unseen(just_above, resolved) <= alpha
        if enough[-1]:
            return float(resolved[np.argmax(enough)])
        above = -np.expm1(np.log1p(-alpha) / (self._as_many_as + self._unseen))
        return float(-stdtrit(self._df, above))


def step_down(
    statistic: Floats,
    statistic_draws: Floats,
    alpha: float,
    degrees_of_freedom: float,
    unseen: int = 0,
) -> tuple[Floats, Floats]:
    """Step down from the best candidate, each judged against the maximum of those not yet found better.

    The draws share their indices, so the maximum knows the candidates' correlation: fifty near-copies cost
    little more than one.

    Parameters
    ----------
    statistic : ndarray, shape (K,)
        Improvement in standard errors.
    statistic_draws : ndarray, shape (draws, K)
        The same without an effect.
    alpha : float
        Probability allowed for one false promotion or more in the family.
    degrees_of_freedom : float
        For the tail beyond the draws.
    unseen : int
        Candidates searched but not handed in.

    Returns
    -------
    p_value : ndarray, shape (K,)
        Adjusted; at most `alpha` for those found better, with the family-wise error kept.
    critical : ndarray, shape (K,)
        Critical value of the step at which the candidate was judged: a statistic exceeds it exactly where
        its p-value is at most `alpha`.

    References
    ----------
    Romano and Wolf (2005), "Stepwise multiple testing as formalized data snooping"; p-values after Romano and
    Wolf (2016).
    """
    order = np.argsort(-statistic, kind="stable")
    maxima = np.maximum.accumulate(statistic_draws[:, order[::-1]], axis=1)[:, ::-1]
    p_value, critical = np.empty(statistic.size), np.empty(statistic.size)
    largest, judged = 0.0, np.inf
    for step, k in enumerate(order):
        tail = MaximumTail(np.ascontiguousarray(maxima[:, step]), degrees_of_freedom, unseen)
        if largest <= alpha:
            judged = tail.critical_value(alpha)
        largest = max(largest, float(tail.p_value(statistic[k])))
        p_value[k], critical[k] = largest, judged
    return p_value, critical
