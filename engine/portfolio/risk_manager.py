"""RiskManager: the last word on a proposed portfolio. It lowers positions and never raises one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.portfolio.record import Record
from engine.portfolio.risk_limits import RiskLimits
from engine.portfolio.risk_state import RiskState, advance
from engine.portfolio.sentiment import fear_greed_factor
from engine.portfolio.view import SymbolView

__all__ = ["Cut", "Proposal", "Review", "RiskManager"]


@dataclass(frozen=True)
class Proposal(Record):
    """What is to be reviewed, and all that the review looks at.

    Parameters
    ----------
    weights : dict of str to float
        Proposed fractions of equity, signed.
    current : dict of str to float
        Held now, after drift; missing means none.
    equity : float or None
        Value of the account now, quote units.
    day : str
        UTC day of the decision, ISO.
    views : tuple of SymbolView
        One for each proposed symbol; a symbol without one is unknown in everything.
    """

    weights: dict[str, float]
    current: dict[str, float]
    equity: float | None
    day: str
    views: tuple[SymbolView, ...]


@dataclass(frozen=True)
class Cut(Record):
    """One position lowered by one rule; a veto where `after` is 0."""

    symbol: str
    rule: str
    before: float
    after: float
    reason: str


@dataclass(frozen=True)
class Review(Record):
    """Allowed weights, every cut on the way there in order, and the state for the next review."""

    allowed: dict[str, float]
    cuts: tuple[Cut, ...]
    state: RiskState

    @property
    def vetoes(self) -> tuple[Cut, ...]:
        """The cuts that closed a position."""
        return tuple(cut for cut in self.cuts if cut.after == 0.0)


@dataclass
class _Docket:
    """Weights under review. They are only ever lowered, so no rule can loosen another."""

    weights: dict[str, float]
    cuts: list[Cut]

    def lower(self, symbol: str, rule: str, size: float, reason: str) -> None:
        before = self.weights[symbol]
        if abs(before) > size:
            after = math.copysign(size, before) if size > 0.0 else 0.0
            self.weights[symbol] = after
            self.cuts.append(Cut(symbol, rule, before, after, reason))

    def scale(self, rule: str, factor: float, reason: str) -> None:
        if factor < 1.0:
            for symbol, weight in self.weights.items():
                self.lower(symbol, rule, abs(weight) * factor, reason)


class RiskManager:
    """Holds a portfolio to its limits, which tighten with doubt.

    A position in doubt counts for more: with a caution c in [0, 1], its asset limit is ``c * max_weight`` and
    it takes the room of ``|w| / c`` in the limits of the portfolio, at most ``max_weight``, even where it is
    vetoed itself. So doubt about one asset never gives room to another, and a hedge in doubt does not offset.
    Caution is the least of what PANIC, change point and Fear & Greed leave; an unknown value counts as the
    worst that it could be. With the equity unknown nothing is held.

    A review is a function of the proposal and the state alone: no clock, no files.

    Parameters
    ----------
    limits : RiskLimits, optional
    """

    def __init__(self, limits: RiskLimits | None = None) -> None:
        self.limits = limits or RiskLimits()

    def review(self, proposal: Proposal, state: RiskState) -> Review:
        """Lower what is proposed to what is allowed.

        Raises
        ------
        ValueError
            If the proposal's day is no ISO date or lies before the state's.
        """
        after = advance(state, self.limits, proposal.equity, proposal.day)
        docket = _Docket(dict(proposal.weights), [])
        for symbol, weight in proposal.weights.items():
            if not math.isfinite(weight):
                docket.weights[symbol] = 0.0
                docket.cuts.append(Cut(symbol, "number", 0.0, 0.0, f"proposed weight is {weight}"))
        loads = self._asset_limits(docket, proposal)
        self._portfolio_limits(docket, proposal, loads)
        if after.mode == "reduced":
            docket.scale("drawdown", self.limits.reduced_exposure, f"reduced since {after.mode_since}")
        for rule, reason in self._stops(after, proposal):
            docket.scale(rule, 0.0, reason)
        return Review(docket.weights, tuple(docket.cuts), after)

    def caution(self, view: SymbolView) -> tuple[float, str]:
        """Share of a limit that is left for one asset, in [0, 1], and the doubt that decides."""
        limits = self.limits
        panic = 1.0 if view.p_panic is None else view.p_panic
        return min(
            (
                1.0 - panic * (1.0 - limits.panic_caution),
                "regime unknown" if view.p_panic is None else f"P(PANIC) {panic:.4f}",
            ),
            self._change_point(view.p_changepoint),
            (
                fear_greed_factor(view.fear_greed, floor=limits.sentiment_caution),
                "Fear & Greed unknown" if view.fear_greed is None else f"Fear & Greed {view.fear_greed:.1f}",
            ),
            key=lambda doubt: doubt[0],
        )

    def _change_point(self, p: float | None) -> tuple[float, str]:
        if p is None:
            return 0.0, "change-point probability unknown"
        left = self.limits.changepoint_caution if p >= self.limits.reduce_at else 1.0
        return 0.0 if p >= self.limits.exit_at else left, f"P(change point) {p:.4f}"

    def _asset_limits(self, docket: _Docket, proposal: Proposal) -> dict[str, float]:
        """Apply what concerns one asset; returns the room that each proposed position takes."""
        limits, views = self.limits, {view.symbol: view for view in proposal.views}
        loads = {}
        for symbol, weight in docket.weights.items():
            size, view = abs(weight), views.get(symbol, SymbolView(symbol))
            caution, doubt = self.caution(view)
            allowed = limits.max_weight * caution
            room = size / caution if caution > 0.0 else math.inf
            loads[symbol] = min(room, limits.max_weight) if size > 0.0 else 0.0
            docket.lower(symbol, "asset limit", allowed, f"at most {allowed:.4f}: {doubt}")
            age = view.data_age_hours
            if age is None or age > limits.max_data_age_hours:
                known = "of unknown age" if age is None else f"{age:.1f} hours old"
                docket.lower(
                    symbol,
                    "stale data",
                    _held_on_side(proposal.current.get(symbol, 0.0), weight),
                    f"data {known}, bound {limits.max_data_age_hours:g}: not added to",
                )
        return loads

    def _portfolio_limits(self, docket: _Docket, proposal: Proposal, loads: dict[str, float]) -> None:
        """Scale the whole portfolio until the room it takes is there."""
        limits = self.limits
        side = {s: math.copysign(1.0, w) for s, w in proposal.weights.items()}
        room = {d: math.fsum(loads[s] for s in loads if side[s] == d) for d in (1.0, -1.0)}
        trusted = {d: math.fsum(abs(docket.weights[s]) for s in loads if side[s] == d) for d in (1.0, -1.0)}
        gross = room[1.0] + room[-1.0]
        net = max(room[1.0] - trusted[-1.0], room[-1.0] - trusted[1.0])
        concentration = math.fsum(load**2 for load in loads.values())
        scaled = 1.0
        for rule, taken, bound, factor in (
            ("gross limit", gross, limits.max_gross, _share(limits.max_gross, gross)),
            ("net limit", net, limits.max_net, _share(limits.max_net, net)),
            (
                "concentration limit",
                concentration,
                limits.max_concentration,
                math.sqrt(_share(limits.max_concentration, concentration)),
            ),
        ):
            docket.scale(rule, factor / scaled, f"{taken:.4f} with doubt counted, bound {bound:.4f}")
            scaled = min(scaled, factor)

    def _stops(self, state: RiskState, proposal: Proposal) -> list[tuple[str, str]]:
        """Rules under which nothing at all is held, each with its reason."""
        stops = []
        if event := state.killed:
            stops.append(("kill switch", f"thrown by {event.actor} on {event.day}: {event.reason}"))
        if proposal.equity is None or not math.isfinite(proposal.equity):
            stops.append(("equity", "equity is unknown"))
        if state.mode == "flat":
            stops.append(("drawdown", f"flat since {state.mode_since}"))
        if state.halted_on == proposal.day:
            stops.append(("daily loss", f"loss of {proposal.day} reached {self.limits.daily_loss:.4f}"))
        return stops


def _held_on_side(held: float, proposed: float) -> float:
    return abs(held) if math.isfinite(held) and held * proposed > 0.0 else 0.0


def _share(bound: float, taken: float) -> float:
    return min(bound / taken, 1.0) if taken > 0.0 else 1.0
