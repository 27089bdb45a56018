"""Covariance for the regime that the market is in now.

Calm days say little about how assets move in a panic. So each regime has a covariance of its own, from past
returns weighted by the filtered probability that they belonged to it, and the forecast mixes them by the
probabilities known now. A regime seen seldom leans on the estimate from all days; PANIC, the regime that is
seen least and matters most, leans on a stress correlation instead: one high level for every pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.portfolio.covariance import (
    estimate_covariance,
    pairwise_correlation,
    shared_evidence,
    to_correlation,
)
from engine.regimes.names import REGIMES

__all__ = ["regime_covariance"]

Floats = NDArray[np.float64]

_PANIC = REGIMES.index("PANIC")


def regime_covariance(
    returns: Floats,
    regimes: Floats,
    *,
    window: int,
    half_life: float,
    min_history: int,
    stress_correlation: float,
) -> Floats:
    """Covariance per period of the regimes' mixture at the last period.

    An estimate from n effective periods counts ``n / (n + min_history)``, what it leans on the rest. In PANIC
    no variance is put below that of all days.

    Parameters
    ----------
    returns : ndarray, shape (periods, assets)
        Oldest first; NaN where an asset had no price.
    regimes : ndarray, shape (periods, 3)
        Filtered probabilities at the end of each period, in the order of `REGIMES`. A row that holds NaN is
        unknown: it belongs to no regime in the past, and now counts as PANIC.
    window, half_life, min_history
        Of the estimate from all days, over the last `window` periods; see `estimate_covariance`.
    stress_correlation : float
        Least level, in [0, 1), that PANIC's correlations lean on; the mean correlation of all days if higher.

    Returns
    -------
    ndarray, shape (assets, assets)
        Positive definite.

    Raises
    ------
    ValueError
        If `regimes` has not one row for each of `returns`, or holds no probabilities.
    NotEnoughDataError
        As `estimate_covariance`.
    """
    _require_probabilities(regimes, len(returns))
    whole = estimate_covariance(returns[-window:], half_life=half_life, min_history=min_history)
    now = regimes[-1] if np.isfinite(regimes[-1]).all() else np.eye(len(REGIMES))[_PANIC]
    belongs = np.where(np.isfinite(regimes).all(axis=1, keepdims=True), regimes, 0.0)
    mixture = np.zeros_like(whole)
    for k in np.flatnonzero(now > 0.0):
        leans_on = to_correlation(whole) if k != _PANIC else _stressed(whole, stress_correlation)
        mixture += now[k] * _conditional(returns, belongs[:, k], whole, leans_on, min_history, k == _PANIC)
    return mixture


def _conditional(
    returns: Floats, weights: Floats, whole: Floats, leans_on: Floats, min_history: int, panic: bool
) -> Floats:
    """Covariance of one regime, leaning on the variances of `whole` and the correlations `leans_on`."""
    variance, correlation = np.diag(whole), leans_on
    n = float(shared_evidence(returns, weights).min())
    if n >= 2.0:
        trust = n / (n + min_history)
        known = np.isfinite(returns)
        squares = np.where(known, returns, 0.0) ** 2
        own = weights @ squares / (weights @ known)
        correlation = trust * pairwise_correlation(returns, weights, min_history=2) + (1 - trust) * leans_on
        variance = trust * own + (1 - trust) * variance
    if panic:
        variance = np.maximum(variance, np.diag(whole))
    volatility = np.sqrt(variance)
    return correlation * np.outer(volatility, volatility)


def _stressed(whole: Floats, level: float) -> Floats:
    """One correlation for every pair: `level`, or the mean of the estimate from all days if higher."""
    n = len(whole)
    correlation = to_correlation(whole)
    mean = (correlation.sum() - n) / (n * (n - 1)) if n > 1 else 0.0
    return np.where(np.eye(n, dtype=bool), 1.0, max(level, mean))


def _require_probabilities(regimes: Floats, periods: int) -> None:
    if regimes.shape != (periods, len(REGIMES)):
        raise ValueError(
            f"regime probabilities have shape {regimes.shape}, ({periods}, {len(REGIMES)}) needed"
        )
    known = regimes[np.isfinite(regimes).all(axis=1)]
    if (known < 0.0).any() or (np.abs(known.sum(axis=1) - 1.0) > 1e-6).any():
        raise ValueError("regime probabilities must be non-negative and sum to 1 in each row, or be NaN")
