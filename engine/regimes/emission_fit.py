"""One maximisation step of the regimes' emissions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma

from engine.regimes.emissions import DRIFT_SIGN, MODE_REGIME, Definition, ReturnLaw
from engine.regimes.names import REGIMES

__all__ = ["LEAST_DEGREES", "MOST_DEGREES", "fitted_law"]

Floats = NDArray[np.float64]

LEAST_DEGREES, MOST_DEGREES = 2.5, 30.0
_LARGEST_MEMORY, _LARGEST_CORRELATION = 0.9, 0.98


def fitted_law(
    sums: Floats, posterior: Floats, law: ReturnLaw, levels: Floats, definition: Definition
) -> ReturnLaw:
    """One maximisation step: the law that fits best, given what each bar was.

    Conditional maximisation in turn of drift and memory, of the variances, and of the degrees of freedom
    (Liu & Rubin 1995), each with the definition as its prior.

    Parameters
    ----------
    sums : ndarray, shape (bars, 8)
    posterior : ndarray, shape (bars, 4, L)
        Probability of each state given all bars.
    law : ReturnLaw
        The law that the posterior was computed with.
    levels : ndarray, shape (L,)
    definition : Definition
    """
    traded = sums[sums[:, 0] > 0.0]
    posterior = posterior[sums[:, 0] > 0.0]
    n, added = traded[:, 0], traded[:, 6]
    share = posterior.sum(axis=2)
    distance = np.empty_like(share)
    for m, (drift, memory, variance, correlation) in enumerate(zip(*law.modes(), strict=True)):
        between, within = _residuals(traded, drift, memory)
        apart = between / (1.0 + (n - 1.0) * correlation) + within / (1.0 - correlation)
        distance[:, m] = (apart + traded[:, 7]) / variance
    precision, log_less_scale = _precision(distance, n + added, posterior, np.exp(-2.0 * levels), law.degrees)
    means = [_drift_and_memory(traded, precision, k, law, definition) for k in range(len(REGIMES))]
    law = replace(law, drift=np.array([m[0] for m in means]), memory=np.array([m[1] for m in means]))
    spreads = [
        _variance_and_correlation(traded, precision, share, k, law, definition) for k in range(len(REGIMES))
    ]
    return replace(
        law,
        variance=np.array([s[0] for s in spreads]),
        correlation=np.array([s[1] for s in spreads]),
        degrees=_degrees(log_less_scale / len(traded), law.degrees, float((n + added).mean())),
    )


@njit(cache=True)
def _precision(distance, dimension, posterior, inverse, degrees):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mean of 1 / (u exp(2h)) in each bar and mode, times the mode's share; sum of log(1/u) - 1/u."""
    bars, modes, levels = posterior.shape
    precision, total = np.zeros((bars, modes)), 0.0
    for t in range(bars):
        for m in range(modes):
            for v in range(levels):
                scale = (degrees + dimension[t]) / (degrees + distance[t, m] * inverse[v])
                precision[t, m] += posterior[t, m, v] * scale * inverse[v]
                total += posterior[t, m, v] * (math.log(scale) - scale)
    return precision, total


def _residuals(sums: Floats, drift: float, memory: float) -> tuple[Floats, Floats]:
    """Squared residuals of each bar, along the market's common move and around it."""
    n, z, before, zz, zb, bb = sums[:, :6].T
    first = z - n * drift - memory * before
    second = zz - 2.0 * (drift * z + memory * zb - drift * memory * before) + n * drift**2 + memory**2 * bb
    between = first * first / n
    return between, np.maximum(second - between, 0.0)


def _drift_and_memory(
    sums: Floats, precision: Floats, regime: int, law: ReturnLaw, definition: Definition
) -> tuple[float, float]:
    """Generalised least squares of the regime's returns on a constant and on the previous return."""
    n, z, before, _, zb, bb = sums[:, :6].T
    correlation = law.correlation[regime]
    wide, narrow = 1.0 + (n - 1.0) * correlation, 1.0 - correlation
    prior = definition.drift_weight * len(sums)
    moments, target = prior * np.eye(2), np.array([prior * definition.drift[regime], 0.0])
    for m in np.flatnonzero(regime == MODE_REGIME):
        weight, sign = precision[:, m], DRIFT_SIGN[m]
        cross = sign * (weight * before / wide).sum()
        own = (weight * (np.maximum(bb - before**2 / n, 0.0) / narrow + before**2 / n / wide)).sum()
        moments += np.array([[(weight * n / wide).sum(), cross], [cross, own]])
        along = (weight * ((zb - z * before / n) / narrow + z * before / n / wide)).sum()
        target += np.array([sign * (weight * z / wide).sum(), along])
    if REGIMES[regime] == "RANGE":
        drift, memory = 0.0, target[1] / moments[1, 1]
    else:
        drift, memory = np.linalg.solve(moments, target)
    if REGIMES[regime] == "TREND":
        drift = max(drift, 0.0)
    return float(drift), float(np.clip(memory, -_LARGEST_MEMORY, _LARGEST_MEMORY))


def _variance_and_correlation(
    sums: Floats, precision: Floats, share: Floats, regime: int, law: ReturnLaw, definition: Definition
) -> tuple[float, float]:
    n, added = sums[:, 0], sums[:, 6]
    squares = within = count = pairs = swings = swung = 0.0
    for m in np.flatnonzero(regime == MODE_REGIME):
        along, around = _residuals(sums, law.drift[regime] * DRIFT_SIGN[m], law.memory[regime])
        squares += float((precision[:, m] * (along + around)).sum())
        within += float((precision[:, m] * around).sum())
        swings += float((precision[:, m] * sums[:, 7]).sum())
        count += float((share[:, m] * n).sum())
        pairs += float((share[:, m] * (n - 1.0)).sum())
        swung += float((share[:, m] * added).sum())
    prior = definition.weight * len(sums)
    expected, correlation = definition.scale[regime] ** 2, definition.correlation[regime]
    weight = prior * float((n + added).mean())
    variance = (squares + swings + weight * expected) / (count + swung + weight)
    # Of the returns alone: what a variance loses around the common move is the uncorrelated part.
    plain = (squares + weight * variance) / (count + weight)
    weight = prior * max(float(n.mean()) - 1.0, 1.0)
    uncorrelated = (within + weight * (1.0 - correlation) * plain) / (pairs + weight)
    return variance, float(np.clip(1.0 - uncorrelated / plain, 0.0, _LARGEST_CORRELATION))


def _degrees(log_less_scale: float, before: float, dimension: float) -> float:
    """Degrees of freedom at which the likelihood is level, within bounds."""
    both = before + dimension
    constant = 1.0 + log_less_scale + digamma(0.5 * both) - math.log(0.5 * both)

    def slope(degrees: float) -> float:
        return float(math.log(0.5 * degrees) - digamma(0.5 * degrees) + constant)

    if slope(MOST_DEGREES) >= 0.0:
        return MOST_DEGREES
    if slope(LEAST_DEGREES) <= 0.0:
        return LEAST_DEGREES
    return float(brentq(slope, LEAST_DEGREES, MOST_DEGREES))
