"""How much of the best result is selection, as lines for people."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import NotEnoughDataError
from engine.evaluation.attempts import Trials
from engine.evaluation.overfitting import (
    deflated_sharpe_of,
    expected_maximum_sharpe,
    probability_of_backtest_overfitting,
)

__all__ = ["overfitting_report"]

Floats = NDArray[np.float64]

_BLOCKS = 10
_SCHEMA = {"position": pl.Int64, "measure": pl.String, "value": pl.Float64, "reading": pl.String}


def overfitting_report(
    in_force: Floats, returns: Floats, trials: Trials, periods_per_year: float = 365.0
) -> pl.DataFrame:
    """Figures of selection: on the way in force, and on the choice among all of them.

    Parameters
    ----------
    in_force : ndarray, shape (days,)
        Net returns of what is in force.
    returns : ndarray, shape (days, ways)
        Net returns of every way that was searched, the one in force among them.
    trials : Trials
        What was ever searched, as the ledger has it.
    periods_per_year : float
        Days of a year.

    Returns
    -------
    DataFrame
        ``position, measure, value, reading``; what cannot be computed has no line, or a null and the reason.
    """
    lines: list[tuple[str, float | None, str]] = [
        ("candidates searched", trials.count, "Every alternative of every night, as the ledger has it.")
    ]
    if len(in_force) > 1:
        lines += [*_luck(in_force, trials, periods_per_year), *_choice(returns)]
    rows = [
        (position, measure, value if value is not None and np.isfinite(value) else None, reading)
        for position, (measure, value, reading) in enumerate(lines)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _luck(in_force: Floats, trials: Trials, periods_per_year: float) -> list[tuple[str, float | None, str]]:
    """State what the best of so many worthless trials would show, and what is left beyond it."""
    if not in_force.std() > 0 or trials.count < 2 or not np.isfinite(trials.sharpe_variance):
        return []
    luck = expected_maximum_sharpe(trials.count, trials.sharpe_variance) * np.sqrt(periods_per_year)
    deflated = deflated_sharpe_of(in_force, trials.count, trials.sharpe_variance)
    return [
        ("Sharpe ratio that luck explains", luck, "Expected best of so many worthless trials, a year."),
        ("deflated Sharpe ratio", deflated, "P(skill beyond that luck); below 0.95 none is shown."),
    ]


def _choice(returns: Floats) -> list[tuple[str, float | None, str]]:
    """How the best of one half does in the other; ways that never traded are none."""
    try:
        found = probability_of_backtest_overfitting(returns[:, returns.std(axis=0) > 0], blocks=_BLOCKS)
    except (ValueError, NotEnoughDataError) as error:
        return [("PBO", None, str(error))]
    return [
        ("PBO", found.probability, "P(the best of one half is below the median of the other)."),
        ("P(loss) of the chosen", found.probability_of_loss, "The best of one half loses later."),
    ]
