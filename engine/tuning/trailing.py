"""Figures of trailing windows that may have holes: every window is summed by itself.

A value depends on its own window alone, bit for bit, whatever history was given before it.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["moments_before", "trailing_deviation", "trailing_mean", "trailing_percentile"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@nb.njit(nogil=True, cache=True)
def trailing_mean(values: Floats, first: Ints, least: int) -> tuple[Floats, Floats]:
    """Mean and standard error of the known values of rows ``first[t]..t``, NaN with fewer than `least`.

    A single value has no error.
    """
    mean, error = np.full(values.size, np.nan), np.full(values.size, np.nan)
    for t in range(values.size):
        known, total = 0, 0.0
        for i in range(first[t], t + 1):
            if not np.isnan(values[i]):
                known += 1
                total += values[i]
        if known < max(least, 1):
            continue
        mean[t] = total / known
        if known < 2:
            continue
        square = 0.0
        for i in range(first[t], t + 1):
            if not np.isnan(values[i]):
                square += (values[i] - mean[t]) ** 2
        error[t] = np.sqrt(square / (known - 1) / known)
    return mean, error


@nb.njit(nogil=True, cache=True)
def trailing_percentile(values: Floats, first: Ints, least: int) -> Floats:
    """Percent of the known values of rows ``first[t]..t-1`` below that of row t, equal ones counted half.

    NaN with fewer than `least` of them.
    """
    percentile = np.full(values.size, np.nan)
    for t in range(values.size):
        if np.isnan(values[t]):
            continue
        known, below, equal = 0, 0, 0
        for i in range(first[t], t):
            known += not np.isnan(values[i])
            below += values[i] < values[t]
            equal += values[i] == values[t]
        if known >= least:
            percentile[t] = 100.0 * (below + 0.5 * equal) / known
    return percentile


@nb.njit(nogil=True, cache=True)
def trailing_deviation(values: Floats, run: Ints, bars: int) -> Floats:
    """Root mean square of the last `bars` values of an unbroken run, NaN where one is unknown.

    `run` holds the first row of each row's run.
    """
    deviation = np.full(values.size, np.nan)
    for t in range(values.size):
        if t - bars + 1 < run[t]:
            continue
        square = 0.0
        for i in range(t - bars + 1, t + 1):
            square += values[i] * values[i]
        deviation[t] = np.sqrt(square / bars)
    return deviation


@nb.njit(nogil=True, cache=True)
def moments_before(values: Floats, run: Ints, bars: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the `bars` values before each, NaN where the run holds fewer."""
    mean, deviation = np.full(values.size, np.nan), np.full(values.size, np.nan)
    for t in range(values.size):
        if t - bars < run[t]:
            continue
        total, square = 0.0, 0.0
        for i in range(t - bars, t):
            total += values[i]
        mean[t] = total / bars
        for i in range(t - bars, t):
            square += (values[i] - mean[t]) ** 2
        deviation[t] = np.sqrt(square / bars)
    return mean, deviation
