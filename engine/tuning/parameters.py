"""The parameters of the live algorithm: one table, from which everything else that names one derives.

The names on the wire (`Parameter.name`) are those that users know; code reads the fields of `ParameterSet`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULTS", "PARAMETERS", "Parameter", "ParameterSet", "check_names", "highs", "lows"]


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Parameters
    ----------
    name : str
        As users and programs write it.
    attribute : str
        Field of `ParameterSet`.
    default, low, high, step : float
        Bounds are safe ones, both included. Steps count from `low`.
    unit : str
    meaning : str
    rests : bool
        Whether an open position rests on it: a change then waits until that position is closed.
    """

    name: str
    attribute: str
    default: float
    low: float
    high: float
    step: float
    unit: str
    meaning: str
    rests: bool

    def check(self, value: object) -> float:
        """Return the value as a float.

        Raises
        ------
        TypeError
            If it is not a number.
        ValueError
            If it is not finite or out of bounds.
        """
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(
                f"{self.name} = {value!r} must be a number from {self.low:g} to {self.high:g} ({self.unit})"
            )
        number = float(value)
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise ValueError(
                f"{self.name} = {number:g} must lie between {self.low:g} and {self.high:g} ({self.unit})"
            )
        return number

    def snap(self, value: float) -> float:
        """Return the nearest value on the grid of steps inside the bounds."""
        steps = round((min(max(value, self.low), self.high) - self.low) / self.step)
        # Rounded to the step's own decimals, so that 0.1 + 0.2 is written as 0.3.
        return min(round(self.low + steps * self.step, 10), self.high)


def _row(
    name: str,
    default: float,
    unit: str,
    bounds: tuple[float, float],
    step: float,
    meaning: str,
    *,
    rests: bool = False,
) -> Any:
    low, high = bounds
    metadata = {"name": name, "default": default, "low": low, "high": high, "step": step, "unit": unit}
    return field(default=default, metadata={**metadata, "meaning": meaning, "rests": rests})


@dataclass(frozen=True)
class ParameterSet:
    """Values of all parameters, checked against their bounds.

    Raises
    ------
    TypeError, ValueError
        If a value is no number, not finite or out of bounds.
    """

    vol_pct_breakout: float = _row(
        "volPctBreakout", 70.0, "percentile", (50.0, 95.0), 1.0,
        "Breakouts are traded while volatility stands at or above this percentile of its past 30 days.",
    )  # fmt: skip
    vol_pct_mean_revert: float = _row(
        "volPctMeanRevert", 40.0, "percentile", (5.0, 50.0), 1.0,
        "Returns to the mean are traded while volatility stands at or below this percentile.",
    )  # fmt: skip
    social_go: float = _row(
        "socialGo", 0.75, "score", (0.40, 0.95), 0.01,
        "News is traded where the social or the news score is at least as strong as this, either way.",
    )  # fmt: skip
    cost_cap_bps: float = _row(
        "costCapBps", 8.0, "bps per fill", (2.0, 30.0), 0.5,
        "Nothing is entered while a fill is expected to cost more than this.",
    )  # fmt: skip
    tp_breakout: float = _row(
        "tpBreakout", 3.0, "% of price", (0.5, 15.0), 0.1,
        "Take profit of a breakout, from its entry.", rests=True,
    )  # fmt: skip
    sl_breakout: float = _row(
        "slBreakout", 1.5, "% of price", (0.3, 8.0), 0.1,
        "Stop loss of a breakout, from its entry.", rests=True,
    )  # fmt: skip
    sl_revert: float = _row(
        "slRevert", 1.5, "% of price", (0.3, 8.0), 0.1,
        "Stop loss of a return to the mean, from its entry; its profit is taken at the mean.", rests=True,
    )  # fmt: skip
    tp_news: float = _row(
        "tpNews", 2.5, "% of price", (0.5, 12.0), 0.1,
        "Take profit of a news trade, from its entry.", rests=True,
    )  # fmt: skip
    sl_news: float = _row(
        "slNews", 1.5, "% of price", (0.3, 8.0), 0.1,
        "Stop loss of a news trade, from its entry.", rests=True,
    )  # fmt: skip
    base_risk_pct: float = _row(
        "baseRiskPct", 0.5, "% of equity", (0.05, 2.0), 0.05,
        "Equity lost if a trade is stopped: its size is this over the distance of the stop.",
    )  # fmt: skip
    news_max_risk_pct: float = _row(
        "newsMaxRiskPct", 0.25, "% of equity", (0.05, 1.0), 0.05,
        "Most that a news trade may risk, whatever the base risk is.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for parameter in PARAMETERS.values():
            value = parameter.check(getattr(self, parameter.attribute))
            object.__setattr__(self, parameter.attribute, value)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], base: ParameterSet | None = None) -> Self:
        """Make a set from values by wire name; those not named are `base`'s, or else the defaults.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        check_names(values)
        changed = {PARAMETERS[name].attribute: value for name, value in values.items()}
        return replace(base, **changed) if isinstance(base, cls) else cls(**changed)

    @classmethod
    def from_vector(cls, values: Sequence[float] | NDArray[np.float64]) -> Self:
        """Make a set from values in the order of the table."""
        return cls(*(float(value) for value in values))

    def to_dict(self) -> dict[str, float]:
        """Return the values by wire name."""
        return {name: getattr(self, parameter.attribute) for name, parameter in PARAMETERS.items()}

    def vector(self) -> NDArray[np.float64]:
        """Return the values in the order of the table, shape (11,)."""
        return np.array(list(self.to_dict().values()))

    def changes(self, other: ParameterSet) -> dict[str, tuple[float, float]]:
        """Return what differs in `other`, by wire name: the value here and the value there."""
        mine, theirs = self.to_dict(), other.to_dict()
        return {name: (mine[name], theirs[name]) for name in PARAMETERS if mine[name] != theirs[name]}

    @property
    def content_hash(self) -> str:
        """SHA-256 of the values."""
        return hashlib.sha256(json.dumps(self.to_dict()).encode()).hexdigest()


PARAMETERS: Mapping[str, Parameter] = {
    row.metadata["name"]: Parameter(attribute=row.name, **row.metadata) for row in fields(ParameterSet)
}
"""The table by wire name."""

DEFAULTS = ParameterSet()


def check_names(names: Iterable[str]) -> None:
    """Refuse names that are not in the table.

    Raises
    ------
    ValueError
        For the first one.
    """
    for name in names:
        if name not in PARAMETERS:
            raise ValueError(f"{name!r} is not a parameter; known are {', '.join(PARAMETERS)}")


def lows() -> NDArray[np.float64]:
    """Lower bounds in the order of the table."""
    return np.array([parameter.low for parameter in PARAMETERS.values()])


def highs() -> NDArray[np.float64]:
    """Upper bounds in the order of the table."""
    return np.array([parameter.high for parameter in PARAMETERS.values()])
