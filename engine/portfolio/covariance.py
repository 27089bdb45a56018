"""Covariance of returns with ragged histories.

By default volatilities and correlations are estimated apart: each asset's volatility from its own history,
exponentially weighted (RiskMetrics 1996), since it changes fast; correlations over the whole window and
shrunk (Ledoit and Wolf 2004), since they are noisy: the standard error of a correlation of .6 from 30 returns
is .12. The Ledoit-Wolf estimator is skfolio's and needs complete rows; where an asset is younger than the
window, correlations are pairwise instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfolio.moments import LedoitWolf

from engine.errors import NotEnoughDataError

__all__ = [
    "Usable",
    "estimate_covariance",
    "ewma_covariance",
    "pairwise_correlation",
    "shared_evidence",
    "to_correlation",
    "usable_assets",
]

Floats = NDArray[np.float64]

_SMALLEST_EIGENVALUE = 1e-6


@dataclass(frozen=True)
class Usable:
    """Which assets have a history to estimate from, and why the others have not."""

    mask: NDArray[np.bool_]
    reasons: tuple[str | None, ...]


def usable_assets(returns: Floats, *, min_history: int, max_stale: int) -> Usable:
    """Judge each asset's history.

    Parameters
    ----------
    returns : ndarray, shape (periods, assets)
        Simple or log returns, oldest first; NaN where an asset had no price.
    min_history : int
        Returns needed.
    max_stale : int
        An asset without a return in the last `max_stale` periods is no longer trading, or not known.
    """
    finite = np.isfinite(returns)
    count, recent = finite.sum(axis=0), finite[-max_stale:].sum(axis=0) > 0
    highest = np.where(finite, returns, -np.inf).max(axis=0, initial=-np.inf)
    lowest = np.where(finite, returns, np.inf).min(axis=0, initial=np.inf)
    reasons: list[str | None] = [None] * returns.shape[1]
    usable = (count >= min_history) & recent & (highest > lowest)
    for i in np.flatnonzero(~usable):
        if count[i] < min_history:
            reasons[i] = f"{count[i]} returns, {min_history} needed"
        elif not recent[i]:
            reasons[i] = f"no return in the last {max_stale} periods"
        else:
            reasons[i] = "returns are constant"
    return Usable(usable, tuple(reasons))


def estimate_covariance(returns: Floats, *, half_life: float, min_history: int) -> Floats:
    """Covariance per period: exponentially weighted volatilities, shrunk correlations.

    Parameters
    ----------
    returns : ndarray, shape (periods, assets)
        Oldest first; NaN where an asset had no price.
    half_life : float
        Of the weights of squared returns, in periods.
    min_history : int
        Periods that each pair of assets must share.

    Returns
    -------
    ndarray, shape (assets, assets)
        Positive definite.

    Raises
    ------
    NotEnoughDataError
        If a pair shares too few periods, or an asset does not move in those it shares.
    """
    scale = _scale(returns)
    scaled = returns / scale
    have = np.isfinite(scaled)
    weights, squares = _decay(have, half_life), np.where(have, scaled, 0.0) ** 2
    volatility = scale * np.sqrt((weights * squares).sum(axis=0) / weights.sum(axis=0))
    if have.all():
        correlation = _ledoit_wolf_correlation(scaled, min_history)
    else:
        correlation = pairwise_correlation(scaled, min_history=min_history)
    return correlation * np.outer(volatility, volatility)


def ewma_covariance(returns: Floats, *, half_life: float, min_history: int) -> Floats:
    """Covariance per period with one exponential decay for volatilities and correlations (RiskMetrics 1996).

    Correlations answer within weeks and are as noisy as that: a half-life of 11.2 holds the evidence of about
    32 periods. A matrix that is singular, as with more assets than that, is shrunk until it is not.
    Parameters, result and errors as in `estimate_covariance`.
    """
    scale = _scale(returns)
    scaled = returns / scale
    age = np.arange(len(returns))[::-1]
    weights = 0.5 ** (age / half_life)
    have = np.isfinite(scaled)
    shared = have.astype(np.float64).T @ have
    _require_shared(shared, min_history)
    known = np.where(have, scaled, 0.0)
    weight = (have * weights[:, None]).T @ have
    second = (known * weights[:, None]).T @ known / weight
    volatility = scale * np.sqrt(np.diag(second))
    return _until_definite(to_correlation(second)) * np.outer(volatility, volatility)


def to_correlation(covariance: Floats) -> Floats:
    """Correlations of a covariance matrix."""
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


def shared_evidence(returns: Floats, weights: Floats) -> Floats:
    """Effective number of weighted periods that each pair of assets shares, ``(sum w)^2 / sum w^2``."""
    have = np.isfinite(returns).astype(np.float64)
    total, square = (have * weights[:, None]).T @ have, (have * weights[:, None] ** 2).T @ have
    return np.divide(total**2, square, out=np.zeros_like(total), where=square > 0)


def pairwise_correlation(returns: Floats, weights: Floats | None = None, *, min_history: int) -> Floats:
    """Pairwise correlations, shrunk towards zero by their estimated noise (Schaefer and Strimmer 2005).

    Each pair uses the periods that both have, so a young asset does not shorten the window of the others.
    A matrix put together so need not be positive definite; it is shrunk until it is.

    Parameters
    ----------
    returns : ndarray, shape (periods, assets)
        NaN where an asset had no price.
    weights : ndarray, shape (periods,), optional
        Non-negative weight of each period; equal if None.
    min_history : int
        Effective number of periods that each pair must share; see `shared_evidence`.

    Raises
    ------
    NotEnoughDataError
        If a pair shares too few periods, or an asset does not move in those it shares.
    """
    w = np.ones(len(returns)) if weights is None else weights
    n = shared_evidence(returns, w)
    _require_shared(n, min_history)
    have = np.isfinite(returns)
    here = have.astype(np.float64)
    weight = w[:, None]
    known = np.where(have, returns, 0.0)
    own = w @ here
    centred = np.where(have, known - w @ known / own, 0.0)
    mass = (weight * here).T @ here
    total = (weight * centred).T @ here
    square = mass * ((weight * centred**2).T @ here) - total**2
    if (square <= 0.0).any():
        i, j = (int(k) for k in np.unravel_index(np.argmin(square), square.shape))
        raise NotEnoughDataError(f"asset {i} has constant returns in the periods shared with asset {j}")
    correlation = (mass * ((weight * centred).T @ centred) - total * total.T) / np.sqrt(square * square.T)
    noise = _noise(centred / np.sqrt(w @ centred**2 / own), weight, mass, n, here)
    pairs = ~np.eye(len(n), dtype=bool)
    signal = (correlation[pairs] ** 2).sum()
    intensity = min(noise[pairs].sum() / signal, 1.0) if signal > 0 else 0.0
    return _until_definite(np.where(pairs, (1.0 - intensity) * correlation, 1.0))


def _noise(unit: Floats, weight: Floats, mass: Floats, n: Floats, here: Floats) -> Floats:
    """Variance of each pair's weighted mean product of `unit` returns."""
    mean = (weight * unit).T @ unit / mass
    squares = (weight * unit**2).T @ (weight * unit**2)
    cross = (weight * unit).T @ (weight * unit)
    spread = squares - 2.0 * mean * cross + mean**2 * ((weight**2 * here).T @ here)
    return spread / mass**2 * (n / (n - 1.0)) ** 3


def _until_definite(correlation: Floats) -> Floats:
    """Shrink towards no correlation until the smallest eigenvalue is positive."""
    smallest = np.linalg.eigvalsh(correlation)[0]
    if smallest >= _SMALLEST_EIGENVALUE:
        return correlation
    intensity = (_SMALLEST_EIGENVALUE - smallest) / (1.0 - smallest)
    return np.where(np.eye(len(correlation), dtype=bool), 1.0, (1.0 - intensity) * correlation)


def _scale(returns: Floats) -> Floats:
    scale = np.nanstd(returns, axis=0)
    if not (scale > 0.0).all():
        raise NotEnoughDataError(f"asset {int(np.argmin(scale > 0.0))} has no or constant returns")
    return scale


def _require_shared(shared: Floats, min_history: int) -> None:
    if (shared < min_history).any():
        i, j = (int(k) for k in np.unravel_index(np.argmin(shared), shared.shape))
        raise NotEnoughDataError(f"assets {i} and {j} share {shared[i, j]:.0f} returns, {min_history} needed")


def _decay(have: NDArray[np.bool_], half_life: float) -> Floats:
    """Weight of each return, halved every `half_life` returns of its own asset; 0 where there is none."""
    complete = np.arange(len(have))[::-1, None]
    age = complete if have.all() else have[::-1].cumsum(axis=0)[::-1] - 1
    return np.where(have, 0.5 ** (age / half_life), 0.0)


def _ledoit_wolf_correlation(scaled: Floats, min_history: int) -> Floats:
    if len(scaled) < min_history:
        raise NotEnoughDataError(f"{len(scaled)} returns, {min_history} needed")
    return to_correlation(LedoitWolf(nearest=False, store_precision=False).fit(scaled).covariance_)
