"""The daily decision: gates, signals, optimiser, sizer, no-trade band, risk manager, each with reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.portfolio.allocation import Allocation, PortfolioConfig, Signal
from engine.portfolio.gate_profiles import PROFILES, GateProfile, GateProfiles, GateVerdict
from engine.portfolio.optimizer import PortfolioRiskOptimizer
from engine.portfolio.position_sizer import PositionSize, PositionSizer, SizerConfig
from engine.portfolio.rebalance import no_trade_band, turnover_cost
from engine.portfolio.record import Record
from engine.portfolio.risk_limits import RiskLimits
from engine.portfolio.risk_manager import Proposal, Review, RiskManager
from engine.portfolio.risk_state import RiskState
from engine.portfolio.view import SymbolView

__all__ = ["Decision", "DecisionConfig", "DecisionInputs", "DecisionState", "target_positions"]


@dataclass(frozen=True)
class DecisionConfig(Record):
    """Every threshold of a decision. The bounds of the gates are stored in full, not by a profile name."""

    gates: GateProfile = PROFILES["balanced"]
    portfolio: PortfolioConfig = field(default_factory=PortfolioConfig)
    sizer: SizerConfig = field(default_factory=SizerConfig)
    limits: RiskLimits = field(default_factory=RiskLimits)


@dataclass(frozen=True)
class DecisionState(Record):
    """What one decision hands to the next."""

    risk: RiskState = field(default_factory=RiskState)
    sentiment_open: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class DecisionInputs(Record):
    """What is known at a decision, besides the history of returns.

    Parameters
    ----------
    day : str
        UTC day, ISO.
    equity : float or None
        Value of the account, quote units.
    current : dict of str to float
        Weights held now, after drift.
    views : tuple of SymbolView
        The universe; its order is the priority among equals under the correlation limit.
    """

    day: str
    equity: float | None
    current: dict[str, float]
    views: tuple[SymbolView, ...]


@dataclass(frozen=True)
class Decision:
    """Weights to hold and how each came about.

    Parameters
    ----------
    weights : dict of str to float
        Fractions of equity, for the universe and whatever else is held now.
    state : DecisionState
        For the next decision.
    turnover, cost : float
        Of the trades from the weights held now, fractions of equity.
    inputs, verdicts, allocation, sizes, review
        The stages.
    """

    weights: dict[str, float]
    state: DecisionState
    turnover: float
    cost: float
    inputs: DecisionInputs
    verdicts: tuple[GateVerdict, ...]
    allocation: Allocation
    sizes: tuple[PositionSize, ...]
    review: Review

    def frame(self) -> pl.DataFrame:
        """One row per symbol, from what the optimiser wanted to what is held.

        Columns ``day, symbol, direction, confidence, gates_passed, allocated, sized, weight, current, trade,
        method``; null where a symbol is held without a view.
        """
        views = {view.symbol: view for view in self.inputs.views}
        passed = {verdict.symbol: verdict.passed for verdict in self.verdicts}
        sized = {size.symbol: size.weight for size in self.sizes}
        current = self.allocation.current
        rows = [
            {
                "day": self.inputs.day,
                "symbol": symbol,
                "direction": views[symbol].direction if symbol in views else None,
                "confidence": views[symbol].confidence if symbol in views else None,
                "gates_passed": passed.get(symbol),
                "allocated": self.allocation.target[symbol],
                "sized": sized.get(symbol),
                "weight": weight,
                "current": current[symbol],
                "trade": weight - current[symbol],
                "method": self.allocation.method,
            }
            for symbol, weight in self.weights.items()
        ]
        return pl.DataFrame(rows, schema=_FRAME)

    def reasons(self) -> pl.DataFrame:
        """One row per symbol and reason, in the order in which they took effect.

        Columns ``day, symbol`` (null for what concerns all), ``stage`` (``gate, allocation, size, risk``),
        ``name``, ``value`` (1 or 0 for a gate, the factor of a size, the weight left by a rule), ``reason``.
        """
        rows = [(self.inputs.day, *row) for row in self._reasons()]
        return pl.DataFrame(rows, schema=_REASONS, orient="row")

    def _reasons(self) -> Iterator[tuple[str | None, str, str, float | None, str]]:
        for verdict in self.verdicts:
            for gate in verdict.gates:
                yield verdict.symbol, "gate", gate.name, float(gate.passed), gate.reason
        for attempt in self.allocation.attempts:
            yield None, "allocation", attempt.method, None, attempt.failure or "gave the weights"
        for reason in self.allocation.reasons:
            yield None, "allocation", "limit", None, reason
        for symbol, reason in self.allocation.dropped.items():
            yield symbol, "allocation", "dropped", 0.0, reason
        for size in self.sizes:
            for factor in size.factors:
                yield size.symbol, "size", factor.name, factor.value, factor.reason
        for cut in self.review.cuts:
            yield cut.symbol, "risk", cut.rule, cut.after, cut.reason


_FRAME = {
    "day": pl.String,
    "symbol": pl.String,
    "direction": pl.Int64,
    "confidence": pl.Float64,
    "gates_passed": pl.Boolean,
    "allocated": pl.Float64,
    "sized": pl.Float64,
    "weight": pl.Float64,
    "current": pl.Float64,
    "trade": pl.Float64,
    "method": pl.String,
}
_REASONS = {
    "day": pl.String,
    "symbol": pl.String,
    "stage": pl.String,
    "name": pl.String,
    "value": pl.Float64,
    "reason": pl.String,
}


def target_positions(
    inputs: DecisionInputs,
    returns_history: NDArray[np.float64] | pl.DataFrame,
    config: DecisionConfig | None = None,
    state: DecisionState | None = None,
    regimes: NDArray[np.float64] | None = None,
) -> Decision:
    """Decide what to hold. A function of its arguments alone: the same ones give the same bits.

    A symbol that a gate vetoes is not opened and not added to; what is held of it on the side of its signal
    may stay, as far as sizer and limits allow. Sizes are applied to what the optimiser wants; where it could
    only keep the previous weights, which were sized before, these are bounded by the size of a whole position
    instead. The risk manager comes last, after the no-trade band, so that no limit is exceeded.

    Parameters
    ----------
    inputs : DecisionInputs
    returns_history : ndarray of shape (periods, len(inputs.views)), or polars.DataFrame
        Simple daily returns up to now, oldest first; see `PortfolioRiskOptimizer.optimize_allocation`.
    config : DecisionConfig, optional
    state : DecisionState, optional
        From the decision before; a new account has none.
    regimes : ndarray of shape (periods, 3), optional
        Filtered regime probabilities of the market, for the regime covariance.

    Raises
    ------
    ValueError
        If symbols repeat, shapes disagree, a current weight is not finite, or the day lies before the last.
    """
    config, state = config or DecisionConfig(), state or DecisionState()
    gates = GateProfiles({config.gates.name: config.gates})
    verdicts = tuple(
        gates.evaluate(config.gates.name, view, state.sentiment_open.get(view.symbol, False))
        for view in inputs.views
    )
    signals = {
        view.symbol: view.signal if verdict.passed or _held(view, inputs) else Signal(0, None)
        for view, verdict in zip(inputs.views, verdicts, strict=True)
    }
    allocation = PortfolioRiskOptimizer(config.portfolio).optimize_allocation(
        list(signals), inputs.current, returns_history, signals, regimes
    )
    sizer = PositionSizer(config.sizer)
    previous = allocation.method == "previous"
    sizes = tuple(
        sizer.size(view, config.portfolio.max_weight if previous else abs(allocation.target[view.symbol]))
        for view in inputs.views
    )
    wanted = dict.fromkeys(allocation.symbols, 0.0)
    for size, verdict in zip(sizes, verdicts, strict=True):
        most = [abs(size.weight)]
        most += [abs(allocation.target[size.symbol])] if previous else []
        most += [] if verdict.passed else [abs(inputs.current.get(size.symbol, 0.0))]
        wanted[size.symbol] = min(most) * float(np.sign(size.weight))
    now = list(allocation.current.values())
    banded = no_trade_band(now, list(wanted.values()), config.portfolio.no_trade_band)
    proposal = Proposal(
        dict(zip(wanted, banded.tolist(), strict=True)),
        inputs.current,
        inputs.equity,
        inputs.day,
        inputs.views,
    )
    review = RiskManager(config.limits).review(proposal, state.risk)
    turnover, cost = turnover_cost(now, list(review.allowed.values()), config.portfolio.cost_bps)
    return Decision(
        weights=review.allowed,
        state=DecisionState(review.state, {v.symbol: v.sentiment_open for v in verdicts}),
        turnover=turnover,
        cost=cost,
        inputs=inputs,
        verdicts=verdicts,
        allocation=allocation,
        sizes=sizes,
        review=review,
    )


def _held(view: SymbolView, inputs: DecisionInputs) -> bool:
    """Tell whether something is held on the side of the view."""
    return inputs.current.get(view.symbol, 0.0) * (view.direction or 0) > 0.0
