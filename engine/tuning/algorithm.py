"""The live algorithm: what it does at the close of a bar, and why, in plain Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from engine.tuning.market_state import MarketState
from engine.tuning.parameters import ParameterSet
from engine.tuning.positions import Position
from engine.tuning.rules import CHANNEL, DEVIATIONS, Kind, exposure, way_to

__all__ = ["TradeDecision", "TradingAlgorithm"]

_HOURS = CHANNEL.total_seconds() / 3600.0


@dataclass(frozen=True)
class TradeDecision:
    """What to do at the open of the next bar.

    Parameters
    ----------
    action : {"enter", "hold", "none"}
    kind : {"NEWS", "BREAKOUT", "REVERT"} or None
        Of the entry, or of the position held.
    side : int
        1 long, -1 short, 0 neither.
    size : float
        Value of the position as a fraction of equity.
    stop, target : float
        Distances from the price of the fill, fractions of it.
    confidence : float
        Of an entry, 0 to 1: the part of the way that the signal went from its threshold to the strongest
        that can be. It rises with the signal and is no probability of a gain. 0 where nothing is entered.
    reasons : tuple of str
        With the figures judged by.
    """

    action: Literal["enter", "hold", "none"]
    kind: Kind | None
    side: int
    size: float
    stop: float
    target: float
    confidence: float
    reasons: tuple[str, ...]


class _Signal(NamedTuple):
    """One kind of entry that goes; risk and stop in percent, the target a fraction of the price."""

    kind: Kind
    side: int
    risk_pct: float
    stop_pct: float
    target: float
    confidence: float
    reason: str


class TradingAlgorithm:
    """News, breakouts and returns to the mean, each with a stop and a target, sized by the risk.

    Parameters
    ----------
    parameters : ParameterSet
    """

    def __init__(self, parameters: ParameterSet) -> None:
        self.parameters = parameters

    def decide(self, state: MarketState, position: Position | None = None) -> TradeDecision:
        """Decide at the close of a bar.

        A figure that is not known lets no entry pass that needs it.

        Parameters
        ----------
        state : MarketState
        position : Position, optional
            What is held of the symbol after this bar.
        """
        if position is not None:
            return _hold(position)
        p, cost = self.parameters, state.expected_cost_bps
        refused: list[str] = []
        signal = None
        for found in self._entries(state):
            if isinstance(found, _Signal):
                signal = found
                break
            refused.append(found)
        if signal is None:
            return _nothing(*refused)
        if not cost <= p.cost_cap_bps:
            return _nothing(signal.reason, f"expected cost {cost:.4g} bps > costCapBps {p.cost_cap_bps:g}")
        size = exposure(signal.risk_pct, signal.stop_pct)
        reasons = (
            signal.reason,
            f"expected cost {cost:.4g} bps <= costCapBps {p.cost_cap_bps:g}",
            f"size {size:.4g} of equity: risk {signal.risk_pct:g} % over a stop of {signal.stop_pct:g} %",
        )
        stop, target = signal.stop_pct / 100.0, signal.target
        return TradeDecision(
            "enter", signal.kind, signal.side, size, stop, target, signal.confidence, reasons
        )

    def _entries(self, state: MarketState) -> Iterator[_Signal | str]:
        """Each kind of entry in order of precedence, or why it does not go."""
        yield self._news(state)
        yield self._breakout(state)
        yield self._revert(state)

    def _news(self, state: MarketState) -> _Signal | str:
        p = self.parameters
        source, strength, side = _stronger(state)
        if side == 0:
            return f"no news: {source}"
        if strength < p.social_go:
            return f"no news: {source} strength {strength:.4g} < socialGo {p.social_go:g}"
        return _Signal(
            "NEWS", side, min(p.base_risk_pct, p.news_max_risk_pct), p.sl_news, p.tp_news / 100.0,
            (strength - p.social_go) / (1.0 - p.social_go),
            f"news: {source} strength {strength:.4g} >= socialGo {p.social_go:g}, {_word(side)}",
        )  # fmt: skip

    def _breakout(self, state: MarketState) -> _Signal | str:
        p, percentile = self.parameters, state.volatility_percentile
        if state.breakout_side == 0:
            return f"no breakout: close {state.close:g} inside the channel of {_HOURS:g} hours"
        if not percentile >= p.vol_pct_breakout:
            judged = f"volatility percentile {percentile:.4g} < volPctBreakout {p.vol_pct_breakout:g}"
            return f"no breakout: {judged}"
        return _Signal(
            "BREAKOUT", state.breakout_side, p.base_risk_pct, p.sl_breakout, p.tp_breakout / 100.0,
            (percentile - p.vol_pct_breakout) / (100.0 - p.vol_pct_breakout),
            f"breakout {_word(state.breakout_side)} of {_HOURS:g} hours: volatility percentile "
            f"{percentile:.4g} >= volPctBreakout {p.vol_pct_breakout:g}",
        )  # fmt: skip

    def _revert(self, state: MarketState) -> _Signal | str:
        p, percentile, z = self.parameters, state.volatility_percentile, state.zscore
        if not abs(z) >= DEVIATIONS:
            return f"no return to the mean: {z:.4g} deviations away, {DEVIATIONS:g} needed"
        if not percentile <= p.vol_pct_mean_revert:
            judged = f"volatility percentile {percentile:.4g} > volPctMeanRevert {p.vol_pct_mean_revert:g}"
            return f"no return to the mean: {judged}"
        side = -1 if z > 0.0 else 1
        strayed, calm = 1.0 - DEVIATIONS / abs(z), 1.0 - percentile / p.vol_pct_mean_revert
        return _Signal(
            "REVERT", side, p.base_risk_pct, p.sl_revert, way_to(state.mean, state.close),
            0.5 * (strayed + calm),
            f"return to the mean {state.mean:g}, {_word(side)}: {z:.4g} deviations away, volatility "
            f"percentile {percentile:.4g} <= volPctMeanRevert {p.vol_pct_mean_revert:g}",
        )  # fmt: skip


def _stronger(state: MarketState) -> tuple[str, float, int]:
    """Return the stronger of the two scores with its strength and direction.

    Equally strong ones in opposite directions contradict each other: there is no direction then.
    """
    social = ("social", state.social_strength, state.social_direction)
    news = ("news", state.news_strength, state.news_direction)
    known = [score for score in (social, news) if score[1] == score[1]]
    if not known:
        return "no score is known", 0.0, 0
    source, strength, side = max(known, key=lambda score: score[1])
    if {side * other for _, equal, other in known if equal == strength} == {-1, 1}:
        return "social and news contradict each other", strength, 0
    return (source, strength, side) if side else ("scores are in balance", strength, 0)


def _hold(position: Position) -> TradeDecision:
    stop, target, side = position.stop_price, position.target_price, position.side
    since = f"{_word(side)} since {position.ts:%Y-%m-%d %H:%M} at {position.price:g}"
    reasons = (f"{since}: stop {stop:g} and target {target:g} rest",)
    return TradeDecision(
        "hold", position.kind, side, position.size, position.stop, position.target, 0.0, reasons
    )


def _nothing(*reasons: str) -> TradeDecision:
    return TradeDecision("none", None, 0, 0.0, 0.0, 0.0, 0.0, reasons)


def _word(side: int) -> str:
    return "up" if side > 0 else "down"
