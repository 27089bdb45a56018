"""GateProfiles: what must hold before a position may be opened or added to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engine.portfolio.record import Record
from engine.portfolio.sentiment import SentimentBounds
from engine.portfolio.view import SymbolView

__all__ = ["PROFILES", "Gate", "GateProfile", "GateProfiles", "GateVerdict"]


@dataclass(frozen=True)
class GateProfile(Record):
    """Bounds of the gates.

    Parameters
    ----------
    name : str
    min_confidence : float
        Of the calibrated lower bound.
    max_panic : float
        Probability of PANIC.
    max_changepoint : float
        Probability of a change point.
    max_volatility : float
        Annualised.
    max_cost_bps : float
        Expected fee and slippage of a fill.
    max_data_age_hours : float
        Since the close of the newest bar.
    fear_greed : SentimentBounds
    """

    name: str
    min_confidence: float
    max_panic: float
    max_changepoint: float
    max_volatility: float
    max_cost_bps: float
    max_data_age_hours: float
    fear_greed: SentimentBounds

    def __post_init__(self) -> None:
        for name in ("min_confidence", "max_panic", "max_changepoint"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} of {self.name} must lie in [0, 1]")
        for name in ("max_volatility", "max_cost_bps", "max_data_age_hours"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} of {self.name} must be positive and finite")


# Every bound of every profile, and nowhere else. Each column loosens downwards, so that a looser profile lets
# in what a stricter one does.
PROFILES: dict[str, GateProfile] = {
    name: GateProfile(name, *bounds, SentimentBounds(*sentiment))
    for name, bounds, sentiment in (
        #                confidence, P(PANIC), P(change), volatility, bps, hours; index from, to, margin
        ("conservative", (0.58, 0.20, 0.50, 1.00, 8.0, 2.0), (20.0, 80.0, 5.0)),
        ("balanced", (0.54, 0.40, 0.60, 1.50, 12.0, 3.0), (15.0, 85.0, 5.0)),
        ("aggressive", (0.51, 0.60, 0.70, 2.50, 20.0, 6.0), (8.0, 92.0, 4.0)),
    )
}


@dataclass(frozen=True)
class Gate(Record):
    """One gate's answer, with the value and the bound in words."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class GateVerdict(Record):
    """Answers of all gates for one symbol.

    Parameters
    ----------
    profile, symbol : str
    gates : tuple of Gate
        ``confidence, regime, change point, volatility, cost, data freshness, sentiment``.
    sentiment_open : bool
        To be handed to the next evaluation; only the sentiment gate remembers.
    """

    profile: str
    symbol: str
    gates: tuple[Gate, ...]
    sentiment_open: bool

    @property
    def passed(self) -> bool:
        """True if every gate passed."""
        return all(gate.passed for gate in self.gates)

    @property
    def vetoes(self) -> tuple[Gate, ...]:
        """The gates that did not."""
        return tuple(gate for gate in self.gates if not gate.passed)


class GateProfiles:
    """Named profiles of entry gates. An unknown value passes no gate.

    Parameters
    ----------
    profiles : mapping of str to GateProfile, optional
        The table `PROFILES` if not given.
    """

    def __init__(self, profiles: Mapping[str, GateProfile] | None = None) -> None:
        self.profiles = dict(PROFILES if profiles is None else profiles)

    def evaluate(self, profile: str, view: SymbolView, sentiment_was_open: bool = False) -> GateVerdict:
        """Ask every gate; one veto is enough, but all are asked so that the verdict names every reason.

        Parameters
        ----------
        profile : str
        view : SymbolView
        sentiment_was_open : bool
            ``sentiment_open`` of the verdict before; without one the gate counts as closed.

        Raises
        ------
        ValueError
            If there is no profile of that name.
        """
        bounds = self.profiles.get(profile)
        if bounds is None:
            raise ValueError(f"profile={profile!r} must be one of {sorted(self.profiles)}")
        is_open = bounds.fear_greed.opens(view.fear_greed, sentiment_was_open)
        gates = (
            _at_least("confidence", view.confidence, bounds.min_confidence),
            _at_most("regime", view.p_panic, bounds.max_panic, "P(PANIC)"),
            _at_most("change point", view.p_changepoint, bounds.max_changepoint, "P(change point)"),
            _at_most("volatility", view.volatility, bounds.max_volatility, "annualised volatility"),
            _at_most("cost", view.cost_bps, bounds.max_cost_bps, "basis points a fill"),
            _at_most("data freshness", view.data_age_hours, bounds.max_data_age_hours, "hours old"),
            _sentiment(view, bounds.fear_greed, sentiment_was_open, is_open),
        )
        return GateVerdict(profile, view.symbol, gates, is_open)


def _at_least(name: str, value: float | None, bound: float) -> Gate:
    if value is None:
        return Gate(name, False, f"{name} unknown, at least {bound:g} needed")
    return Gate(name, value >= bound, f"{name} {value:.4g}, at least {bound:g} needed")


def _at_most(name: str, value: float | None, bound: float, what: str) -> Gate:
    if value is None:
        return Gate(name, False, f"{what} unknown, at most {bound:g} allowed")
    return Gate(name, value <= bound, f"{what} {value:.4g}, at most {bound:g} allowed")


def _sentiment(view: SymbolView, bounds: SentimentBounds, was_open: bool, is_open: bool) -> Gate:
    margin = 0.0 if was_open else bounds.margin
    known = "unknown" if view.fear_greed is None else f"{view.fear_greed:.4g}"
    reopening = "" if was_open else " to open again"
    needed = f"{bounds.lowest + margin:g} to {bounds.highest - margin:g} needed{reopening}"
    return Gate("sentiment", is_open, f"Fear & Greed {known}, {needed}")
