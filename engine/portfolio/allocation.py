"""What the portfolio optimiser is told and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.portfolio.record import Record

__all__ = ["Allocation", "Attempt", "CovarianceChoice", "PortfolioConfig", "Signal"]

CovarianceChoice = Literal["shrinkage", "ewma", "regime"]


@dataclass(frozen=True)
class PortfolioConfig(Record):
    """Limits and estimation windows; periods are those of the returns handed in.

    Parameters
    ----------
    covariance : str
        ``shrinkage``: exponentially weighted volatilities, Ledoit-Wolf correlations. ``ewma``: one
        exponential decay for both. ``regime``: past returns weighted by regime probability, see
        `regime_covariance`; without probabilities it falls back to ``shrinkage``.
    periods_per_year : float
        365 for daily returns of a market that never closes.
    window : int
        Periods that correlations are estimated from.
    regime_window : int
        Periods searched for each regime.
    half_life : float
        Of squared returns in the volatility, in periods; 11.2 is RiskMetrics' decay of .94.
    min_history : int
        Returns that an asset, and each pair of assets, must have in the window.
    max_stale : int
        An asset without a return in so many last periods is left out.
    stress_correlation : float
        What correlations in PANIC lean on; see `regime_covariance`.
    correlation_limit : float
        Largest correlation between two positions, side considered. Crypto assets against one quote currency
        mostly exceed .60: then few positions remain, and the allocation says which were dropped and why.
        1 turns the limit off.
    hysteresis : float
        A pair with a newcomer must lie this much below the limit.
    target_volatility : float or None
        Annualised, of the whole portfolio; exposure is lowered to meet it, never raised above `max_gross`.
    max_gross : float
        Largest sum of absolute weights.
    max_weight : float
        Largest absolute weight of one asset. The excess stays in cash: giving it to the others would take
        them beyond their risk budgets.
    no_trade_band : float
        Half width in fractions of equity.
    cost_bps : float
        Fee and slippage of a trade, in basis points of its value.
    long_only : bool
        A short signal then means no position, as on a spot market.
    """

    covariance: CovarianceChoice = "shrinkage"
    periods_per_year: float = 365.0
    window: int = 180
    regime_window: int = 730
    half_life: float = 11.2
    min_history: int = 60
    max_stale: int = 3
    stress_correlation: float = 0.80
    correlation_limit: float = 0.60
    hysteresis: float = 0.05
    target_volatility: float | None = None
    max_gross: float = 1.0
    max_weight: float = 0.40
    no_trade_band: float = 0.01
    cost_bps: float = 10.0
    long_only: bool = False

    def __post_init__(self) -> None:
        if self.covariance not in get_args(CovarianceChoice):
            raise ValueError(f"covariance={self.covariance!r} must be one of {get_args(CovarianceChoice)}")
        if not 2 <= self.min_history <= self.window:
            raise ValueError(f"min_history={self.min_history} must lie between 2 and window={self.window}")
        if not self.regime_window >= self.window:
            raise ValueError(
                f"regime_window={self.regime_window} must not be shorter than window={self.window}"
            )
        if not 0.0 <= self.stress_correlation < 1.0:
            raise ValueError(f"stress_correlation={self.stress_correlation} must lie in [0, 1)")
        if not 0.0 < self.correlation_limit <= 1.0 or not 0.0 <= self.hysteresis < self.correlation_limit:
            raise ValueError(
                f"correlation_limit={self.correlation_limit} must lie in (0, 1]"
                f" and hysteresis={self.hysteresis} in [0, correlation_limit)"
            )
        for name in ("periods_per_year", "half_life", "max_stale", "max_gross", "max_weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        for name in ("no_trade_band", "cost_bps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if self.target_volatility is not None and not self.target_volatility > 0:
            raise ValueError(f"target_volatility={self.target_volatility} must be positive or None")


@dataclass(frozen=True)
class Signal:
    """A view on one asset: its side and how sure it is.

    Parameters
    ----------
    direction : int
        1 long, -1 short, 0 none.
    confidence : float or None
        Calibrated probability of being right; None or NaN if unknown, which earns no risk.
    """

    direction: int
    confidence: float | None

    @property
    def edge(self) -> float:
        """Confidence beyond a coin's; 0 where there is none, or no direction."""
        known = self.confidence is not None and math.isfinite(self.confidence)
        return max(self.confidence - 0.5, 0.0) if known and self.direction else 0.0  # type: ignore[operator]


@dataclass(frozen=True)
class Attempt:
    """One step of the fallback chain; `failure` is None for the step that gave the weights."""

    method: str
    failure: str | None


@dataclass(frozen=True)
class Allocation:
    """Weights to hold, the trades that lead there, and why.

    Parameters
    ----------
    symbols : tuple of str
        The universe, then whatever else is held now.
    current, target, weights : dict of str to float
        Fractions of equity: held now, wanted, and after the trades that the no-trade band leaves over.
    risk_contributions : dict of str to float
        Share of the variance of `weights`; empty if no covariance could be estimated.
    trades : dict of str to float
        ``weights - current`` where not zero.
    turnover, cost : float
        Sum of absolute trades and its cost, fractions of equity.
    method : str
        ``risk_budget``, ``inverse_volatility``, ``previous`` or ``flat``.
    attempts : tuple of Attempt
        The chain up to `method`.
    dropped : dict of str to str
        Assets without a position by decision, each with its reason.
    reasons : tuple of str
        What else shaped the weights: caps and scaling.
    covariance : ndarray or None
        Per period, of `covariance_symbols`.
    volatility : float or None
        Annualised, expected of `weights`.
    residual : float or None
        Largest ``|risk share / budget - 1|`` of the risk budgets before caps and costs; None for weights that
        are no risk budgets.
    """

    symbols: tuple[str, ...]
    current: dict[str, float]
    target: dict[str, float]
    weights: dict[str, float]
    risk_contributions: dict[str, float]
    trades: dict[str, float]
    turnover: float
    cost: float
    method: str
    attempts: tuple[Attempt, ...]
    dropped: dict[str, str]
    reasons: tuple[str, ...]
    covariance: NDArray[np.float64] | None
    covariance_symbols: tuple[str, ...]
    volatility: float | None
    residual: float | None

    @property
    def exposure(self) -> float:
        """Sum of absolute weights."""
        return sum(abs(weight) for weight in self.weights.values())

    def frame(self) -> pl.DataFrame:
        """One row per symbol.

        Columns ``symbol``, ``current``, ``target``, ``weight``, ``trade``, ``risk_contribution`` (null if
        unknown), ``dropped`` (the reason, or null) and ``method``.
        """
        return pl.DataFrame(
            {
                "symbol": list(self.symbols),
                "current": [self.current[s] for s in self.symbols],
                "target": [self.target[s] for s in self.symbols],
                "weight": [self.weights[s] for s in self.symbols],
                "trade": [self.trades.get(s, 0.0) for s in self.symbols],
                "risk_contribution": [self.risk_contributions.get(s) for s in self.symbols],
                "dropped": [self.dropped.get(s) for s in self.symbols],
                "method": [self.method] * len(self.symbols),
            },
            schema_overrides={"risk_contribution": pl.Float64, "dropped": pl.String},
        )
