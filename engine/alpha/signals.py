"""What an alpha engine says of a bar: a signed strength with a horizon, and the conditions behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.regimes.names import REGIMES, Regime

__all__ = ["AlphaEngine", "Condition", "Opinion", "Signal", "graded", "regime_numbers"]

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]


@dataclass(frozen=True)
class Signal:
    """An engine's wish to hold a position.

    Parameters
    ----------
    engine, symbol : str
    ts : datetime
        Open of the bar at whose close it is known, UTC.
    strength : float
        In [-1, 1] and not 0; its sign is the side.
    confidence : float
        In [0, 1], raw: a probability only once it is calibrated.
    horizon : int
        Bars to hold.
    regime : Regime
        Filtered regime at the bar; the outcome is credited to it, whatever the regime is by then.
    reasons : tuple of str
        Each condition with its value and its bound.
    """

    engine: str
    symbol: str
    ts: datetime
    strength: float
    confidence: float
    horizon: int
    regime: Regime
    reasons: tuple[str, ...]

    @property
    def direction(self) -> int:
        """1 long, -1 short."""
        return 1 if self.strength > 0 else -1


@dataclass(frozen=True)
class Condition:
    """A quantity of every bar that must lie on one side of a bound; an unknown one does not.

    Parameters
    ----------
    what : str
        The quantity with its unit.
    value : ndarray, shape (N,)
    bound : float
    at_most : bool
        Whether the bound is the largest value allowed, else it is the smallest.
    """

    what: str
    value: Floats
    bound: float
    at_most: bool = False

    @property
    def holds(self) -> NDArray[np.bool_]:
        """Whether it holds at each bar, shape (N,)."""
        within = self.value <= self.bound if self.at_most else self.value >= self.bound
        return within & np.isfinite(self.value)

    def reason(self, row: int) -> str:
        """Value and bound at one bar, in words."""
        return f"{self.what} {self.value[row]:.4g}, {'most' if self.at_most else 'least'} {self.bound:g}"


@dataclass(frozen=True)
class Opinion:
    """What an engine thinks of N bars.

    Parameters
    ----------
    strength : ndarray, shape (N,)
        Signed, before the conditions.
    conditions : tuple of Condition
        All must hold, or there is no signal.
    confidence : ndarray of shape (N,), optional
        The size of `strength` where the engine has no better measure.
    """

    strength: Floats
    conditions: tuple[Condition, ...]
    confidence: Floats | None = None


def graded(value: Floats, bound: float, full: float) -> Floats:
    """One half at `bound`, rising in a line to 1 at `full` and beyond."""
    return 0.5 + 0.5 * np.clip((value - bound) / (full - bound), 0.0, 1.0)


class AlphaEngine(ABC):
    """A declared rule over the features of one bar.

    Subclasses are frozen dataclasses whose fields are the rule's parameters. A rule sees nothing but the
    features of the bar itself, so that many bars and a single one give the same signal. An input that is
    missing, not finite or absent gives no signal.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    """Columns that it reads."""
    horizon: int
    """Bars that a position is held."""

    @abstractmethod
    def opinion(self, x: Columns) -> Opinion:
        """Judge N bars from its inputs, each an array of shape (N,), NaN where unknown."""

    def strengths(self, features: pl.DataFrame) -> tuple[Floats, Floats]:
        """Strength and confidence at every row of a frame.

        Parameters
        ----------
        features : polars.DataFrame
            Columns named by `inputs`; an absent one counts as unknown everywhere.

        Returns
        -------
        strength, confidence : ndarray, shape (N,)
            Both 0 where there is no signal.
        """
        strength, confidence, _ = self._judged(features)
        return strength, confidence

    def signals(self, features: pl.DataFrame, regimes: NDArray[np.int8]) -> list[Signal]:
        """Signals of the rows that have one.

        Parameters
        ----------
        features : polars.DataFrame
            ``symbol, ts`` and the inputs.
        regimes : ndarray of int8, shape (N,)
            Index into `REGIMES`; a row without a known regime (-1) has no signal.
        """
        strength, confidence, conditions = self._judged(features)
        return [
            Signal(
                engine=self.name,
                symbol=features["symbol"][row],
                ts=features["ts"][row],
                strength=float(strength[row]),
                confidence=float(confidence[row]),
                horizon=self.horizon,
                regime=REGIMES[regimes[row]],
                reasons=tuple(condition.reason(row) for condition in conditions),
            )
            for row in np.flatnonzero((strength != 0.0) & (regimes >= 0)).tolist()
        ]

    def _judged(self, features: pl.DataFrame) -> tuple[Floats, Floats, tuple[Condition, ...]]:
        x = {name: _column(features, name) for name in self.inputs}
        # NaN and infinite inputs are expected here, and are no signal.
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            opinion = self.opinion(x)
            confidence = np.abs(opinion.strength) if opinion.confidence is None else opinion.confidence
            speaks = np.isfinite(opinion.strength) & (confidence >= 0.0) & (confidence <= 1.0)
            for values in x.values():
                speaks &= np.isfinite(values)
            for condition in opinion.conditions:
                speaks &= condition.holds
        strength = np.where(speaks, np.clip(opinion.strength, -1.0, 1.0), 0.0)
        return strength, np.where(strength != 0.0, confidence, 0.0), opinion.conditions

    def _require_positive(self, *names: str) -> None:
        """Refuse parameters that make no rule."""
        for name in ("horizon", *names):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name}={value} of {self.name} must be positive and finite")

    def parameters(self) -> dict[str, float]:
        """Parameters by name, for the record."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


def regime_numbers(regimes: pl.Series) -> NDArray[np.int8]:
    """Index of each regime's name into `REGIMES`; -1 where it is missing or none of them."""
    numbers = pl.Series(range(len(REGIMES)), dtype=pl.Int8)
    names = regimes.cast(pl.String)
    return names.replace_strict(list(REGIMES), numbers, default=-1, return_dtype=pl.Int8).to_numpy()


def _column(features: pl.DataFrame, name: str) -> Floats:
    if name not in features.columns:
        return np.full(features.height, np.nan)
    return features[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
