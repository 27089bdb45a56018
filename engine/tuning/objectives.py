"""What a search maximises: one finite number per parameter set, by goal.

With r the net returns per period, Y the periods of a year and n the trades, in all goals:

- ``growth``: mean of log(1 + r) times Y, the logarithm of what a unit becomes in a year;
- ``sharpe``: mean of r over its standard deviation, times sqrt(Y), times n / (n + 30): a ratio over few
  trades counts for less (`FEW`), and none over none;
- ``calmar``: growth over the largest drawdown d, as growth / (d + 1 %) where it is positive. A ratio would
  praise a losing account for a deeper fall, hence where it is negative the product
  growth (d + 1 %) / (10 %)^2, as Israelsen 2005 mends the Sharpe ratio; both are equally steep at d = 9 %.

An account that never trades scores 0 in each. One that was ruined is taken to have lost all but a millionth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.metrics import max_drawdown, sharpe
from engine.tuning.kernel import Evaluation
from engine.tuning.scenarios import Goal

__all__ = ["FEW", "OBJECTIVES", "score"]

Floats = NDArray[np.float64]

FEW = 30.0
"""Trades at which a ratio counts for half."""
_LEAST_DRAWDOWN, _USUAL_DRAWDOWN = 0.01, 0.1
_RUIN = 1e-6
_YEAR = timedelta(days=365)


def growth(evaluation: Evaluation) -> Floats:
    """Return the log growth per year."""
    return np.log(np.maximum(1.0 + evaluation.returns, _RUIN)).mean(axis=1) * _per_year(evaluation)


def shrunken_sharpe(evaluation: Evaluation) -> Floats:
    """Return the Sharpe ratio per year, shrunk where trades are few; 0 without variation."""
    ratio = sharpe(evaluation.returns, _per_year(evaluation))
    return np.nan_to_num(ratio) * evaluation.trades / (evaluation.trades + FEW)


def calmar(evaluation: Evaluation) -> Floats:
    """Return growth against the largest drawdown; more drawdown is worse whatever the sign of growth."""
    gain = growth(evaluation)
    fall = max_drawdown(evaluation.returns, _per_year(evaluation)) + _LEAST_DRAWDOWN
    return np.where(gain > 0.0, gain / fall, gain * fall / _USUAL_DRAWDOWN**2)


def balanced(evaluation: Evaluation) -> Floats:
    """Return the mean of the other three, growth in tenths: each is near 1 for a good account."""
    parts = growth(evaluation) / 0.1, shrunken_sharpe(evaluation), calmar(evaluation)
    return np.mean(parts, axis=0)


OBJECTIVES: Mapping[Goal, Callable[[Evaluation], Floats]] = {
    "balanced": balanced,
    "sharpe": shrunken_sharpe,
    "drawdown": calmar,
    "return": growth,
}


def score(evaluation: Evaluation, goal: Goal) -> Floats:
    """Score every set of an evaluation; more is better, and every score is finite.

    Raises
    ------
    ValueError
        If the goal is unknown.
    """
    if goal not in OBJECTIVES:
        raise ValueError(f"goal = {goal!r} must be one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[goal](evaluation)


def _per_year(evaluation: Evaluation) -> float:
    """Periods of a year."""
    if evaluation.periods.size < 2:
        return 365.0
    return float(np.timedelta64(_YEAR) / (evaluation.periods[1] - evaluation.periods[0]))
