"""What a bandit knows of its engines: discounted or windowed sums of rewards, and the Beta laws they make.

`credit` and `laws` are compiled, and are the same for a live bandit and for a walk over years.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Evidence", "Forgetting", "credit", "laws", "with_interval"]

Floats = NDArray[np.float64]


class Forgetting(NamedTuple):
    """Prior, weight and forgetting; `window` is 0 without one."""

    prior_wins: float
    prior_losses: float
    weight: float
    gamma: float
    by_hours: bool
    window: int


class Evidence(NamedTuple):
    """What E engines were credited with in R regimes.

    Parameters
    ----------
    wins, losses : ndarray, shape (E, R)
        Sums of rewards and of their complements, each weighted by its age.
    outcomes : ndarray of int64, shape (E, R)
        Rewards ever credited.
    hours : ndarray, shape (R,)
        When the last one was.
    engine, reward : ndarray, shape (R, window)
        The last outcomes of each regime, in a ring.
    """

    wins: Floats
    losses: Floats
    outcomes: NDArray[np.int64]
    hours: Floats
    engine: NDArray[np.int64]
    reward: Floats

    @classmethod
    def none(cls, engines: int, regimes: int, window: int) -> Evidence:
        """Nothing known yet."""
        shape = (engines, regimes)
        return cls(
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(shape, np.int64),
            np.zeros(regimes),
            np.full((regimes, window), -1, np.int64),
            np.zeros((regimes, window)),
        )


@nb.njit(nogil=True, cache=True)
def laws(evidence: Evidence, rule: Forgetting, regime: int, now: float) -> tuple[Floats, Floats]:
    """Both parameters of each engine's Beta law in a regime at `now`, in hours; shape (E,)."""
    kept = rule.gamma ** (now - evidence.hours[regime]) if rule.by_hours else 1.0
    counted = rule.weight * kept
    return (
        rule.prior_wins + counted * evidence.wins[:, regime],
        rule.prior_losses + counted * evidence.losses[:, regime],
    )


@nb.njit(nogil=True, cache=True)
def credit(evidence: Evidence, rule: Forgetting, engine: int, regime: int, reward: float, now: float) -> None:
    """Enter an outcome known at `now`; everything older in the same regime ages by a step."""
    wins, losses = evidence.wins, evidence.losses
    if rule.window > 0:
        place = evidence.outcomes[:, regime].sum() % rule.window
        evidence.engine[regime, place], evidence.reward[regime, place] = engine, reward
        # Added up anew each time, so that rounding cannot pile up.
        wins[:, regime], losses[:, regime] = 0.0, 0.0
        for k in range(rule.window):
            acted = evidence.engine[regime, k]
            if acted >= 0:
                wins[acted, regime] += evidence.reward[regime, k]
                losses[acted, regime] += 1.0 - evidence.reward[regime, k]
    else:
        kept = rule.gamma ** (now - evidence.hours[regime]) if rule.by_hours else rule.gamma
        wins[:, regime] *= kept
        losses[:, regime] *= kept
        wins[engine, regime] += reward
        losses[engine, regime] += 1.0 - reward
    evidence.hours[regime] = now
    evidence.outcomes[engine, regime] += 1


def with_interval(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``mean, low, high`` to the parameters ``wins, losses`` of Beta laws."""
    wins, losses = frame["wins"].to_numpy(), frame["losses"].to_numpy()
    low, high = (stats.beta.ppf(q, wins, losses) for q in (0.025, 0.975))
    mean = wins / (wins + losses)
    return frame.with_columns(pl.Series("mean", mean), pl.Series("low", low), pl.Series("high", high))
