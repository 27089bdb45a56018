"""Walking pages: whatever a source sends of a window, every row of its range comes once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from resources.feeds.connectors.pages import Row, duplicate_findings, edge_gaps, sift, walk


def rows(*stamps: int) -> list[Row]:
    return [(stamp, (float(stamp),)) for stamp in stamps]


def stamps(pages: Any) -> list[int]:
    return [row[0] for page in pages for row in page.rows]


def source(held: Sequence[int], limit: int, end: str) -> Callable[[int, int], list[Row]]:
    """A source that sends at most ``limit`` rows, from the old or the new end of the window."""

    def fetch(since: int, until: int) -> list[Row]:
        found = [stamp for stamp in sorted(held) if since <= stamp < until]
        return rows(*(found[:limit] if end == "oldest" else found[-limit:]))

    return fetch


@given(
    held=st.sets(st.integers(0, 120), max_size=80),
    limit=st.integers(1, 30),
    span=st.integers(1, 60),
    usual=st.integers(1, 20),
    end=st.sampled_from(["oldest", "newest"]),
)
def test_every_row_comes_once_and_in_order(
    held: set[int], limit: int, span: int, usual: int, end: str
) -> None:
    # A hole no longer than usual at the front is trusted, so a source that sends the newest needs usual = 1.
    pages = walk(
        source(list(held), limit, end),
        10,
        110,
        span=span,
        step=1,
        usual=usual if end == "oldest" else 0,
        source="test",
    )
    assert stamps(pages) == sorted(stamp for stamp in held if 10 <= stamp < 110)


def test_a_source_stuck_in_the_past_is_an_error() -> None:
    with pytest.raises(DataError, match=r"test: no progress: asked from 1970-01-01 00:00:00\.005000"):
        list(walk(lambda *_: rows(1, 2, 3, 4), 0, 100, span=50, step=1, usual=1, source="test"))


def test_rows_beyond_the_window_wait_for_their_own() -> None:
    asked = []

    def fetch(since: int, until: int) -> list[Row]:
        asked.append((since, until))
        return rows(*range(since, since + 8))

    pages = list(walk(fetch, 0, 20, span=5, step=1, usual=1, source="test"))
    assert stamps(pages) == list(range(20))
    assert asked == [(0, 5), (5, 10), (10, 15), (15, 20)]


def test_sift_tells_repetition_from_contradiction() -> None:
    answer = [*rows(3, 1, 2), *rows(2), (1, (9.0,)), *rows(0)]
    page = sift(answer, 1, 4, {0: (0, (5.0,))})
    assert page.rows == rows(1, 2, 3)
    assert page.repeated == [2]
    assert page.conflicts == [((1, (1.0,)), (1, (9.0,))), ((0, (5.0,)), (0, (0.0,)))]


def test_duplicates_are_reported_with_place_and_values() -> None:
    page = sift([*rows(1000, 2000), (2000, (7.0,)), *rows(1000)], 0, 5000, {})
    agreeing, differing = duplicate_findings([page], "raw.candles", "BTC/USDT")
    assert (agreeing.severity, agreeing.count) == ("info", 1)
    assert (differing.severity, differing.count) == ("warn", 1)
    assert differing.first == datetime.fromisoformat("1970-01-01 00:00:02")
    assert "(2000.0,), then (7.0,)" in differing.detail
    assert duplicate_findings([sift(rows(1), 0, 2, {})], "raw.candles", "BTC/USDT") == []


@pytest.mark.parametrize(
    ("first", "last", "expected", "counts"),
    [
        (0, 90, range(0, 100, 10), []),
        (30, 90, range(0, 100, 10), [("info", 3)]),
        (0, 60, range(0, 100, 10), [("warn", 3)]),
        (30, 60, range(0, 100, 10), [("info", 3), ("warn", 3)]),
        (None, None, range(0, 100, 10), [("info", 10)]),
        (None, None, range(0), []),
    ],
)
def test_bars_missing_at_the_edges(
    first: int | None, last: int | None, expected: range, counts: list[tuple[str, int]]
) -> None:
    found = edge_gaps("raw.candles", "BTC/USDT", first, last, expected)
    assert [(finding.severity, finding.count) for finding in found] == counts
