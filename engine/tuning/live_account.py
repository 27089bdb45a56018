"""The paper account of the live algorithm on one symbol, as it is kept between one bar and the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from engine.tuning.algorithm import TradeDecision
from engine.tuning.parameters import PARAMETERS, ParameterSet
from engine.tuning.positions import Position

__all__ = ["Carried", "HeldPosition", "InUse", "LiveAccount", "Order"]


@dataclass(frozen=True)
class InUse:
    """The parameters that a decision is made with, and where they come from.

    Parameters
    ----------
    parameters : ParameterSet
        With what a person holds.
    version : int
        0 means the defaults.
    scope : str or None
        Of that version; None for the defaults.
    held : mapping
        Values that a person holds, by name.
    experiment, arm : str or None
        The A/B test that the decision belongs to, and which of its sets decides.
    """

    parameters: ParameterSet
    version: int = 0
    scope: str | None = None
    held: Mapping[str, float] = field(default_factory=dict)
    experiment: str | None = None
    arm: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**vars(self), "parameters": self.parameters.to_dict(), "held": dict(self.held)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        return cls(**{**values, "parameters": ParameterSet.from_mapping(values["parameters"])})


@dataclass(frozen=True)
class Order:
    """An entry decided on and not yet filled.

    Parameters
    ----------
    decision : TradeDecision
    ts : datetime
        Open of the bar decided on.
    under : InUse
    """

    decision: TradeDecision
    ts: datetime
    under: InUse

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        decision = {**vars(self.decision), "reasons": list(self.decision.reasons)}
        return {"decision": decision, "ts": self.ts.isoformat(), "under": self.under.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        decision = values["decision"]
        return cls(
            TradeDecision(**{**decision, "reasons": tuple(decision["reasons"])}),
            datetime.fromisoformat(values["ts"]),
            InUse.from_dict(values["under"]),
        )


@dataclass(frozen=True)
class HeldPosition:
    """An open position and what it has cost so far, in fractions of the equity at its entry.

    Parameters
    ----------
    position : Position
    decided_ts : datetime
        Open of the bar it was decided on.
    under : InUse
        Parameters of its entry: its stop and its target stay theirs.
    cost, funding : float
    """

    position: Position
    decided_ts: datetime
    under: InUse
    cost: float
    funding: float = 0.0

    def made(self, price: float) -> float:
        """Return what it has made at a price, over the equity at its entry, net."""
        p = self.position
        return p.side * p.size * (price / p.price - 1.0) - self.cost - self.funding

    def waiting(self, parameters: ParameterSet) -> dict[str, tuple[float, float]]:
        """Return changes that wait until it is closed, by name: the value that it rests on, the new one."""
        # The parameters of a kind of entry carry its name: slBreakout, tpNews.
        own = self.position.kind.capitalize()
        changes = self.under.parameters.changes(parameters)
        return {name: both for name, both in changes.items() if PARAMETERS[name].rests and name.endswith(own)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        position = {**asdict(self.position), "ts": self.position.ts.isoformat()}
        return {
            "position": position,
            "decided_ts": self.decided_ts.isoformat(),
            "under": self.under.to_dict(),
            "cost": self.cost,
            "funding": self.funding,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        position = values["position"]
        return cls(
            Position(**{**position, "ts": datetime.fromisoformat(position["ts"])}),
            datetime.fromisoformat(values["decided_ts"]),
            InUse.from_dict(values["under"]),
            values["cost"],
            values["funding"],
        )


@dataclass(frozen=True)
class Carried:
    """A position, and the bars that it was carried into without any funding known of them.

    Parameters
    ----------
    held : HeldPosition
        As of the last of these bars.
    bars : tuple of (datetime, float)
        Open of each bar, and the price that its funding is due on.
    made : float or None
        What it made, over the equity at its entry; None while it is open.
    """

    held: HeldPosition
    bars: tuple[tuple[datetime, float], ...]
    made: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        bars = [[ts.isoformat(), price] for ts, price in self.bars]
        return {"held": self.held.to_dict(), "bars": bars, "made": self.made}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        bars = tuple((datetime.fromisoformat(ts), price) for ts, price in values["bars"])
        return cls(HeldPosition.from_dict(values["held"]), bars, values["made"])


@dataclass
class LiveAccount:
    """One symbol's account after a bar.

    Parameters
    ----------
    symbol : str
    ts : datetime
        Open of the last bar that was walked, or that was found missing.
    close, half_spread : float
        Of the last bar that was there; half the spread as measured then, a fraction of the price.
    missing : int
        Bars missing since.
    equity : float
        Over what the account began with, as of the last exit.
    value : float
        The same, marked to the last close.
    order : Order or None
    held : HeldPosition or None
    carried : tuple of Carried
        Whose funding may still become known; see `engine.tuning.late_funding`.
    awaits : datetime or None
        Bar of the next rate after the last that was known when it was last charged; None if none was.
    """

    symbol: str
    ts: datetime
    close: float
    half_spread: float = 0.0
    missing: int = 0
    equity: float = 1.0
    value: float = 1.0
    order: Order | None = None
    held: HeldPosition | None = None
    carried: tuple[Carried, ...] = ()
    awaits: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which JSON keeps to the last bit."""
        return {
            **vars(self),
            "ts": self.ts.isoformat(),
            "order": None if self.order is None else self.order.to_dict(),
            "held": None if self.held is None else self.held.to_dict(),
            "carried": [each.to_dict() for each in self.carried],
            "awaits": None if self.awaits is None else self.awaits.isoformat(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        order, held, awaits = values["order"], values["held"], values.get("awaits")
        return cls(
            **{
                **values,
                "ts": datetime.fromisoformat(values["ts"]),
                "order": None if order is None else Order.from_dict(order),
                "held": None if held is None else HeldPosition.from_dict(held),
                # Accounts that were kept before these were remembered have none.
                "carried": tuple(Carried.from_dict(each) for each in values.get("carried", ())),
                "awaits": None if awaits is None else datetime.fromisoformat(awaits),
            }
        )
