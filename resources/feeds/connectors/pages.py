"""Walking a paged source forward in time, and telling what its pages repeat, contradict or lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from engine.errors import DataError
from engine.market.finding import Finding, Reading, Severity
from resources.feeds.connectors.moments import from_milliseconds

__all__ = ["Page", "Row", "duplicate_findings", "edge_gaps", "joined", "sift", "walk"]

Row = tuple[int, tuple[float | None, ...]]
"""Milliseconds since the epoch, and the values."""

_INFO: Severity = "info"
_WARN: Severity = "warn"


@dataclass(frozen=True)
class Page:
    """What one answer adds.

    Parameters
    ----------
    rows : list of Row
        New rows inside the window asked for, ascending, each stamp once.
    repeated : list of int
        Stamps that were delivered again with the same values.
    conflicts : list of (Row, Row)
        Rows that were delivered again with other values: the first delivered, which is kept, and the later.
    """

    rows: list[Row]
    repeated: list[int]
    conflicts: list[tuple[Row, Row]]


def sift(answer: Sequence[Row], low: int, high: int, seen: Mapping[int, Row]) -> Page:
    """Sort an answer into new rows with ``low <= stamp < high``, repetitions and contradictions."""
    rows: dict[int, Row] = {}
    repeated: list[int] = []
    conflicts: list[tuple[Row, Row]] = []
    for row in answer:
        known = rows.get(row[0]) or seen.get(row[0])
        if known is None:
            if low <= row[0] < high:
                rows[row[0]] = row
        elif known == row:
            repeated.append(row[0])
        else:
            conflicts.append((known, row))
    return Page([rows[stamp] for stamp in sorted(rows)], repeated, conflicts)


def walk(
    fetch: Callable[[int, int], Sequence[Row]],
    start: int,
    end: int,
    *,
    span: int,
    step: int,
    usual: int,
    source: str,
) -> Iterator[Page]:
    """Ask for ``[start, end)`` window by window and yield what each adds.

    Sources differ in how many rows they send at most, and in which they send when a window holds more: the
    oldest or the newest. So the next window begins after the newest row, however many came, and whatever an
    answer leaves out at the front of its window is asked for until it is there or is answered empty. Neither
    kind leaves a hole that is not in the source itself.

    Parameters
    ----------
    fetch : callable
        ``fetch(since, until)`` returns rows from ``since`` to before ``until``, milliseconds.
    start, end : int
        Range, milliseconds; the end is exclusive.
    span : int
        Longest window, milliseconds.
    step, usual : int
        Least and longest ordinary distance of two rows, milliseconds.
    source : str
        Named in errors.

    Raises
    ------
    DataError
        If an answer holds only rows older than asked for: the source ignores the start it is given, and
        asking on would never end.
    """
    cursor, seen = start, dict[int, Row]()
    while cursor < end:
        until = min(end, cursor + span)
        answer = _whole_window(fetch, cursor, until, usual, source)
        page = sift(answer, cursor, until, seen)
        yield page
        seen = {row[0]: row for row in page.rows}
        cursor = page.rows[-1][0] + step if page.rows else until


def _whole_window(
    fetch: Callable[[int, int], Sequence[Row]], low: int, high: int, usual: int, source: str
) -> list[Row]:
    rows: list[Row] = []
    while part := fetch(low, high):
        stamps = [row[0] for row in part]
        if max(stamps) < low:
            raise DataError(
                f"no progress: asked from {from_milliseconds(low)}, the answer ends at "
                f"{from_milliseconds(max(stamps))}; the source ignores the start of the window",
                source=source,
            )
        rows = [*part, *rows]
        first = min((stamp for stamp in stamps if stamp >= low), default=high)
        if first - low <= usual or first >= high:
            break
        high = first
    return rows


def duplicate_findings(pages: Iterable[Page], table: str, series: str) -> list[Finding]:
    """Report rows that came more than once: ``info`` where they agree, ``warn`` where they differ."""
    pages = list(pages)
    repeated = sorted(stamp for page in pages for stamp in page.repeated)
    conflicts = sorted((pair for page in pages for pair in page.conflicts), key=lambda pair: pair[0][0])
    findings = []
    if repeated:
        findings.append(
            Finding(
                table,
                series,
                "duplicate",
                "info",
                from_milliseconds(repeated[0]),
                from_milliseconds(repeated[-1]),
                len(repeated),
                "delivered again with the same values; kept once",
                "pages overlap",
            )
        )
    if conflicts:
        first, later = conflicts[0]
        findings.append(
            Finding(
                table,
                series,
                "duplicate",
                "warn",
                from_milliseconds(first[0]),
                from_milliseconds(conflicts[-1][0][0]),
                len(conflicts),
                f"delivered again with other values; the first is kept: {first[1]}, then {later[1]}",
                "the source changed while it was read, or contradicts itself",
            )
        )
    return findings


def joined(readings: Iterable[Reading], empty: pl.DataFrame, by: Sequence[str]) -> Reading:
    """Put pages together, sorted ``by``; ``empty`` gives the columns where there is no page."""
    pages = list(readings)
    frame = pl.concat([empty, *(page.frame for page in pages)]).sort(by)
    return Reading(frame, tuple(finding for page in pages for finding in page.findings))


def edge_gaps(table: str, series: str, first: int | None, last: int | None, expected: range) -> list[Finding]:
    """Report bars missing before the first and after the last that a source has, not the holes between.

    Parameters
    ----------
    first, last : int or None
        Stamps of the first and last bar delivered, milliseconds; None where there is none at all.
    expected : range
        Stamps asked for, of bars that have ended.
    """
    before = expected if first is None else range(expected.start, first, expected.step)
    after = range(0) if last is None else range(last + expected.step, expected.stop, expected.step)
    return [
        Finding(
            table,
            series,
            "gap",
            severity,
            from_milliseconds(missing[0]),
            from_milliseconds(missing[-1]),
            len(missing),
            f"the source has no bar {where} in the range asked for",
            cause,
        )
        for missing, severity, where, cause in (
            (before, _INFO, "before its first", "not listed yet, or an outage"),
            (after, _WARN, "after its last", "delisted, or an outage that lasts"),
        )
        if missing
    ]
