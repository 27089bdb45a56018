"""The limits that `RiskManager` holds a portfolio to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.portfolio.record import Record
from engine.regimes.actions import EXIT_AT, REDUCE_AT

__all__ = ["RiskLimits"]


@dataclass(frozen=True)
class RiskLimits(Record):
    """Limits in fractions of equity; those marked (*) tighten with doubt.

    Parameters
    ----------
    max_gross : float
        Sum of absolute weights (*).
    max_net : float
        Absolute sum of weights (*).
    max_weight : float
        Absolute weight of one asset (*).
    max_concentration : float
        Sum of squared weights (*). Equity in k equal positions has 1 / k: .25 asks for four.
    panic_caution : float
        What is left of a limit when PANIC is certain; in proportion to its probability otherwise.
    reduce_at, exit_at : float
        Change-point probabilities from which on `changepoint_caution`, or nothing, is left of it; by default
        those of the detector's own actions.
    changepoint_caution : float
    sentiment_caution : float
        What is left of it at extreme fear or greed; see `fear_greed_factor`.
    max_data_age_hours : float
        An asset whose data are older may not be added to.
    reduce_drawdown, flat_drawdown : float
        Drawdown from which on every position is reduced to `reduced_exposure` of itself, or closed.
    restore_drawdown : float
        Drawdown below which reduced turns to normal.
    reduced_exposure : float
    cooldown_days : int
        Days flat before the re-entry, at reduced exposure and with the drawdown counted anew; and least days
        reduced before normal.
    daily_loss : float
        Loss since the day before from which on everything is closed until the day is over.
    kill_drawdown : float
        Drawdown from the highest equity, re-entries or not, that throws the kill switch.
    """

    max_gross: float = 1.0
    max_net: float = 1.0
    max_weight: float = 0.40
    max_concentration: float = 0.34
    panic_caution: float = 0.40
    reduce_at: float = REDUCE_AT
    exit_at: float = EXIT_AT
    changepoint_caution: float = 0.50
    sentiment_caution: float = 0.25
    max_data_age_hours: float = 6.0
    reduce_drawdown: float = 0.10
    flat_drawdown: float = 0.20
    restore_drawdown: float = 0.05
    reduced_exposure: float = 0.50
    cooldown_days: int = 10
    daily_loss: float = 0.06
    kill_drawdown: float = 0.35

    def __post_init__(self) -> None:
        for name in ("max_gross", "max_net", "max_weight", "max_concentration", "max_data_age_hours"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be positive and finite")
        for name in ("panic_caution", "changepoint_caution", "sentiment_caution", "reduced_exposure"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} must lie in (0, 1]")
        if not 0.0 <= self.reduce_at <= self.exit_at <= 1.0:
            raise ValueError(f"reduce_at={self.reduce_at} and exit_at={self.exit_at} must ascend in [0, 1]")
        drawdowns = (self.restore_drawdown, self.reduce_drawdown, self.flat_drawdown, self.kill_drawdown)
        if not all(0.0 < d <= 1.0 for d in drawdowns) or list(drawdowns) != sorted(drawdowns):
            raise ValueError(
                f"restore_drawdown, reduce_drawdown, flat_drawdown and kill_drawdown were {drawdowns};"
                " they must ascend in (0, 1]"
            )
        if not 0.0 < self.daily_loss <= 1.0 or self.cooldown_days < 1:
            raise ValueError(
                f"daily_loss={self.daily_loss} must lie in (0, 1] and cooldown_days={self.cooldown_days}"
                " be at least 1"
            )
