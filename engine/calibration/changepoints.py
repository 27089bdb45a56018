"""What a probability of a change point says about the scores that were learned before it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

__all__ = ["CHANGE_MEMORY", "changes_of_bars", "doubt", "remember_changes", "with_changes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHANGE_MEMORY = timedelta(days=1)
"""How long an alarm counts."""


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
    p_changepoint: ArrayLike, series: ArrayLike, decided_at: ArrayLike, alarm: float, memory: int
) -> tuple[Floats, Ints]:
    """Carry each alarm of a detector forward for a while: it falls silent before new outcomes are known.

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
    memory : int
        Clock for which an alarm is carried on after its last moment.

    Returns
    -------
    p_changepoint : ndarray, shape (n,)
        The largest probability so far of the newest run of alarms of the series; 0 before its first and once
        it is forgotten.
    changed_at : ndarray of int64, shape (n,)
        Clock of the last alarm of that run so far: decisions up to it may belong to the old market.
        Without an alarm in memory the decision's own clock.
    """
    clock = np.asarray(decided_at, np.int64)
    if (np.diff(clock) < 0).any():
        raise ValueError("decided_at must ascend; sort the rows by time")
    p = doubt(p_changepoint, alarm, clock.size)
    alarmed = pl.col("p") > 0.0
    rows = pl.DataFrame({"series": np.asarray(series), "p": p, "clock": clock}).with_columns(
        run=(alarmed & ~alarmed.shift(1, fill_value=False)).cum_sum().over("series")
    )
    own, last = pl.col("clock"), pl.col("last")
    since = pl.when(alarmed).then("clock").forward_fill().over("series")
    carried = rows.with_columns(last=since).select(
        p=pl.when(own - last <= memory).then(pl.col("p").cum_max().over("series", "run")).otherwise(0.0),
        changed_at=pl.when(own - last <= memory).then(last).otherwise(own),
    )
    return carried["p"].to_numpy(), carried["changed_at"].to_numpy()


def with_changes(rows: pl.DataFrame, alarm: float, memory: timedelta = CHANGE_MEMORY) -> pl.DataFrame:
    """Carry each alarm of the change-point detector forward to the rows that it concerns.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, decided_at`` (microseconds, ascending) and, with a detector, ``p_changepoint``: what it
        says at the decision; one that is missing or impossible is an alarm.
    alarm : float
        Probability from which it counts.
    memory : timedelta
        How long it counts.

    Returns
    -------
    DataFrame
        With ``p_changepoint, changed_at`` as `ConformalPredictor.calibrate_rows` takes them.
    """
    if "p_changepoint" not in rows.columns:
        return rows.with_columns(p_changepoint=pl.lit(0.0), changed_at=pl.col("decided_at"))
    possible = pl.when(pl.col("p_changepoint").is_between(0.0, 1.0)).then("p_changepoint")
    stated = rows.select(possible).to_series().fill_null(np.nan).to_numpy()
    clock, carried = rows["decided_at"].to_numpy(), memory // timedelta(microseconds=1)
    p, changed_at = remember_changes(stated, rows["symbol"], clock, alarm, carried)
    return rows.with_columns(p_changepoint=pl.Series(p), changed_at=pl.Series(changed_at))


def changes_of_bars(
    changepoints: pl.DataFrame, bar: timedelta, alarm: float, memory: timedelta = CHANGE_MEMORY
) -> pl.DataFrame:
    """Carry alarms forward to every bar of a detector's history.

    Parameters
    ----------
    changepoints : DataFrame
        ``symbol, ts, p_changepoint``; `memory` before the first bar of interest is enough.
    bar : timedelta
        Length of a bar.
    alarm, memory
        As in `with_changes`.

    Returns
    -------
    DataFrame
        ``symbol, ts, p_changepoint, changed_at``, sorted by ts and symbol.
    """
    rows = changepoints.sort("ts", "symbol").with_columns(decided_at=(pl.col("ts") + bar).dt.epoch("us"))
    return with_changes(rows, alarm, memory).select("symbol", "ts", "p_changepoint", "changed_at")
