"""Which of all searched parameter sets nothing else beats in return, risk and cost at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.metrics import annual_return, max_drawdown, volatility
from engine.tuning.kernel import Evaluation

__all__ = ["Front", "Risk", "front", "non_dominated"]

Floats = NDArray[np.float64]
Risk = Literal["drawdown", "volatility"]

_YEAR = np.timedelta64(timedelta(days=365))


@dataclass(frozen=True, eq=False)
class Front:
    """Figures of all candidates, and those that no other beats.

    A set that hardly trades risks and costs nothing: it is on the front by right, whatever it earns.

    Parameters
    ----------
    risk : {"drawdown", "volatility"}
        What the second figure is.
    growth, risks, costs : ndarray, shape (candidates,)
        Compound net return per year; largest drawdown, or standard deviation per year; costs paid per year
        as a share of equity.
    members : ndarray of int, shape (members,)
        Candidates of the front, by risk; of candidates with the same figures the first.
    """

    risk: Risk
    growth: Floats
    risks: Floats
    costs: Floats
    members: NDArray[np.int64]

    def spread(self, most: int) -> NDArray[np.int64]:
        """Choose at most so many of the members, evenly by rank of risk, both ends included.

        Raises
        ------
        ValueError
            If there is no room for both ends.
        """
        if most < 2:
            raise ValueError(f"most = {most} must be at least 2, for both ends of the front")
        count = self.members.size
        return self.members[np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))]


def front(evaluation: Evaluation, risk: Risk = "drawdown") -> Front:
    """Compare parameter sets by return (more is better), risk and cost (less is better).

    Raises
    ------
    ValueError
        If the risk is neither drawdown nor volatility, or there are fewer than two periods.
    """
    if risk not in ("drawdown", "volatility"):
        raise ValueError(f"risk = {risk!r} must be 'drawdown' or 'volatility'")
    returns, periods = evaluation.returns, evaluation.periods
    if periods.size < 2:
        raise ValueError(f"{periods.size} periods have no return per year; at least 2 are needed")
    per_year = float(_YEAR / (periods[1] - periods[0]))
    growth = annual_return(returns, per_year)
    risks = (max_drawdown if risk == "drawdown" else volatility)(returns, per_year)
    costs = evaluation.cost_paid * per_year / periods.size
    members = non_dominated(np.column_stack([-growth, risks, costs]))
    return Front(risk, growth, risks, costs, members[np.argsort(risks[members], kind="stable")])


def non_dominated(figures: Floats) -> NDArray[np.int64]:
    """Find the rows than which no other is at least as low in every figure and lower in one.

    Parameters
    ----------
    figures : ndarray, shape (n, figures)
        Less is better.

    Returns
    -------
    ndarray of int
        Rows in rising order; of equal ones the first.

    Raises
    ------
    ValueError
        If a figure is NaN: it can neither be beaten nor beat.
    """
    if np.isnan(figures).any():
        raise ValueError(f"row {int(np.isnan(figures).any(axis=1).argmax())} has a figure that is NaN")
    # In lexical order nothing is beaten by what comes later, so that each is held against the front alone.
    order = np.lexsort(figures.T[::-1])
    kept, rows = np.empty_like(figures), np.empty(len(figures), np.int64)
    n = 0
    for row in order:
        if not (kept[:n] <= figures[row]).all(axis=1).any():
            kept[n], rows[n] = figures[row], row
            n += 1
    return np.sort(rows[:n])
