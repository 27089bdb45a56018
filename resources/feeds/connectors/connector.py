"""What a source of one kind of observations offers to the exchange feed, and the frame its rows go into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from math import isfinite
from typing import Protocol

import polars as pl

from engine.alternative.series import SERIES
from engine.alternative.vintages import OBSERVATION_SCHEMA, first_known
from engine.errors import DataError
from engine.market.finding import Finding, Reading

__all__ = ["Clock", "Connector", "Observation", "number", "observations", "settled", "unavailable"]

Clock = Callable[[], datetime]
Observation = tuple[str, str, datetime, datetime, float, str]
"""Series, symbol, ts, available_at, value, source."""


class Connector(Protocol):
    """A source of the observations of one raw table."""

    table: str

    def pages(self, symbols: Sequence[str], start: datetime, end: datetime, now: Clock) -> Iterator[Reading]:
        """Yield observations with ``start <= ts < end``, oldest first for each symbol.

        Whatever was yielded is complete: a caller that stores each page and is interrupted can begin again
        after the last ``ts`` that it stored for the symbol.
        """
        ...


def observations(rows: Iterable[Observation], findings: Iterable[Finding] = ()) -> Reading:
    """Put rows into the frame of observations, sorted by its key."""
    frame = pl.DataFrame(list(rows), schema=OBSERVATION_SCHEMA, orient="row")
    return Reading(frame.sort("series", "symbol", "ts", "available_at"), tuple(findings))


def settled(
    rows: Iterable[tuple[str, str, datetime, float]], source: str, fetched_at: datetime, table: str
) -> Reading:
    """Observations (series, symbol, ts, value) of periods that have ended, with when they became known.

    A period has ended when its declared lag has passed. Later ones are left out and reported: their values
    are still to change.
    """
    ended: list[Observation] = []
    running: dict[tuple[str, str], list[datetime]] = {}
    for name, symbol, ts, value in rows:
        series = SERIES[name]
        if ts + series.lag > fetched_at:
            running.setdefault((name, symbol), []).append(ts)
        else:
            ended.append((name, symbol, ts, first_known(ts, series, fetched_at), value, source))
    findings = [
        Finding(
            f"raw.{table}",
            f"{name} {symbol}",
            "unfinished",
            "info",
            min(stamps),
            max(stamps),
            len(stamps),
            f"the period is not over at {fetched_at}; left out",
            "read before the period ended",
        )
        for (name, symbol), stamps in running.items()
    ]
    return observations(ended, findings)


def unavailable(table: str, series: str, detail: str, cause: str) -> Finding:
    """Report that a source has nothing to give for a series."""
    return Finding(f"raw.{table}", series, "missing_value", "info", None, None, 0, detail, cause)


def number(text: object, *, source: str, column: str, row: int | None = None) -> float:
    """Read a number that a source writes as text or number.

    Raises
    ------
    DataError
        If it is missing, not a number, or not finite.
    """
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = float("nan")
    if not isfinite(value):
        raise DataError(f"{text!r} is not a finite number", source=source, row=row, column=column)
    return value
