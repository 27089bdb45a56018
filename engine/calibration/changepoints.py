"""What a probability of a change point says about the scores that were learned before it."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

__all__ = ["doubt", "remember_changes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def doubt(p_changepoint: ArrayLike, alarm: float, rows: int) -> Floats:
    """Probability of a change where it reaches `alarm`, else 0; a missing one counts as `alarm`.

    Below the alarm nothing changes: a detector's posterior of a short segment is never zero, and a quiet
    market must not widen intervals.

    Raises
    ------
    ValueError
        If a probability lies outside [0, 1].
    """
    p = np.broadcast_to(np.asarray(p_changepoint, np.float64), (rows,))
    if ((p < 0.0) | (p > 1.0)).any():
        row = int(np.argmax((p < 0.0) | (p > 1.0)))
        raise ValueError(f"p_changepoint must lie in [0, 1]; row {row} has {p[row]}")
    p = np.where(np.isnan(p), alarm, p)
    return np.where(p >= alarm, p, 0.0)


def remember_changes(
    p_changepoint: ArrayLike, series: ArrayLike, decided_at: ArrayLike, alarm: float
) -> tuple[Floats, Ints]:
    """Carry each alarm of a detector forward: it falls silent long before new outcomes are known.

    Parameters
    ----------
    p_changepoint : array_like, shape (n,)
        Probability that a new segment has just begun, as known at each decision.
    series : array_like, shape (n,)
        Which series it is about, such as the symbol.
    decided_at : array_like of int, shape (n,)
        Clock of the decisions, ascending.
    alarm : float
        Probability from which it counts.

    Returns
    -------
    p_changepoint : ndarray, shape (n,)
        The largest probability so far of the newest run of alarms of the series; 0 before its first.
    changed_at : ndarray of int64, shape (n,)
        Clock of the last alarm of that run so far: decisions up to it may belong to the old market. Before a
        first alarm the decision's own clock.
    """
    clock = np.asarray(decided_at, np.int64)
    if (np.diff(clock) < 0).any():
        raise ValueError("decided_at must ascend; sort the rows by time")
    p = doubt(p_changepoint, alarm, clock.size)
    alarmed = pl.col("p") > 0.0
    rows = pl.DataFrame({"series": np.asarray(series), "p": p, "clock": clock}).with_columns(
        run=(alarmed & ~alarmed.shift(1, fill_value=False)).cum_sum().over("series")
    )
    carried = rows.select(
        p=pl.col("p").cum_max().over("series", "run"),
        changed_at=pl.when(alarmed).then("clock").forward_fill().over("series").fill_null(pl.col("clock")),
    )
    return carried["p"].to_numpy(), carried["changed_at"].to_numpy()
