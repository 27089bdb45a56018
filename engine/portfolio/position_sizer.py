"""PositionSizer: how much of a proposed position is justified, as a product of named factors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.portfolio.record import Record
from engine.portfolio.sentiment import fear_greed_factor
from engine.portfolio.view import SymbolView
from engine.regimes.actions import EXIT_AT, REDUCE_AT

__all__ = ["Factor", "PositionSize", "PositionSizer", "SizerConfig"]


@dataclass(frozen=True)
class SizerConfig(Record):
    """Bounds of the factors.

    Parameters
    ----------
    full_confidence : float
        Calibrated lower bound from which on the whole position is taken; from 1/2 up to it in proportion.
    target_volatility : float
        Annualised, of one asset; what swings more is held smaller, what swings less is not held larger.
    panic_factor : float
        Factor when PANIC is certain; in proportion to its probability otherwise.
    reduce_at, exit_at : float
        Change-point probabilities; by default those of the detector's own actions.
    reduce_factor : float
        Factor from `reduce_at` on.
    sentiment_floor : float
        Smallest factor of Fear & Greed; see `fear_greed_factor`.
    max_position_risk : float
        Largest loss on one position, fraction of equity, in a daily move of `risk_deviations` standard
        deviations.
    risk_deviations : float
    """

    full_confidence: float = 0.60
    target_volatility: float = 0.80
    panic_factor: float = 0.40
    reduce_at: float = REDUCE_AT
    exit_at: float = EXIT_AT
    reduce_factor: float = 0.50
    sentiment_floor: float = 0.25
    max_position_risk: float = 0.02
    risk_deviations: float = 2.5

    def __post_init__(self) -> None:
        for name in ("panic_factor", "reduce_factor", "sentiment_floor"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        if not 0.5 < self.full_confidence <= 1.0:
            raise ValueError(f"full_confidence={self.full_confidence} must lie in (0.5, 1]")
        if not 0.0 <= self.reduce_at <= self.exit_at <= 1.0:
            raise ValueError(f"reduce_at={self.reduce_at} and exit_at={self.exit_at} must ascend in [0, 1]")
        for name in ("target_volatility", "max_position_risk", "risk_deviations"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")


@dataclass(frozen=True)
class Factor(Record):
    """One reason to hold less: a number in [0, 1] and the figures behind it."""

    name: str
    value: float
    reason: str


@dataclass(frozen=True)
class PositionSize(Record):
    """A position and how it came about: ``weight`` is ``base`` times the product of the factors, signed.

    Parameters
    ----------
    symbol : str
    weight : float
        Fraction of equity, signed.
    base : float
        What was proposed, without sign.
    factors : tuple of Factor
        ``confidence, volatility, regime, change point, fear & greed, position risk``.
    """

    symbol: str
    weight: float
    base: float
    factors: tuple[Factor, ...]


class PositionSizer:
    """Lowers a proposed position for each reason to doubt it; it never raises one.

    An unknown value counts as the worst that it could be: without confidence, volatility or change-point
    probability there is no position; an unknown regime is PANIC; unknown sentiment is extreme.

    Parameters
    ----------
    config : SizerConfig, optional
    """

    def __init__(self, config: SizerConfig | None = None) -> None:
        self.config = config or SizerConfig()

    def size(self, view: SymbolView, base: float = 1.0) -> PositionSize:
        """Size one position.

        Parameters
        ----------
        view : SymbolView
        base : float
            Proposed fraction of equity, not negative; the side is the view's.

        Raises
        ------
        ValueError
            If `base` is negative or not finite.
        """
        if not (math.isfinite(base) and base >= 0.0):
            raise ValueError(f"base={base} must be finite and not negative; the side comes from the view")
        factors = [
            self._confidence(view),
            self._volatility(view),
            self._regime(view),
            self._change_point(view),
            self._fear_greed(view),
        ]
        wanted = base * math.prod(factor.value for factor in factors)
        factors.append(self._position_risk(view, wanted))
        return PositionSize(
            view.symbol, (view.direction or 0) * wanted * factors[-1].value, base, tuple(factors)
        )

    def _confidence(self, view: SymbolView) -> Factor:
        edge = view.signal.edge
        if view.confidence is None:
            return Factor("confidence", 0.0, "unknown: no position")
        full = self.config.full_confidence
        return Factor(
            "confidence",
            min(edge / (full - 0.5), 1.0),
            f"lower bound {view.confidence:.4f}; nothing at 0.5, everything from {full:.4f}"
            if view.direction
            else "no direction",
        )

    def _volatility(self, view: SymbolView) -> Factor:
        if view.volatility is None:
            return Factor("volatility", 0.0, "unknown: no position")
        target = self.config.target_volatility
        return Factor(
            "volatility", min(target / view.volatility, 1.0), f"{view.volatility:.4f}, target {target:.4f}"
        )

    def _regime(self, view: SymbolView) -> Factor:
        panic = 1.0 if view.p_panic is None else view.p_panic
        known = "unknown, taken as PANIC" if view.p_panic is None else f"P(PANIC) {panic:.4f}"
        return Factor("regime", 1.0 - panic * (1.0 - self.config.panic_factor), known)

    def _change_point(self, view: SymbolView) -> Factor:
        config, p = self.config, view.p_changepoint
        if p is None:
            return Factor("change point", 0.0, "unknown, taken as certain: exit")
        if p >= config.exit_at:
            return Factor("change point", 0.0, f"exit: {p:.4f}, bound {config.exit_at:.4f}")
        if p >= config.reduce_at:
            return Factor(
                "change point", config.reduce_factor, f"reduce: {p:.4f}, bound {config.reduce_at:.4f}"
            )
        return Factor("change point", 1.0, f"hold: {p:.4f}, bound {config.reduce_at:.4f}")

    def _fear_greed(self, view: SymbolView) -> Factor:
        factor = fear_greed_factor(view.fear_greed, floor=self.config.sentiment_floor)
        known = "unknown, taken as extreme" if view.fear_greed is None else f"index {view.fear_greed:.1f}"
        return Factor("fear & greed", factor, known)

    def _position_risk(self, view: SymbolView, wanted: float) -> Factor:
        config = self.config
        if view.volatility is None or wanted == 0.0:
            return Factor("position risk", 1.0, "no position")
        loss = wanted * config.risk_deviations * view.volatility / math.sqrt(365.0)
        return Factor(
            "position risk",
            min(config.max_position_risk / loss, 1.0),
            f"{loss:.4f} of equity in a move of {config.risk_deviations:g} deviations,"
            f" bound {config.max_position_risk:.4f}",
        )
