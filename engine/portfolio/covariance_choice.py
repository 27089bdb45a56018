"""The covariance that a configuration names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import NotEnoughDataError
from engine.portfolio.allocation import PortfolioConfig
from engine.portfolio.covariance import estimate_covariance, ewma_covariance
from engine.portfolio.regime_covariance import regime_covariance

__all__ = ["configured_covariance", "shrunk_covariance"]

Floats = NDArray[np.float64]


def configured_covariance(config: PortfolioConfig, returns: Floats, regimes: Floats | None) -> Floats:
    """Estimate by ``config.covariance`` from the newest periods.

    Parameters
    ----------
    config : PortfolioConfig
    returns : ndarray, shape (periods, assets)
        The whole history, oldest first, NaN where an asset had no price; its windows are cut here.
    regimes : ndarray, shape (periods, 3), optional
        Filtered probabilities at the end of each period, for ``regime``.

    Raises
    ------
    NotEnoughDataError
        If the history is too short, or ``regime`` is asked for without probabilities.
    """
    if config.covariance == "ewma":
        return ewma_covariance(
            returns[-config.window :], half_life=config.half_life, min_history=config.min_history
        )
    if config.covariance == "shrinkage":
        return shrunk_covariance(config, returns)
    if regimes is None:
        raise NotEnoughDataError("no regime probabilities were given")
    if len(regimes) != len(returns):
        raise ValueError(f"regimes have {len(regimes)} periods, returns {len(returns)}; both end now")
    return regime_covariance(
        returns[-config.regime_window :],
        regimes[-config.regime_window :],
        window=config.window,
        half_life=config.half_life,
        min_history=config.min_history,
        stress_correlation=config.stress_correlation,
    )


def shrunk_covariance(config: PortfolioConfig, returns: Floats) -> Floats:
    """`estimate_covariance` over the newest ``config.window`` periods; the other choices fall back to it."""
    return estimate_covariance(
        returns[-config.window :], half_life=config.half_life, min_history=config.min_history
    )
