"""Skill of probability forecasts against the base rate, with intervals that respect time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import NotEnoughDataError
from engine.evaluation.bootstrap import automatic_block_length, stationary_bootstrap_indices

__all__ = ["Estimate", "auc", "log_loss", "skill"]

Floats = NDArray[np.float64]
_BINS = 512
_FLOOR = 1e-6


@dataclass(frozen=True)
class Estimate:
    """A figure, its interval, and the number of forecasts behind it."""

    value: float
    low: float
    high: float
    count: int


def auc(wins: Floats, losses: Floats) -> Floats:
    """Area under the ROC curve from counts per bin of the score, ascending; ties count one half.

    Parameters
    ----------
    wins, losses : ndarray, shape (..., bins)
        Forecasts whose outcome was 1 and 0.

    Returns
    -------
    ndarray, shape (...)
        P(score of a win > score of a loss); NaN without either.

    References
    ----------
    Hanley and McNeil (1982).
    """
    below = np.cumsum(losses, axis=-1) - losses
    pairs = wins.sum(-1) * losses.sum(-1)
    better = (wins * (below + 0.5 * losses)).sum(-1)
    return np.divide(better, pairs, out=np.full(np.shape(pairs), np.nan), where=pairs > 0)


def skill(
    rows: pl.DataFrame, *, draws: int = 1_000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Estimate]:
    """Judge forecasts of a binary outcome.

    Days are drawn in blocks of random length with all their forecasts, of all symbols: labels overlap in time
    and symbols move together, so single rows are far from independent.

    Parameters
    ----------
    rows : DataFrame
        ``ts``, ``p`` (forecast of outcome 1), ``base`` (the base rate known when the model was fitted) and
        ``outcome`` (boolean); rows with a null are left out.
    draws : int
        Bootstrap draws.
    confidence : float
        Of the two-sided interval.
    seed : int

    Returns
    -------
    dict of str to Estimate
        ``log loss``, ``log loss of the base rate``, ``gain in log loss`` (base less model, paired),
        ``gain in Brier score`` (likewise) and ``AUC``.

    Raises
    ------
    NotEnoughDataError
        If fewer than ten days hold a forecast.

    References
    ----------
    Politis and Romano (1994), stationary bootstrap.
    """
    rows = rows.select("ts", "p", "base", "outcome").drop_nulls()
    days, inverse = np.unique(rows["ts"].to_numpy().astype("datetime64[D]"), return_inverse=True)
    if days.size < 10:
        raise NotEnoughDataError(f"{days.size} days with forecasts; ten are needed for an interval")
    outcome = rows["outcome"].cast(pl.Float64).to_numpy()
    p = np.clip(rows["p"].to_numpy(), _FLOOR, 1.0 - _FLOOR)
    base = np.clip(rows["base"].to_numpy(), _FLOOR, 1.0 - _FLOOR)

    def daily(values: Floats) -> Floats:
        return np.bincount(inverse, values, days.size).astype(np.float64)

    model_loss, base_loss = log_loss(p, outcome), log_loss(base, outcome)
    brier_gain = (base - outcome) ** 2 - (p - outcome) ** 2
    sums = np.stack([daily(model_loss), daily(base_loss), daily(base_loss - model_loss), daily(brier_gain)])
    counts = daily(np.ones_like(p))
    wins, losses = (_histogram(p, inverse, days.size, outcome == kind) for kind in (1.0, 0.0))

    block = automatic_block_length(sums[2] / counts)
    indices = stationary_bootstrap_indices(days.size, block, draws, np.random.default_rng(seed))
    weights = np.stack([np.bincount(row, minlength=days.size) for row in indices]).astype(np.float64)
    drawn = (weights @ sums.T) / (weights @ counts)[:, None]
    tail = (1.0 - confidence) / 2.0

    def estimate(value: float, draws_of_it: Floats) -> Estimate:
        low, high = np.nanquantile(draws_of_it, [tail, 1.0 - tail])
        return Estimate(value, float(low), float(high), rows.height)

    names = ("log loss", "log loss of the base rate", "gain in log loss", "gain in Brier score")
    estimates = {
        name: estimate(float(sums[i].sum() / counts.sum()), drawn[:, i]) for i, name in enumerate(names)
    }
    areas = auc(weights @ wins, weights @ losses)
    estimates["AUC"] = estimate(float(auc(wins.sum(0), losses.sum(0))), areas)
    return estimates


def log_loss(p: Floats, outcome: Floats) -> Floats:
    """Minus the log of what each forecast gave to the outcome; forecasts are kept off 0 and 1.

    Parameters
    ----------
    p : ndarray, shape (n,)
        Forecast of outcome 1.
    outcome : ndarray, shape (n,)
        0 or 1.
    """
    p = np.clip(p, _FLOOR, 1.0 - _FLOOR)
    return -np.where(outcome == 1.0, np.log(p), np.log1p(-p))


def _histogram(p: Floats, day: NDArray[np.intp], days: int, chosen: NDArray[np.bool_]) -> Floats:
    """Forecasts per day and bin of equal counts of `p`; bins make the area of every draw one product."""
    edges = np.unique(np.quantile(p, np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    place = np.searchsorted(edges, p[chosen], side="right")
    width = edges.size + 1
    flat = np.bincount(day[chosen] * width + place, minlength=days * width)
    return flat.reshape(days, width).astype(np.float64)
