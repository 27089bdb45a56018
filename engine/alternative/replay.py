"""Statistics of a series' own past as it was known: vintages are replayed in the order of their publication.

Whenever something became known, the statistics are those of the values believed at that moment: of each
period its latest vintage by then. The *current* period is the newest one known. Windows are measured back
from its ``ts``, so they depend neither on the bars they are joined to nor on when anybody asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numba import njit

from engine.alternative.series import SERIES

__all__ = ["ENOUGH", "WINDOW", "Earlier", "Past", "Replay", "Statistic", "Trailing"]

WINDOW = timedelta(days=90)
"""The past that a current value is judged by."""
ENOUGH = 30
"""Least number of known periods in that past."""
NORMAL_MAD = 1.4826  # standard deviation of a normal variable over its median absolute deviation
JITTER = 60_000_000  # microseconds; venues stamp a period some milliseconds late
MICROSECOND = timedelta(microseconds=1)


class Order(NamedTuple):
    """Where each row of a replay stands: period and first period of its symbol by number, end of its moment.

    ``stamp`` is the ``ts`` of each period in microseconds since the epoch, periods sorted by symbol and ts.
    """

    period: np.ndarray
    first: np.ndarray
    settled: np.ndarray
    stamp: np.ndarray


class Replay:
    """Vintages of one or more series, in the order in which they became known.

    A row is a moment at which one of the series got a value for a period; the other series of the same period
    stand beside it with what was known of them. Unknown and implausible values are NaN.

    Parameters
    ----------
    observations : pl.DataFrame
        ``series, symbol, ts, available_at, value`` with symbols as integer codes.
    series : Sequence[str]
        Names out of `SERIES`.
    """

    def __init__(self, observations: pl.DataFrame, series: Sequence[str]) -> None:
        rows = observations.sort("symbol", "ts", "available_at", maintain_order=True)
        known = rows.with_columns(begins=_differs("symbol", "ts")).select(
            "symbol",
            "ts",
            "available_at",
            *(_believed(name, series).forward_fill().alias(name) for name in series),
            period=pl.col("begins").cum_sum().cast(pl.Int64) - 1,
        )
        self._stamps = rows.filter(_differs("symbol", "ts"))["ts"]
        self.rows = (
            known.filter(_differs("period", "available_at", before=-1))
            .with_columns(first=pl.col("period").first().over("symbol"))
            .sort("symbol", "available_at", "period")
            .with_columns(settled=_differs("symbol", "available_at", before=-1))
        )

    @cached_property
    def order(self) -> Order:
        """Where each row stands."""
        period, first, settled = (self.rows[name].to_numpy() for name in ("period", "first", "settled"))
        return Order(period, first, settled, self._stamps.to_physical().to_numpy())

    @cached_property
    def moments(self) -> np.ndarray:
        """Microseconds since the epoch at which each row became known."""
        return self.rows["available_at"].to_physical().to_numpy()

    def values(self, expr: pl.Expr) -> np.ndarray:
        """Evaluate an expression over the names of the series, one value a row."""
        return self.rows.with_columns(_made=expr.cast(pl.Float64).fill_null(np.nan))["_made"].to_numpy()

    def steps(self, statistics: Sequence[Statistic]) -> pl.DataFrame:
        """One row a moment: ``symbol, available_at`` and the statistics' columns, null where unknown."""
        columns = {name: column for one in statistics for name, column in one.of(self).items()}
        return (
            self.rows.select("symbol", "available_at", "settled")
            .with_columns(pl.Series(name, column).fill_nan(None) for name, column in columns.items())
            .filter("settled")
            .drop("settled")
        )


class Statistic(Protocol):
    """Something about the past of a series, as it was known."""

    def of(self, replay: Replay) -> Mapping[str, np.ndarray]:
        """Columns of the statistic, one value for each row of the replay, NaN where unknown."""
        ...


@dataclass(frozen=True)
class Past:
    """Where the current value stands among those of the `WINDOW` before it.

    Columns ``<name>.value`` (current), ``.median``, ``.spread`` (1.4826 times the median absolute deviation)
    and ``.rank`` (share of past values below, equal ones by half). All but the first need `ENOUGH` known
    periods.

    Parameters
    ----------
    name : str
        Prefix of the columns.
    value : pl.Expr
        Over the names of the series.
    """

    name: str
    value: pl.Expr

    def of(self, replay: Replay) -> Mapping[str, np.ndarray]:
        """See `Statistic.of`."""
        made = _past(replay.order, replay.values(self.value), WINDOW // MICROSECOND, ENOUGH)
        return {
            f"{self.name}.{what}": made[k] for k, what in enumerate(("value", "median", "spread", "rank"))
        }


@dataclass(frozen=True)
class Trailing:
    """Sum and number of the known values in the periods that began within ``length`` of the current one.

    Columns ``<name>.sum`` and ``<name>.count``; the current period belongs to it.

    Parameters
    ----------
    name : str
        Prefix of the columns.
    value : pl.Expr
        Over the names of the series.
    length : timedelta
        Seven days hold seven daily periods.
    """

    name: str
    value: pl.Expr
    length: timedelta

    def of(self, replay: Replay) -> Mapping[str, np.ndarray]:
        """See `Statistic.of`."""
        made = _trailing(replay.order, replay.values(self.value), self.length // MICROSECOND - JITTER)
        return {f"{self.name}.sum": made[0], f"{self.name}.count": made[1]}


@dataclass(frozen=True)
class Earlier:
    """The current value, and the one known now of ``back`` earlier, or of up to ``tolerance`` before that.

    Columns ``<name>.value`` and ``<name>.earlier``.

    Parameters
    ----------
    name : str
        Prefix of the columns.
    value : pl.Expr
        Over the names of the series.
    back, tolerance : timedelta
    """

    name: str
    value: pl.Expr
    back: timedelta = timedelta(hours=24)
    tolerance: timedelta = timedelta(hours=12)

    def of(self, replay: Replay) -> Mapping[str, np.ndarray]:
        """See `Statistic.of`."""
        newest = self.back // MICROSECOND - JITTER
        oldest = (self.back + self.tolerance) // MICROSECOND
        made = _earlier(replay.order, replay.values(self.value), newest, oldest)
        return {f"{self.name}.value": made[0], f"{self.name}.earlier": made[1]}


def _differs(*columns: str, before: int = 1) -> pl.Expr:
    """Whether a row has other values than the one before it, or after it (-1)."""
    other = pl.any_horizontal(pl.col(name) != pl.col(name).shift(before) for name in columns)
    return other.fill_null(value=True)


def _believed(name: str, series: Sequence[str]) -> pl.Expr:
    """Value of a series in its own rows, NaN where nobody can believe it.

    In rows of the other series it is null, to be filled with what was known before of the same period; at
    the beginning of a period that is nothing, NaN.
    """
    value, declared = pl.col("value"), SERIES[name]
    plausible = value.is_finite() & value.is_between(declared.lower, declared.upper)
    believed = pl.when(plausible.fill_null(value=False)).then(value).otherwise(np.nan)
    if len(series) == 1:
        return believed
    return pl.when(pl.col("series") == name).then(believed).when("begins").then(np.nan)


# The kernels below replay the rows: ``known`` holds the latest vintage of each period, ``current`` the newest
# period of the symbol at hand. Sums are taken anew at each moment: none depends on where history begins.


@njit(cache=True)
def _past(order, value, window, enough):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.full((4, len(value)), np.nan)
    period, first, settled, stamp = order
    known = np.full(len(stamp), np.nan)
    ordered = np.empty(len(stamp))
    size, low, current = 0, 0, -1
    for e in range(len(value)):
        p = period[e]
        if current < first[e]:
            size, low, current = 0, first[e], p
        elif p > current:
            if np.isfinite(known[current]):
                size = _insert(ordered, size, known[current])
            current = p
        elif p < current and low <= p:
            if np.isfinite(known[p]):
                size = _remove(ordered, size, known[p])
            if np.isfinite(value[e]):
                size = _insert(ordered, size, value[e])
        known[p] = value[e]
        while stamp[low] < stamp[current] - window:
            if np.isfinite(known[low]):
                size = _remove(ordered, size, known[low])
            low += 1
        if not settled[e]:
            continue
        now = known[current]
        out[0, e] = now if np.isfinite(now) else np.nan
        if size >= enough:
            past = ordered[:size]
            out[1, e] = 0.5 * (past[(size - 1) // 2] + past[size // 2])
            out[2, e] = NORMAL_MAD * _median_deviation(past, out[1, e])
            if np.isfinite(now):
                below = np.searchsorted(past, now)
                equal = np.searchsorted(past, now, side="right") - below
                out[3, e] = (below + 0.5 * equal) / size
    return out


@njit(cache=True)
def _insert(ordered, size, value):  # type: ignore[no-untyped-def]  # pragma: no cover
    at = np.searchsorted(ordered[:size], value)
    for k in range(size, at, -1):
        ordered[k] = ordered[k - 1]
    ordered[at] = value
    return size + 1


@njit(cache=True)
def _remove(ordered, size, value):  # type: ignore[no-untyped-def]  # pragma: no cover
    for k in range(np.searchsorted(ordered[:size], value), size - 1):
        ordered[k] = ordered[k + 1]
    return size - 1


@njit(cache=True)
def _median_deviation(ordered, center):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Median distance of sorted values from a centre."""
    half = len(ordered) // 2
    upper = _nearest(ordered, center, half)
    return upper if len(ordered) % 2 else 0.5 * (_nearest(ordered, center, half - 1) + upper)


@njit(cache=True)
def _nearest(ordered, center, rank):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance of the value that is ``rank`` others farther from the centre than the nearest.

    The ``rank + 1`` nearest are neighbours; their first is found by bisection.
    """
    low, high = 0, len(ordered) - 1 - rank
    while low < high:
        middle = (low + high) // 2
        if center - ordered[middle] > ordered[middle + rank + 1] - center:
            low = middle + 1
        else:
            high = middle
    return max(center - ordered[low], ordered[low + rank] - center)


@njit(cache=True)
def _trailing(order, value, length):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.full((2, len(value)), np.nan)
    period, first, settled, stamp = order
    known = np.full(len(stamp), np.nan)
    current = -1
    for e in range(len(value)):
        current = period[e] if current < first[e] else max(current, period[e])
        known[period[e]] = value[e]
        if not settled[e]:
            continue
        total, count = 0.0, 0
        p = current
        while p >= first[e] and stamp[p] > stamp[current] - length:
            if np.isfinite(known[p]):
                total += known[p]
                count += 1
            p -= 1
        out[0, e], out[1, e] = total, count
    return out


@njit(cache=True)
def _earlier(order, value, newest, oldest):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.full((2, len(value)), np.nan)
    period, first, settled, stamp = order
    known = np.full(len(stamp), np.nan)
    current = -1
    for e in range(len(value)):
        current = period[e] if current < first[e] else max(current, period[e])
        known[period[e]] = value[e]
        if not settled[e]:
            continue
        out[0, e] = known[current]
        p = current
        while p >= first[e] and stamp[p] >= stamp[current] - oldest:
            if stamp[p] <= stamp[current] - newest and np.isfinite(known[p]):
                out[1, e] = known[p]
                break
            p -= 1
    return out
