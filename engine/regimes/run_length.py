"""Posterior of the time since the last change, at a constant cost per observation.

With n observations in the current segment, the newest included, a hazard H and the predictive density
``pi_n`` of a segment's next observation, the recursion of Adams and MacKay (2007) reads

    P(n + 1) ~ P(n) pi_n(x) (1 - H)        the segment goes on
    P(1)     ~ pi_0(x) H                   a new one begins with x

and is normalised at every step. The newborn segment's term keeps the sum away from zero however unlikely the
observation was to all others, so masses need no logarithms and nothing underflows. Their run length 0, a
segment without an observation yet, is left out: its mass is H whatever the data.

The number of run lengths kept is bounded. Beyond it neighbours are joined, not dropped: the many improbable
lengths have a good deal of mass together, and a posterior that lost it would be too sure of the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.regimes.run_length_powers import exp2, log2, wide_vectors

__all__ = [
    "EXACT",
    "KNOWN_MEAN",
    "PARTS",
    "RunLengths",
    "SegmentPrior",
    "absorb",
    "empty_runs",
    "most_probable",
    "short_mass",
]

Floats = NDArray[np.float64]

# Observations that a prior mean counts for when it is not to be learned at all.
KNOWN_MEAN = 1e12

# Run lengths up to this are never joined.
EXACT = 24
_TINY, _NEVER = 1e-300, 1e300

# Sums in any order, and a product with its sum rounded once: without it nothing is a vector instruction.
_FASTMATH = {"contract", "arcp", "nsz", "reassoc"}

# What is kept of each run length: its number of observations, its probability, the posterior mean and beta of
# its segment, and the square of Gamma(alpha + 1/2) / Gamma(alpha). The last row is working space.
PARTS = 6
_N, _MASS, _MEAN, _BETA, _RATIO, _GROWTH = range(PARTS)


@dataclass(frozen=True)
class SegmentPrior:
    """Normal-inverse-gamma prior of a segment's mean and variance.

    Parameters
    ----------
    mean : float
    kappa : float
        Observations that the prior mean counts for; `KNOWN_MEAN` leaves only the variance to be learned.
    alpha, beta : float
        Shape and rate of the precision, whose mean is ``alpha / beta``.
    """

    mean: float = 0.0
    kappa: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name in ("kappa", "alpha", "beta"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name}={value} must be positive and finite")
        if not math.isfinite(self.mean):
            raise ValueError(f"mean={self.mean} must be finite")

    def as_array(self) -> Floats:
        """``mean, kappa, alpha, beta, (Gamma(alpha + 1/2) / Gamma(alpha))**2``, as the kernel takes them."""
        ratio = math.exp(2.0 * (math.lgamma(self.alpha + 0.5) - math.lgamma(self.alpha)))
        return np.array([self.mean, self.kappa, self.alpha, self.beta, ratio])


def empty_runs(*streams: int, most: int) -> Floats:
    """Room for `most` run lengths of each stream, none of them there yet.

    Returns
    -------
    ndarray, shape (..., PARTS, most)
        Places without mass take part in the arithmetic, so they have numbers that do.
    """
    runs = np.zeros((*streams, PARTS, most))
    runs[..., _BETA, :] = runs[..., _RATIO, :] = 1.0
    return runs


@nb.njit(cache=True, error_model="numpy", fastmath=_FASTMATH)
def absorb(x, kept, runs, prior, hazard):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Bring the run lengths of one stream up to date with an observation.

    Parameters
    ----------
    x : float
        Finite.
    kept : int
        How many run lengths there are; 0 before the first observation.
    runs : ndarray, shape (PARTS, most)
        From `empty_runs`, oldest first; changed in place.
    prior : ndarray
        From `SegmentPrior.as_array`.
    hazard : float

    Returns
    -------
    int
        How many there are now.
    """
    wide_vectors()  # type: ignore[call-arg]
    if kept == runs.shape[1]:
        kept = _join_alike(runs, kept)
    kappa_0, alpha_0 = prior[1], prior[2]
    # The segment that may begin here, relative to those that go on.
    runs[_N, kept], runs[_MASS, kept] = 0.0, hazard / (1.0 - hazard)
    runs[_MEAN, kept], runs[_BETA, kept], runs[_RATIO, kept] = prior[0], prior[3], prior[4]

    # Loops without a branch, over all places: the compiler turns them into vector instructions. Short ones,
    # so that the processor works on several vectors at once and does not wait for each step of one. No view
    # of a row, for references to it would be counted at every call. One root and one division give all that
    # the formulas divide by, for these take longest. What all densities have in common, pi and the chance
    # that a segment goes on, falls out with the sum.
    for i in range(runs.shape[1]):
        n, beta, ratio = runs[_N, i], runs[_BETA, i], runs[_RATIO, i]
        kappa = kappa_0 + n
        alpha = alpha_0 + 0.5 * n
        spread = 2.0 * beta * (kappa + 1.0) * kappa
        root = 1.0 / math.sqrt(spread * ratio)
        inverse = kappa * ratio * root * root
        error = x - runs[_MEAN, i]
        growth = 1.0 + error * error * (kappa * inverse)
        runs[_N, i] = n + 1.0
        runs[_MASS, i] *= kappa * ratio * root
        runs[_MEAN, i] += error * (2.0 * beta * inverse)
        runs[_BETA, i] = beta * growth
        runs[_RATIO, i] = alpha * alpha * spread * (root * root)
        runs[_GROWTH, i] = growth
    for i in range(runs.shape[1]):
        runs[_GROWTH, i] = -(alpha_0 + 0.5 * runs[_N, i]) * log2(runs[_GROWTH, i])
    total = 0.0
    for i in range(runs.shape[1]):
        runs[_MASS, i] *= exp2(runs[_GROWTH, i])
        total += runs[_MASS, i]
    scale = 1.0 / total
    for i in range(runs.shape[1]):
        runs[_MASS, i] *= scale
    return kept + 1


@nb.njit(cache=True, error_model="numpy")
def _ranks(values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Values that are not negative, as integers in the same order.

    The compiler has vector instructions for the least and greatest of integers, not for those of numbers that
    might be NaN.
    """
    return values.view(np.int64)


@nb.njit(cache=True, error_model="numpy")
def _first(value, values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Where a value is that is among the values."""
    at = 0
    while values[at] != value:
        at += 1
    return at


@nb.njit(cache=True, error_model="numpy", fastmath=_FASTMATH)
def _join_alike(runs, kept):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Join the pairs of neighbours that lose least by it, weighted by their masses; returns what is left.

    Segments that began a few bars apart are nearly the same hypothesis once they are long. The loss grows
    with both masses and with their distance relative to the length, so that what is probable stays as it is,
    and so do the `EXACT` youngest. An eighth is joined at once, for the search to be rare.
    """
    n, mass, loss = runs[_N], runs[_MASS], runs[_GROWTH]
    pairs = kept - EXACT - 1
    for i in range(pairs):
        both = mass[i] * mass[i + 1]
        loss[i] = both * both * (n[i] - n[i + 1]) / n[i + 1]
    rank = _ranks(loss)
    for _ in range(kept // 8):
        least = rank[0]
        for i in range(pairs):
            least = min(least, rank[i])
        at = _first(least, rank)
        older, younger = mass[at], mass[at + 1]
        share = younger / max(older + younger, _TINY)
        for part in range(PARTS - 1):
            runs[part, at] += share * (runs[part, at + 1] - runs[part, at])
        mass[at] = older + younger
        n[at + 1] = 0.0
        loss[max(at - 1, 0)] = loss[at] = loss[at + 1] = _NEVER
    left = 0
    for i in range(kept):
        if n[i] > 0.0:
            for part in range(PARTS - 1):
                runs[part, left] = runs[part, i]
            left += 1
    mass[left:kept] = 0.0
    return left


@nb.njit(cache=True, error_model="numpy")
def short_mass(kept, runs, longest):  # type: ignore[no-untyped-def]  # pragma: no cover
    """``P(1 < n <= longest)``: that a segment has just begun, told by more than one observation."""
    total = 0.0
    for i in range(kept - 2, -1, -1):
        if runs[_N, i] > longest:
            break
        total += runs[_MASS, i]
    return min(total, 1.0)


@nb.njit(cache=True, error_model="numpy")
def most_probable(kept, runs):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Most probable run length."""
    rank = _ranks(runs[_MASS])
    most = rank[0]
    for i in range(kept):
        most = max(most, rank[i])
    return round(runs[_N, _first(most, rank)])


@nb.njit(cache=True, error_model="numpy")
def _feed(x, kept, runs, prior, hazard, lengths):  # type: ignore[no-untyped-def]  # pragma: no cover
    for t in range(x.size):
        kept = absorb(x[t], kept, runs, prior, hazard)
        lengths[t] = most_probable(kept, runs)
    return kept


class RunLengths:
    """Run-length posterior of one stream of observations, as they are: nothing is standardised.

    Parameters
    ----------
    prior : SegmentPrior
    hazard : float
        Probability per observation that a new segment begins with it.
    most : int
        Most run lengths kept.
    """

    def __init__(self, prior: SegmentPrior, hazard: float = 1.0 / 250.0, most: int = 128) -> None:
        if not 0.0 < hazard < 1.0:
            raise ValueError(f"hazard={hazard} must lie in (0, 1)")
        if most < 2 * EXACT:
            raise ValueError(f"most={most} run lengths are too few; keep {2 * EXACT} or more")
        self.prior, self.hazard = prior, hazard
        self._runs, self._kept = empty_runs(most=most), 0

    def update(self, observations: Floats) -> NDArray[np.int64]:
        """Take in observations, oldest first; returns the most probable run length after each.

        Raises
        ------
        ValueError
            If an observation is not finite.
        """
        if not np.isfinite(observations).all():
            raise ValueError("observations must be finite; leave missing ones out")
        lengths = np.empty(observations.size, np.int64)
        prior = self.prior.as_array()
        self._kept = _feed(observations, self._kept, self._runs, prior, self.hazard, lengths)
        return lengths

    def posterior(self, length: int) -> Floats:
        """Probability of each run length 0 .. `length`; a joined one has the mass of all it stands for."""
        n = np.rint(self._runs[_N, : self._kept]).astype(np.int64)
        mass = self._runs[_MASS, : self._kept]
        return np.bincount(n[n <= length], mass[n <= length], minlength=length + 1).astype(np.float64)
