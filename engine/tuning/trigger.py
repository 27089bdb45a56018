"""What makes applied parameters go back by themselves, fixed before they come into force.

Two alarms are watched for a horizon of days, and each may ring falsely with half of the probability allowed:

- **fall**: the live account lies deeper below its high since the change than the evidence ever showed, and
  deeper than all but that share of the horizons drawn from the evidence (stationary bootstrap);
- **worse**: a bet that the parameters before, run on as a shadow, do better than the new ones has multiplied
  its capital (`engine.evaluation.e_process`). It may be looked at after every day: that is what it is for.

Both are asked about all days since the change at once, so that a verdict depends on the returns alone and not
on who asked when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import DataError
from engine.evaluation.bootstrap import automatic_block_length, stationary_bootstrap_indices
from engine.evaluation.e_process import EProcess
from engine.evaluation.metrics import max_drawdown
from engine.tuning.evidence import Evidence

__all__ = ["Trigger", "TriggerVerdict"]

Floats = NDArray[np.float64]

_BOUND = 3.0


@dataclass(frozen=True)
class TriggerVerdict:
    """What a trigger says of the days since the change.

    Parameters
    ----------
    fired : bool
        Ever since the change: what has rung once is not taken back.
    alarm : {"fall", "worse"} or None
        What rang, the fall first where both did on one day.
    day : int or None
        Day since the change on which it rang, from 1.
    over : bool
        Whether the horizon is over; days beyond it are not looked at.
    days : int
        Looked at.
    fall, capital : float
        Deepest fall below the high, fraction of equity; largest capital of the bet, which began with 1.
    ratio : float
        The larger of the fall over its limit and of the capital's logarithm over that of its limit: it
        fires above 1.
    reasons : tuple of str
    """

    fired: bool
    alarm: str | None
    day: int | None
    over: bool
    days: int
    fall: float
    capital: float
    ratio: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Trigger:
    """Limits that are registered together with the parameters that they watch.

    Parameters
    ----------
    horizon : int
        Days that are watched.
    alpha : float
        Probability allowed for a rollback of parameters that do as well as the evidence said and no worse
        than those before.
    fall : float
        Fall below the high that is too deep, fraction of equity.
    bound : float
        Most that one day's lead of the parameters before counts; see `EProcess`.
    worst : float
        Largest lead of the new ones in one day; it caps the bet.

    Raises
    ------
    ValueError
        If a limit is out of range.
    """

    horizon: int
    alpha: float
    fall: float
    bound: float
    worst: float

    def __post_init__(self) -> None:
        if self.horizon < 1 or not 0.0 < self.alpha < 0.5:
            raise ValueError(
                f"horizon = {self.horizon} must be at least 1 day, alpha = {self.alpha} between 0 and 0.5"
            )
        for name in ("fall", "bound", "worst"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} = {value} must be positive and finite")

    @classmethod
    def of(
        cls, evidence: Evidence, *, horizon: int = 60, alpha: float = 0.05, draws: int = 1999, seed: int = 0
    ) -> Self:
        """Take the limits from the evidence that the parameters were promoted on.

        Raises
        ------
        ValueError
            If the two accounts of the evidence never differ, or `draws` are too few for the level.
        """
        account, lead = evidence.candidate, evidence.baseline - evidence.candidate
        rank = int(np.floor(0.5 * alpha * (draws + 1) + 1e-9))
        if rank < 1:
            raise ValueError(f"draws = {draws} cannot show half of alpha = {alpha}; draw more often")
        if not np.ptp(lead) > 0.0:
            raise ValueError("the accounts of the evidence never differ; there is nothing to watch")
        rng, block = np.random.default_rng(seed), automatic_block_length(account)
        paths = account[stationary_bootstrap_indices(account.size, block, draws, rng)[:, :horizon]]
        usual = np.sort(max_drawdown(paths, 1.0))[draws - rank]
        shown = max_drawdown(account[None], 1.0)[0]
        bound = _BOUND * float(lead.std())
        worst = max(2.0 * bound, float(-lead.min()))
        return cls(horizon, alpha, float(max(usual, shown)), bound, worst)

    def verdict(self, live: ArrayLike, previous: ArrayLike) -> TriggerVerdict:
        """Judge the days since the change.

        Parameters
        ----------
        live : array_like, shape (days,)
            Net returns of the live account, by whole day, from the first one under the new parameters.
        previous : array_like, shape (days,)
            The same of the parameters before, as a shadow on the same bars.

        Raises
        ------
        ValueError
            If the two have different lengths.
        DataError
            If a return is not finite.
        """
        ours, theirs = (np.asarray(returns, np.float64) for returns in (live, previous))
        if ours.ndim != 1 or ours.shape != theirs.shape:
            raise ValueError(f"live has shape {ours.shape}, previous {theirs.shape}; one return a day each")
        for name, returns in (("live", ours), ("previous", theirs)):
            if not np.isfinite(returns).all():
                row = int(np.flatnonzero(~np.isfinite(returns))[0])
                raise DataError(f"return {returns[row]} is not finite", row=row + 1, column=name)
        ours, theirs = ours[: self.horizon], theirs[: self.horizon]
        falls, bets = _falls(ours), self._bets(theirs - ours)
        limit = math.log(2.0 / self.alpha)
        ratios = np.maximum(falls / self.fall, bets / limit)
        rang = np.flatnonzero(ratios > 1.0)
        day = int(rang[0]) if rang.size else None
        alarm = None if day is None else "fall" if falls[day] > self.fall else "worse"
        fall, capital = float(falls.max(initial=0.0)), math.exp(float(bets.max(initial=0.0)))
        reasons = (
            f"fell {fall:.2%} below the high; {self.fall:.2%} is the limit",
            f"a bet on the parameters before made {capital:.3g} of 1; {2.0 / self.alpha:.3g} is the limit",
            f"day {ours.size} of {self.horizon}",
        )
        return TriggerVerdict(
            fired=day is not None,
            alarm=alarm,
            day=None if day is None else day + 1,
            over=ours.size == self.horizon,
            days=ours.size,
            fall=fall,
            capital=capital,
            ratio=float(ratios.max(initial=0.0)),
            reasons=reasons,
        )

    def _bets(self, lead: Floats) -> Floats:
        """Logarithm of the largest capital so far, after each day."""
        process = EProcess(self.bound, worst=self.worst, alpha=0.5 * self.alpha)
        peaks = np.zeros(lead.size)
        for day, difference in enumerate(lead):
            process.update(difference)
            peaks[day] = process.log_peak
        return peaks

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, to register."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        return cls(**values)


def _falls(returns: Floats) -> Floats:
    """Fall below the high since the start, after each day, the deepest so far."""
    equity = np.cumprod(1.0 + returns)
    high = np.maximum(np.maximum.accumulate(equity), 1.0)
    return np.maximum.accumulate(1.0 - equity / high)
