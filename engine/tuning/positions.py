"""An open position, and how a bar ends it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Self

from engine.tuning.rules import Kind, price_at

if TYPE_CHECKING:
    from engine.tuning.algorithm import TradeDecision

__all__ = ["Exit", "Position"]


@dataclass(frozen=True)
class Exit:
    """Where a position was left: the price before costs, and what was reached."""

    price: float
    reason: Literal["stop", "target"]


@dataclass(frozen=True)
class Position:
    """A position as it was filled; its stop and target stay those of its entry.

    Parameters
    ----------
    kind : {"NEWS", "BREAKOUT", "REVERT"}
    side : int
        1 long, -1 short.
    size : float
        Value at the fill as a fraction of equity.
    stop, target : float
        Distances from the fill's price, fractions of it.
    price : float
        Of the fill, before costs.
    ts : datetime
        Open of the bar it was filled at.
    """

    kind: Kind
    side: int
    size: float
    stop: float
    target: float
    price: float
    ts: datetime

    @classmethod
    def filled(cls, decision: TradeDecision, price: float, ts: datetime) -> Self:
        """Fill a decision to enter.

        Raises
        ------
        ValueError
            If the decision enters nothing.
        """
        if decision.action != "enter" or decision.kind is None:
            raise ValueError(f"a decision to {decision.action!r} fills nothing; only 'enter' does")
        return cls(decision.kind, decision.side, decision.size, decision.stop, decision.target, price, ts)

    @property
    def stop_price(self) -> float:
        """Price at which the loss is cut."""
        return price_at(self.price, self.side, -self.stop)

    @property
    def target_price(self) -> float:
        """Price at which the profit is taken."""
        return price_at(self.price, self.side, self.target)

    def funding(self, rate: float, price: float) -> float:
        """Return what a rate takes at a price, over the equity at the entry; negative where it brings."""
        return self.side * self.size * (rate * price) / self.price

    def leave(self, open_: float, high: float, low: float) -> Exit | None:
        """Say where a bar with volume ends the position: at the stop if it reaches both; None if neither.

        An open beyond either is the price.
        """
        worst, best = (low, high) if self.side > 0 else (high, low)
        if self.side * worst <= self.side * self.stop_price:
            beyond = min if self.side > 0 else max
            return Exit(beyond(open_, self.stop_price), "stop")
        if self.side * best >= self.side * self.target_price:
            beyond = max if self.side > 0 else min
            return Exit(beyond(open_, self.target_price), "target")
        return None
