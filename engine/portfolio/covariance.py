"""Covariance of returns with ragged histories.

Volatilities and correlations are estimated apart: each asset's volatility from its own history, exponentially
weighted (RiskMetrics 1996), since it changes fast; correlations over the whole window and shrunk (Ledoit and
Wolf 2004), since they are noisy: the standard error of a correlation of .6 from 30 returns is .12. Both come
from skfolio. Its Ledoit-Wolf estimator needs complete rows; where an asset is younger than the window,
correlations are pairwise instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfolio.moments import EWCovariance, LedoitWolf

from engine.errors import NotEnoughDataError

__all__ = ["Usable", "estimate_covariance", "pairwise_correlation", "usable_assets"]

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
    reasons: list[str | None] = []
    for own, column in zip(finite.T, returns.T, strict=True):
        if own.sum() < min_history:
            reasons.append(f"{own.sum()} returns, {min_history} needed")
        elif not own[-max_stale:].any():
            reasons.append(f"no return in the last {max_stale} periods")
        elif np.ptp(column[own]) == 0.0:
            reasons.append("returns are constant")
        else:
            reasons.append(None)
    return Usable(np.array([reason is None for reason in reasons], dtype=bool), tuple(reasons))


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
    scale = np.nanstd(returns, axis=0)
    if not (scale > 0.0).all():
        raise NotEnoughDataError(f"asset {int(np.argmin(scale > 0.0))} has no or constant returns")
    scaled = returns / scale
    have = np.isfinite(scaled)
    if have.all():
        variance = _weighted_variance(scaled, half_life)
        correlation = _ledoit_wolf_correlation(scaled, min_history)
    else:
        # skfolio walks row by row where values are missing; column by column it stays fast
        variance = np.array(
            [
                _weighted_variance(own[there][:, None], half_life)[0]
                for own, there in zip(scaled.T, have.T, strict=True)
            ]
        )
        correlation = pairwise_correlation(scaled, min_history=min_history)
    volatility = scale * np.sqrt(variance)
    return correlation * np.outer(volatility, volatility)


def _weighted_variance(returns: Floats, half_life: float) -> Floats:
    return np.diag(EWCovariance(half_life=half_life, nearest=False).fit(returns).covariance_)


def _ledoit_wolf_correlation(scaled: Floats, min_history: int) -> Floats:
    if len(scaled) < min_history:
        raise NotEnoughDataError(f"{len(scaled)} returns, {min_history} needed")
    covariance = LedoitWolf(nearest=False, store_precision=False).fit(scaled).covariance_
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


def pairwise_correlation(returns: Floats, *, min_history: int) -> Floats:
    """Pairwise correlations, shrunk towards zero by their estimated noise (Schaefer and Strimmer 2005).

    Each pair uses the periods that both have, so a young asset does not shorten the window of the others.
    A matrix put together so need not be positive definite; it is shrunk until it is. Parameters and errors
    as in `estimate_covariance`.
    """
    have = np.isfinite(returns)
    centred = np.where(have, returns - np.nanmean(returns, axis=0), 0.0)
    here = have.astype(np.float64)
    n = here.T @ here
    if (n < min_history).any():
        i, j = (int(k) for k in np.unravel_index(np.argmin(n), n.shape))
        raise NotEnoughDataError(f"assets {i} and {j} share {int(n[i, j])} returns, {min_history} needed")
    total = centred.T @ here
    square = n * ((centred**2).T @ here) - total**2
    if (square <= 0.0).any():
        i, j = (int(k) for k in np.unravel_index(np.argmin(square), n.shape))
        raise NotEnoughDataError(f"asset {i} has constant returns in the periods shared with asset {j}")
    correlation = (n * (centred.T @ centred) - total * total.T) / np.sqrt(square * square.T)
    unit = centred / np.nanstd(returns, axis=0)
    product, product_square = unit.T @ unit, (unit**2).T @ (unit**2)
    noise = n / (n - 1) ** 3 * (product_square - product**2 / n)
    pairs = ~np.eye(len(n), dtype=bool)
    signal = (correlation[pairs] ** 2).sum()
    intensity = min(noise[pairs].sum() / signal, 1.0) if signal > 0 else 0.0
    smallest = np.linalg.eigvalsh(correlation)[0]
    intensity = max(intensity, (_SMALLEST_EIGENVALUE - smallest) / (1.0 - smallest)) if smallest < 1 else 0.0
    return np.where(pairs, (1.0 - intensity) * correlation, 1.0)
