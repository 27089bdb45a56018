"""Risk budgeting: weights whose shares of the portfolio's risk are given.

Minimise ``1/2 y' S y - sum b_i ln y_i`` (Maillard, Roncalli and Teiletche 2010; Spinu 2013) by cyclical
coordinate descent (Griveau-Billion, Richard and Roncalli 2013) on the *correlation* matrix; dividing by the
volatilities afterwards gives the same weights and makes the result independent of the scale of the returns.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import EngineError

__all__ = [
    "NotConvergedError",
    "budget_residual",
    "inverse_volatility",
    "risk_budget_weights",
    "risk_contributions",
]

Floats = NDArray[np.float64]


class NotConvergedError(EngineError, ArithmeticError):
    """No weights meet the risk budgets: some combination of the assets is nearly riskless."""


@nb.njit(cache=True)
def _furthest(y: Floats, pull: Floats, budgets: Floats) -> float:
    """Largest relative distance of a risk share from its budget; at the optimum ``y_i (C y)_i = b_i``."""
    largest = 0.0
    for i in range(y.size):
        distance = abs(y[i] * pull[i] / budgets[i] - 1.0)
        if not distance <= largest:  # so that NaN is far, not near
            largest = distance
    return largest


@nb.njit(cache=True)
def _descend(
    covariance: Floats, toward: Floats, budgets: Floats, tolerance: float, sweeps: int
) -> tuple[Floats, float]:
    n = budgets.size
    correlation = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            correlation[i, j] = covariance[i, j] * toward[i] * toward[j]
    y = np.sqrt(budgets)
    risk = y @ (correlation @ y)
    if risk > 0.0:
        y /= np.sqrt(risk)
    pull = correlation @ y
    residual = np.inf
    for _ in range(sweeps):
        for i in range(n):
            others = pull[i] - y[i]
            step = (np.sqrt(others * others + 4.0 * budgets[i]) - others) / 2.0 - y[i]
            y[i] += step
            row = correlation[i]
            for j in range(n):
                pull[j] += step * row[j]
        residual = _furthest(y, pull, budgets)
        if residual <= tolerance:
            pull = correlation @ y  # free of the rounding that the updates gathered
            residual = _furthest(y, pull, budgets)
            if residual <= tolerance:
                break
    return y, residual


def risk_budget_weights(
    covariance: ArrayLike,
    budgets: ArrayLike | None = None,
    signs: ArrayLike | None = None,
    *,
    tolerance: float = 2e-11,
    sweeps: int = 10_000,
) -> Floats:
    """Weights with the given shares of risk.

    Parameters
    ----------
    covariance : array_like, shape (n, n)
        Positive semi-definite, any scale, positive variances.
    budgets : array_like, shape (n,), optional
        Non-negative, not all zero; normalised to sum to 1. Equal if None. An asset with a zero budget has
        a zero weight (it is never taken as a hedge).
    signs : array_like of -1 or 1, shape (n,), optional
        Side of each asset; all long if None.
    tolerance : float
        Largest relative distance of a risk share from its budget.
    sweeps : int
        Most sweeps.

    Returns
    -------
    ndarray, shape (n,)
        Signed weights; their absolute values sum to 1.

    Raises
    ------
    ValueError
        If the input is not of that form.
    NotConvergedError
        If the sweeps do not get there, as with perfectly hedged assets.
    """
    cov = np.asarray(covariance, dtype=np.float64)
    n = cov.shape[0]
    share = np.full(n, 1.0 / n) if budgets is None else np.asarray(budgets, dtype=np.float64)
    side = np.ones(n) if signs is None else np.asarray(signs, dtype=np.float64)
    _require_problem(cov, share, side)
    used = share > 0
    if not used.all():
        weights = np.zeros(n)
        weights[used] = risk_budget_weights(
            cov[np.ix_(used, used)], share[used], side[used], tolerance=tolerance, sweeps=sweeps
        )
        return weights
    toward = side / np.sqrt(np.diag(cov))
    y, residual = _descend(np.ascontiguousarray(cov), toward, share / share.sum(), tolerance, sweeps)
    if not residual <= tolerance:
        raise NotConvergedError(
            f"risk budgets of {n} assets missed by {residual:.2g}, not {tolerance:.2g}, after {sweeps} sweeps"
        )
    weights = y * toward
    return weights / np.abs(weights).sum()


def _require_problem(cov: Floats, share: Floats, side: Floats) -> None:
    n = cov.shape[0]
    if cov.shape != (n, n) or share.shape != (n,) or side.shape != (n,) or n == 0:
        raise ValueError(
            f"covariance {cov.shape}, budgets {share.shape} and signs {side.shape}"
            " must be (n, n), (n,) and (n,)"
        )
    if not np.isfinite(cov).all() or (np.diag(cov) <= 0).any():
        raise ValueError("covariance must be finite with positive variances; leave constant assets out")
    if not np.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
        raise ValueError(f"budgets must be non-negative and not all zero, got {share}")
    if not np.isin(side, (-1.0, 1.0)).all():
        raise ValueError(f"signs must be -1 or 1, got {side}")


def inverse_volatility(
    covariance: ArrayLike, budgets: ArrayLike | None = None, signs: ArrayLike | None = None
) -> Floats:
    """Weights in proportion to ``sqrt(budget) / volatility``.

    Risk budgeting for assets that are uncorrelated (with equal budgets: equally correlated), which needs no
    correlations and always exists. Parameters, result and ValueError as in `risk_budget_weights`.
    """
    cov = np.asarray(covariance, dtype=np.float64)
    n = cov.shape[0]
    share = np.full(n, 1.0 / n) if budgets is None else np.asarray(budgets, dtype=np.float64)
    side = np.ones(n) if signs is None else np.asarray(signs, dtype=np.float64)
    _require_problem(cov, share, side)
    weights = side * np.sqrt(share / np.diag(cov))
    return weights / np.abs(weights).sum()


def risk_contributions(weights: ArrayLike, covariance: ArrayLike) -> Floats:
    """Share of the portfolio's variance that each asset brings, ``w_i (S w)_i / (w' S w)``.

    Returns
    -------
    ndarray, shape (n,)
        Sums to 1; negative for a hedge. Zeros if the portfolio has no risk.
    """
    w, cov = np.asarray(weights, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    part = w * (cov @ w)
    variance = part.sum()
    return part / variance if variance > 0 else np.zeros_like(part)


def budget_residual(weights: ArrayLike, covariance: ArrayLike, budgets: ArrayLike | None = None) -> float:
    """How far risk shares are from their budgets: the largest ``|share / budget - 1|`` over budgets above 0.

    Budgets are normalised to sum to 1; equal if None. Infinite for a portfolio without risk.
    """
    cov = np.asarray(covariance, dtype=np.float64)
    budget = np.ones(len(cov)) if budgets is None else np.asarray(budgets, dtype=np.float64)
    shares = risk_contributions(weights, cov)
    if not shares.any():
        return float("inf")
    used = budget > 0
    return float(np.abs(shares[used] / (budget[used] / budget.sum()) - 1.0).max())
