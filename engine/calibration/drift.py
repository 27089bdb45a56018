"""An alarm when the intervals of a regime stop covering, with a stated rate of false alarms.

Under the promise each outcome is missed with probability alpha at most, whatever came before. A bet against
that multiplies its stake by ``1 + lambda (misses - alpha)`` after each block of time; while the promise is
kept no way of betting makes the stake grow on average, so it ever reaches 1/delta with probability delta at
most (Ville 1939; Waudby-Smith and Ramdas 2024). The stakes begun at every block are averaged, as in the
Shiryaev-Roberts procedure, so that a late drift is found as well as an early one.

Labels overlap in time, and symbols share the market. All rows of a block enter one bet, however they depend
on each other, and a block is as long as a label spans: every other block is free of overlap, and even and odd
blocks are bet on apart. The limit makes up for the several bets (Bonferroni).

A threshold taken from a few hundred outcomes covers within some two points of its level, and no better; a
drift is what goes beyond that, so the bets are against the level less `TOLERANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numba as nb
import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["FALSE_ALARMS", "TOLERANCE", "CoverageDrift", "coverage_drift"]

Floats = NDArray[np.float64]

FALSE_ALARMS = 0.01
TOLERANCE = 0.02

# Shares of the largest stake that cannot go broke, 1 / alpha.
_STAKES = (0.05, 0.1, 0.2, 0.4, 0.8)
_BISECTIONS = 30


@dataclass(frozen=True)
class CoverageDrift:
    """Evidence against the promise in one regime.

    Parameters
    ----------
    regime : str
        "ALL" for all rows.
    start, end : datetime
        Stretch of decisions that speaks most against the promise; `end` is not in it.
    coverage : float
        Share of outcomes covered there.
    count : int
        Outcomes there.
    evidence, limit : float
        Largest value of the bets, and where it becomes an alarm.
    bound : float
        Largest promise that the whole history does not refute; without an alarm the level less `TOLERANCE`.
    lasts : bool
        Whether there is an alarm that is not over. It is once the bets have lost again the factor that made
        the alarm, or once as much time has passed without a new peak as the stretch took.
    """

    regime: str
    start: datetime
    end: datetime
    coverage: float
    count: int
    evidence: float
    limit: float
    bound: float
    lasts: bool

    @property
    def alarm(self) -> bool:
        """Whether the promise is refuted, beyond `TOLERANCE`."""
        return self.evidence >= self.limit

    def describe(self, level: float) -> str:
        """One line for people."""
        return (
            f"{self.regime}: {self.coverage:.1%} of {self.count:,} outcomes decided from "
            f"{self.start:%Y-%m-%d} to {self.end:%Y-%m-%d} lay in their {level:.0%} intervals; "
            + (
                f"the history allows a promise of {self.bound:.1%} at most, and the drift "
                + ("lasts" if self.lasts else "is over")
                if self.alarm
                else "chance explains it"
            )
        )


def coverage_drift(
    rows: pl.DataFrame, level: float, span: timedelta, false_alarms: float = FALSE_ALARMS
) -> list[CoverageDrift]:
    """Judge the coverage of each regime, and of all.

    Parameters
    ----------
    rows : DataFrame
        ``ts, regime, covered``; rows with a null are left out.
    level : float
        Coverage that was promised; falling short by more than `TOLERANCE` is a drift.
    span : timedelta
        From a decision to the end of its label.
    false_alarms : float
        Probability of any alarm at all in the whole table, if every promise is kept.

    Returns
    -------
    list of CoverageDrift
        In order of the regimes' names, "ALL" last; empty without rows.
    """
    rows = rows.select("ts", "regime", "covered").drop_nulls()
    if rows.is_empty():
        return []
    first = rows["ts"].min()
    assert isinstance(first, datetime)  # noqa: S101  a column of times has one
    blocks = rows.select(
        "regime",
        block=(pl.col("ts") - first).dt.total_microseconds() // (span // timedelta(microseconds=1)),
        missed=~pl.col("covered"),
    )
    full = float(blocks.group_by("block").len()["len"].to_numpy().max())
    names = [*sorted(blocks["regime"].unique()), "ALL"]
    limit = 2 * len(names) / false_alarms
    found = []
    for name in names:
        part = blocks if name == "ALL" else blocks.filter(pl.col("regime") == name)
        daily = part.group_by("block").agg(pl.col("missed").sum(), pl.len().alias("count")).sort("block")
        found.append(_judged(name, daily, full, 1.0 - level + TOLERANCE, limit, first, span))
    return found


def _judged(
    name: str, blocks: pl.DataFrame, full: float, alpha: float, limit: float, first: datetime, span: timedelta
) -> CoverageDrift:
    parities = [part for rest in (0, 1) if (part := blocks.filter(pl.col("block") % 2 == rest)).height]

    def bets(part: pl.DataFrame, allowed: float) -> Floats:
        misses, count = part["missed"].to_numpy(), part["count"].to_numpy()
        return _evidence(_factors((misses - allowed * count) / full, allowed))

    stakes = [bets(part, alpha) for part in parities]
    loudest = int(np.argmax([stake.max() for stake in stakes]))
    evidence, part = float(stakes[loudest].max()), parities[loudest]
    begin, end = _stretch(part, full, alpha, int(np.argmax(stakes[loudest])))
    since = int(blocks["block"][-1]) - end
    standing = float(stakes[loudest][-1]) * limit > evidence
    inside = blocks.filter(pl.col("block").is_between(begin, end))
    count = int(inside["count"].sum())
    bound = 1.0 - alpha
    if evidence >= limit:
        low, high = alpha, 1.0  # miss rates: the first is refuted, the second cannot be
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            refuted = max(float(bets(part, middle).max()) for part in parities) >= limit
            low, high = (middle, high) if refuted else (low, middle)
        bound = 1.0 - high
    return CoverageDrift(
        regime=name,
        start=first + begin * span,
        end=first + (end + 1) * span,
        coverage=1.0 - float(inside["missed"].sum()) / count,
        count=count,
        evidence=evidence,
        limit=limit,
        bound=bound,
        lasts=evidence >= limit and standing and since <= end - begin + 1,
    )


def _factors(excess: Floats, alpha: float) -> Floats:
    """Multiples of each stake after each block, shape (stakes, blocks)."""
    return 1.0 + np.outer(np.array(_STAKES) / alpha, excess)


@nb.njit(cache=True)
def _evidence(factors: Floats) -> Floats:
    """Mean over stakes and starts of the bets after each block; what is yet to start is worth 1."""
    stakes, blocks = factors.shape
    stake = np.zeros(stakes)
    evidence = np.empty(blocks)
    for t in range(blocks):
        stake = (stake + 1.0 / blocks) * factors[:, t]
        evidence[t] = stake.mean() + (blocks - t - 1) / blocks
    return evidence


def _stretch(part: pl.DataFrame, full: float, alpha: float, peak: int) -> tuple[int, int]:
    """First and last block of the bet that stood highest at the peak."""
    excess = (part["missed"].to_numpy() - alpha * part["count"].to_numpy()) / full
    grown = np.cumsum(np.log(_factors(excess[: peak + 1], alpha)), axis=1)
    before = np.hstack([np.zeros((len(_STAKES), 1)), grown[:, :-1]])
    gains = grown[:, -1:] - before
    start = int(np.argmax(gains.max(axis=0)))
    return int(part["block"][start]), int(part["block"][peak])
