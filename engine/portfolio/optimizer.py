"""PortfolioRiskOptimizer: risk-budgeted weights inside limits, with a fallback that is always recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.portfolio.allocation import Allocation, Attempt, PortfolioConfig, Signal
from engine.portfolio.correlation_limit import limit_correlation
from engine.portfolio.covariance import to_correlation, usable_assets
from engine.portfolio.covariance_choice import configured_covariance, shrunk_covariance
from engine.portfolio.rebalance import no_trade_band, turnover_cost
from engine.portfolio.risk_budget import (
    budget_residual,
    inverse_volatility,
    risk_budget_weights,
    risk_contributions,
)

__all__ = ["PortfolioRiskOptimizer"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FAILURES = (EngineError, ArithmeticError, np.linalg.LinAlgError)


@dataclass
class _Draft:
    """An allocation in the making, over the universe followed by other holdings."""

    symbols: tuple[str, ...]
    current: Floats
    budgets: Floats
    signs: Floats
    dropped: dict[str, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    covered: Mask = field(default_factory=lambda: np.zeros(0, bool))
    covariance: Floats | None = None
    residual: float | None = None

    def drop(self, place: int, reason: str) -> None:
        self.dropped.setdefault(self.symbols[place], reason)


class PortfolioRiskOptimizer:
    """Allocates equity by risk budgets under a correlation limit, caps and trading costs.

    Risk budgets are solved on the covariance that the configuration names; if that fails, on the shrunk one;
    if the budgets cannot be met, inverse volatility stands in; if no covariance can be estimated, the
    previous weights stay, within the caps; with nothing held, everything stays in cash. Each failure on the
    way is kept in `Allocation.attempts`.

    Parameters
    ----------
    config : PortfolioConfig, optional
    """

    def __init__(self, config: PortfolioConfig | None = None) -> None:
        self.config = config or PortfolioConfig()

    def optimize_allocation(
        self,
        symbols: Sequence[str],
        current_weights: Mapping[str, float],
        returns_history: Floats | pl.DataFrame,
        signals: Mapping[str, Signal] | None = None,
        regimes: Floats | None = None,
    ) -> Allocation:
        """Weights for the next period from what is known now.

        Parameters
        ----------
        symbols : sequence of str
            The universe. Without signals its order is the priority under the correlation limit.
        current_weights : mapping of str to float
            Fractions of equity held now, *after* drift; missing means none. Holdings outside `symbols` are
            sold.
        returns_history : ndarray of shape (periods, len(symbols)), or polars.DataFrame
            Simple returns per period, oldest first, NaN or null where an asset had no price; a frame has one
            column per symbol.
        signals : mapping of str to Signal, optional
            Tilts the budgets in proportion to ``confidence - 1/2`` and gives the sides; a symbol without a
            signal gets nothing. Without signals all budgets are equal and long.
        regimes : ndarray of shape (periods, 3), optional
            Filtered regime probabilities of the market at the end of each period, for the regime covariance.

        Raises
        ------
        ValueError
            If symbols repeat, shapes disagree, or a current weight is not finite.
        """
        draft = self._draft(symbols, current_weights, signals)
        wanted, method = self._target(draft, _returns_matrix(returns_history, symbols), regimes)
        target = self._within_caps(draft, wanted)
        weights = self._after_band(draft, target)
        return self._report(draft, target, weights, method)

    def _draft(
        self,
        symbols: Sequence[str],
        current_weights: Mapping[str, float],
        signals: Mapping[str, Signal] | None,
    ) -> _Draft:
        if len(set(symbols)) != len(symbols):
            raise ValueError(f"symbols repeat: {list(symbols)}")
        others = [s for s, weight in current_weights.items() if s not in set(symbols) and weight != 0.0]
        every = (*symbols, *others)
        current = np.array([current_weights.get(s, 0.0) for s in every], dtype=np.float64)
        if not np.isfinite(current).all():
            raise ValueError(f"current weight of {every[int(np.argmin(np.isfinite(current)))]} is not finite")
        views = [Signal(1, 1.0) if signals is None else signals.get(s, Signal(0, None)) for s in symbols]
        views += [Signal(0, None)] * len(others)
        draft = _Draft(
            symbols=every,
            current=current,
            budgets=np.array([view.edge for view in views]),
            signs=np.array([-1.0 if view.direction < 0 else 1.0 for view in views]),
        )
        for i, view in enumerate(views):
            if i >= len(symbols):
                draft.drop(i, "not in the universe")
            elif view.edge == 0.0:
                draft.drop(i, _why_no_budget(view))
            elif view.direction < 0 and self.config.long_only:
                draft.drop(i, "short signal, long-only portfolio")
                draft.budgets[i] = 0.0
        return draft

    def _target(self, draft: _Draft, returns: Floats, regimes: Floats | None) -> tuple[Floats, str]:
        """Weights before caps, and the method that gave them."""
        config = self.config
        n = len(draft.symbols)
        if not (draft.budgets > 0).any():
            draft.attempts.append(Attempt("flat", None))
            return np.zeros(n), "flat"
        usable = usable_assets(
            returns[-config.window :], min_history=config.min_history, max_stale=config.max_stale
        )
        draft.covered = np.zeros(n, dtype=bool)
        draft.covered[: len(usable.mask)] = usable.mask & (draft.budgets[: len(usable.mask)] > 0)
        if not draft.covered.any():
            missing = "; ".join(f"{s}: {r}" for s, r in zip(draft.symbols, usable.reasons, strict=False) if r)
            return self._previous(draft, f"no asset has a usable history ({missing})")
        try:
            inside = np.flatnonzero(draft.covered)
            draft.covariance = self._covariance(draft, returns.take(inside, axis=1), regimes)
        except _FAILURES as error:
            return self._previous(draft, str(error))
        for i, reason in enumerate(usable.reasons):
            if reason is not None:
                draft.drop(i, reason)
        chosen = self._uncorrelated(draft)
        covariance = draft.covariance
        if not chosen[inside].all():
            covariance = covariance[np.ix_(chosen[inside], chosen[inside])]
        shares, method = _first_that_works(draft, covariance, draft.budgets[chosen], draft.signs[chosen])
        gross = config.max_gross
        if config.target_volatility is not None:
            volatility = float(np.sqrt(shares @ covariance @ shares * config.periods_per_year))
            gross = min(gross, config.target_volatility / volatility)
            draft.reasons.append(
                f"exposure {gross:.4f}: volatility {volatility:.4f} at exposure 1,"
                f" target {config.target_volatility:.4f}"
            )
        target = np.zeros(n)
        target[chosen] = gross * shares
        return target, method

    def _covariance(self, draft: _Draft, returns: Floats, regimes: Floats | None) -> Floats:
        """Covariance as configured; should it fail, the shrunk one, which is then on record."""
        try:
            return configured_covariance(self.config, returns, regimes)
        except _FAILURES as error:
            if self.config.covariance == "shrinkage":
                raise
            draft.attempts.append(Attempt(f"{self.config.covariance} covariance", str(error)))
        return shrunk_covariance(self.config, returns)

    def _uncorrelated(self, draft: _Draft) -> Mask:
        """Assets left by the correlation limit, over all symbols."""
        covariance = draft.covariance
        places = np.flatnonzero(draft.covered)
        if covariance is None or self.config.correlation_limit >= 1.0:
            return draft.covered
        kept, conflicts = limit_correlation(
            to_correlation(covariance),
            draft.budgets[places],
            draft.signs[places],
            draft.current[places] * draft.signs[places] > 0,
            limit=self.config.correlation_limit,
            hysteresis=self.config.hysteresis,
        )
        for conflict in conflicts:
            partner = draft.symbols[places[conflict.kept]]
            draft.drop(
                int(places[conflict.dropped]),
                f"correlation {conflict.correlation:.3f} with {partner} above {conflict.allowed:.3f}",
            )
        chosen = np.zeros(len(draft.symbols), dtype=bool)
        chosen[places[kept]] = True
        return chosen

    def _previous(self, draft: _Draft, failure: str) -> tuple[Floats, str]:
        """Hold what may still be held; nothing new is bought on data that cannot be judged."""
        draft.attempts.append(Attempt("risk_budget", failure))
        draft.covered = np.zeros(len(draft.symbols), dtype=bool)
        allowed = (draft.budgets > 0) & (draft.current * draft.signs > 0)
        held = np.where(allowed, draft.current, 0.0)
        if not allowed.any():
            draft.attempts += [Attempt("previous", "nothing is held that may stay"), Attempt("flat", None)]
            return held, "flat"
        draft.attempts.append(Attempt("previous", None))
        gross = np.abs(held).sum()
        return held * min(1.0, self.config.max_gross / gross), "previous"

    def _within_caps(self, draft: _Draft, wanted: Floats) -> Floats:
        cap = self.config.max_weight
        for i in np.flatnonzero(np.abs(wanted) > cap * (1 + 1e-12)):
            draft.reasons.append(f"{draft.symbols[i]} capped at {cap:.4f} instead of {abs(wanted[i]):.4f}")
        return np.clip(wanted, -cap, cap)

    def _after_band(self, draft: _Draft, target: Floats) -> Floats:
        """Apply the no-trade band, unless drift inside the band would break a cap."""
        banded = no_trade_band(draft.current, target, self.config.no_trade_band)
        banded = np.clip(banded, -self.config.max_weight, self.config.max_weight)
        if np.abs(banded).sum() > self.config.max_gross * (1 + 1e-12):
            draft.reasons.append("no-trade band set aside: exposure would exceed its cap")
            return target
        return banded

    def _report(self, draft: _Draft, target: Floats, weights: Floats, method: str) -> Allocation:
        def by_symbol(values: Floats) -> dict[str, float]:
            return {s: float(value) for s, value in zip(draft.symbols, values, strict=True)}

        turnover, cost = turnover_cost(draft.current, weights, self.config.cost_bps)
        contributions: dict[str, float] = {}
        volatility = None
        covered = tuple(s for s, inside in zip(draft.symbols, draft.covered, strict=False) if inside)
        if draft.covariance is not None:
            inside = weights[draft.covered]
            shares = risk_contributions(inside, draft.covariance)
            contributions = {s: float(share) for s, share in zip(covered, shares, strict=True)}
            variance = float(inside @ draft.covariance @ inside)
            volatility = float(np.sqrt(max(variance, 0.0) * self.config.periods_per_year))
        return Allocation(
            symbols=draft.symbols,
            current=by_symbol(draft.current),
            target=by_symbol(target),
            weights=by_symbol(weights),
            risk_contributions=contributions,
            trades={s: trade for s, trade in by_symbol(weights - draft.current).items() if trade != 0.0},
            turnover=turnover,
            cost=cost,
            method=method,
            attempts=tuple(draft.attempts),
            dropped=draft.dropped,
            reasons=tuple(draft.reasons),
            covariance=draft.covariance,
            covariance_symbols=covered if draft.covariance is not None else (),
            volatility=volatility,
            residual=draft.residual,
        )


def _first_that_works(
    draft: _Draft, covariance: Floats, budgets: Floats, signs: Floats
) -> tuple[Floats, str]:
    try:
        shares = risk_budget_weights(covariance, budgets, signs)
    except _FAILURES as error:
        draft.attempts.append(Attempt("risk_budget", str(error)))
        draft.attempts.append(Attempt("inverse_volatility", None))
        return inverse_volatility(covariance, budgets, signs), "inverse_volatility"
    draft.attempts.append(Attempt("risk_budget", None))
    draft.residual = budget_residual(shares, covariance, budgets)
    return shares, "risk_budget"


def _why_no_budget(view: Signal) -> str:
    if view.direction == 0:
        return "no direction"
    if view.confidence is None or not np.isfinite(view.confidence):
        return "confidence unknown"
    return f"confidence {view.confidence:.4f} is not above 0.5"


def _returns_matrix(history: Floats | pl.DataFrame, symbols: Sequence[str]) -> Floats:
    if isinstance(history, pl.DataFrame):
        missing = [s for s in symbols if s not in history.columns]
        if missing:
            raise ValueError(f"returns_history has no column for {missing}")
        return history.select(pl.col(list(symbols)).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    returns = np.asarray(history, dtype=np.float64)
    if returns.ndim != 2 or returns.shape[1] != len(symbols):
        raise ValueError(f"returns_history has shape {returns.shape}, (periods, {len(symbols)}) needed")
    return returns
