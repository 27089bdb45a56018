"""AlphaEngineCoordinator: ask every engine, and follow one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from engine.alpha.bandit import AlphaEngineBandit, BanditConfig, reward_of
from engine.alpha.engines.crowd import Carry, Sentiment
from engine.alpha.engines.learned import Agent, PatternMemory
from engine.alpha.engines.price import Breakout, MeanReversion, Momentum
from engine.alpha.signals import AlphaEngine, Signal, regime_numbers

__all__ = ["BREAK_EVEN", "TRADES", "AlphaEngineCoordinator", "default_engines", "hours_of"]

BREAK_EVEN = 0.5
"""Reward of a trade that neither earns nor loses."""
TRADES = BanditConfig(weight=BanditConfig().bound ** 2)
"""Settings for trades whose rewards come from `reward_of`: an outcome counts for what it says of the mean."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (moments are UTC without a zone)


def default_engines() -> tuple[AlphaEngine, ...]:
    """Every engine with its default parameters."""
    return (Breakout(), Momentum(), MeanReversion(), Carry(), Sentiment(), PatternMemory(), Agent())


def hours_of(ts: datetime) -> float:
    """Hours since 1970, the clock of a discount by time."""
    return (ts - _EPOCH).total_seconds() / 3600.0


class AlphaEngineCoordinator:
    """Collect the signals of all engines and choose one.

    With the bandit: each engine that has a signal draws from its law in the present regime, the largest draw
    acts, and nobody does where even that falls short of breaking even; staying out is an engine whose reward
    is known. Without it: the largest product of size and raw confidence acts, the earlier engine among
    equals.

    Parameters
    ----------
    use_bandit : bool
    engines : sequence of AlphaEngine, optional
        `default_engines` if not given.
    config : BanditConfig, optional
        `TRADES` if not given.
    seed : int
    """

    def __init__(
        self,
        use_bandit: bool = True,
        engines: Sequence[AlphaEngine] | None = None,
        config: BanditConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.engines = tuple(default_engines() if engines is None else engines)
        self.bandit = AlphaEngineBandit([engine.name for engine in self.engines], config or TRADES, seed=seed)
        self.use_bandit = use_bandit

    def generate_all_signals(
        self, features: pl.DataFrame | Mapping[str, Any], regime: str | pl.Series | None
    ) -> list[Signal]:
        """Ask every engine about one bar or many.

        Parameters
        ----------
        features : polars.DataFrame or mapping
            ``symbol, ts`` and the engines' inputs; a mapping is one bar. Missing inputs give no signal.
        regime : str or Series or None
            Filtered regime, one for all bars or one each. Where it is unknown there is no signal.

        Returns
        -------
        list of Signal
            In the order of the engines, and of the rows within each.
        """
        frame = features if isinstance(features, pl.DataFrame) else pl.DataFrame([dict(features)])
        names = (
            regime if isinstance(regime, pl.Series) else pl.Series([regime] * frame.height, dtype=pl.String)
        )
        regimes = regime_numbers(names)
        return [signal for engine in self.engines for signal in engine.signals(frame, regimes)]

    def select_best_technique(self, signals: Sequence[Signal], current_regime: str | None) -> Signal | None:
        """Choose among the signals for one symbol at one moment.

        Parameters
        ----------
        signals : sequence of Signal
            At most one of each engine.
        current_regime : str or None
            Filtered regime.

        Returns
        -------
        Signal or None
            The one chosen, with the choice among its reasons; None where there is no signal, the regime is
            unknown, or the bandit stays out.

        Raises
        ------
        ValueError
            If an engine has two signals, the regime has no such name, or is not that of the signals.
        """
        if not signals or current_regime is None:
            return None
        by_engine = {signal.engine: signal for signal in signals}
        if len(by_engine) < len(signals):
            raise ValueError("an engine has two signals; hand over those of one symbol at one moment")
        if others := {signal.regime for signal in signals} - {current_regime}:
            raise ValueError(f"current_regime={current_regime!r}, but signals were made in {sorted(others)}")
        return self._drawn(by_engine, current_regime) if self.use_bandit else self._strongest(by_engine)

    def record_outcome(self, signal: Signal, net: float, risk: float, closed: datetime) -> None:
        """Credit a closed trade to its engine, in the regime of its entry.

        Parameters
        ----------
        signal : Signal
            That the trade followed.
        net : float
            Return after all costs, fraction of the value at entry.
        risk : float
            Standard deviation of such a return as expected at entry.
        closed : datetime
            When the result became known, UTC.

        Raises
        ------
        ValueError
            If `net` is not finite or `risk` not positive.
        """
        if not (np.isfinite(net) and 0.0 < risk < np.inf):
            raise ValueError(f"net={net} must be finite and risk={risk} positive and finite")
        (reward,) = reward_of(np.array([net]), np.array([risk]), self.bandit.config.bound).tolist()
        self.bandit.credit(signal.engine, signal.regime, reward, hours_of(closed))

    def _drawn(self, signals: Mapping[str, Signal], regime: str) -> Signal | None:
        now = hours_of(next(iter(signals.values())).ts)
        drawn = self.bandit.draw(list(signals), regime, now)
        best = max(drawn, key=drawn.__getitem__)
        if drawn[best] <= BREAK_EVEN:
            return None
        others = ", ".join(f"{name} {value:.3f}" for name, value in drawn.items() if name != best)
        reason = f"drew {drawn[best]:.3f} in {regime}, more than {BREAK_EVEN:g} and {others or 'no other'}"
        return replace(signals[best], reasons=(*signals[best].reasons, reason))

    def _strongest(self, signals: Mapping[str, Signal]) -> Signal:
        order = [engine.name for engine in self.engines if engine.name in signals]
        scores = {name: abs(signals[name].strength) * signals[name].confidence for name in order}
        best = max(scores, key=scores.__getitem__)
        others = ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if name != best)
        reason = f"size times confidence {scores[best]:.3f}, more than {others or 'no other'}"
        return replace(signals[best], reasons=(*signals[best].reasons, reason))
