from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.patterns.memory import MemoryStore
from engine.patterns.windows import LENGTH, PatternWindows

HOUR = timedelta(hours=1)
START = np.datetime64(datetime(2024, 1, 1), "us")
HORIZON, EMBARGO = 12, 3
FAR = LENGTH + HORIZON + EMBARGO


def at(hours):
    return START + np.asarray(hours) * np.timedelta64(HOUR)


def store(hours, points, late=None, symbol=None, outcome=None):
    """A memory of windows that end at the hours given; `late` delays when the outcome is known."""
    hours = np.asarray(hours)
    symbol = np.zeros(len(hours), np.int16) if symbol is None else np.asarray(symbol, np.int16)
    late = np.zeros(len(hours), int) if late is None else np.asarray(late)
    known = hours + 1 + HORIZON + late
    order = np.lexsort((symbol, hours, np.maximum(hours + FAR, known)))
    outcome = np.arange(len(hours), dtype=float) if outcome is None else np.asarray(outcome, float)
    return MemoryStore(
        ("A", "B"), symbol[order], at(hours[order]), np.asarray(points, np.float32)[order], outcome[order],
        at(known[order]), HOUR, HORIZON, EMBARGO,
    )  # fmt: skip


def brute_force(memory, point, moment, top_k, apart):
    """What the search should find, one entry after the other."""
    far = (LENGTH + memory.horizon + memory.embargo) * np.timedelta64(HOUR)
    seen = [k for k in range(len(memory)) if memory.ts[k] + far <= moment and memory.known_at[k] <= moment]
    squared = {k: float(((point.astype(float) - memory.embedding[k].astype(float)) ** 2).sum()) for k in seen}
    taken = []
    for k in sorted(seen, key=lambda k: (squared[k], k)):
        if len(taken) < top_k and all(
            abs(memory.ts[k] - memory.ts[j]) >= apart * np.timedelta64(HOUR) for j in taken
        ):
            taken.append(k)
    return taken


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0, 1, 30]), st.booleans())
def test_search_equals_brute_force(seed, top_k, apart, coarse):
    """With ties (points on a coarse grid) and without, with outcomes that are known late."""
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 150))
    points = random.normal(size=(n, 3))
    memory = store(
        random.integers(0, 300, n),
        np.round(points) if coarse else points,
        random.choice([0, 0, 200], n),
        random.integers(0, 2, n),
    )
    hours = random.integers(0, 500, 12)
    queries = random.normal(size=(12, 3)).astype(np.float32)
    found = memory.search(np.round(queries) if coarse else queries, at(hours), top_k, apart)
    for q in range(12):
        point = np.round(queries[q]) if coarse else queries[q]
        expected = brute_force(memory, point, at(hours[q]), top_k, apart)
        assert found.index[q][found.index[q] >= 0].tolist() == expected
        assert np.isfinite(found.distance[q]).sum() == len(expected)
        assert (np.diff(found.distance[q][: len(expected)]) >= 0).all()


def test_windows_that_overlap_are_never_neighbours_and_would_be_the_nearest():
    """The wrong version, plain nearest neighbours, returns windows that share bars with the query."""
    path = np.cumsum(np.random.default_rng(0).normal(size=(400, 4)), axis=0)
    memory = store(np.arange(400), path)
    hours = np.arange(150, 400)
    found = memory.search(path[hours], at(hours), 5, 0)
    assert (hours[:, None] - (memory.ts[found.index] - START) // np.timedelta64(HOUR) >= FAR).all()
    naive = ((path[hours][:, None] - path[None]) ** 2).sum(axis=2).argsort(axis=1)[:, :5]
    assert (np.abs(hours[:, None] - naive) < LENGTH).mean() > 0.5


def test_an_entry_is_seen_from_the_first_bar_on_that_is_far_enough():
    memory = store([100], [[1.0, 0.0]])
    for hours, count in ((100 + FAR - 1, 0), (100 + FAR, 1)):
        assert len(memory.matches(np.array([1.0, 0.0], np.float32), at(hours))) == count
    assert memory.matches(np.array([1.0, 0.0], np.float32), at(50)) == []


def test_other_symbols_are_kept_at_the_same_distance():
    """They share the market: a window of ETH an hour ago tells of the future of BTC's window."""
    memory = store([100, 100], [[1.0, 0.0], [1.0, 0.0]], symbol=[0, 1])
    assert memory.usable(at([100 + FAR - 1, 100 + FAR])).tolist() == [0, 2]


def test_an_outcome_that_is_not_known_yet_hides_the_entry():
    """The wrong version, distance in time alone, would return it."""
    memory = store([100], [[1.0, 0.0]], late=[200])
    known = 100 + 1 + HORIZON + 200
    assert known - 1 > 100 + FAR
    assert memory.matches(np.array([1.0, 0.0], np.float32), at(known - 1)) == []
    (match,) = memory.matches(np.array([1.0, 0.0], np.float32), at(known))
    assert np.datetime64(match.known_at) == at(known)


def test_what_is_remembered_later_changes_no_earlier_answer():
    random = np.random.default_rng(1)
    points = random.normal(size=(300, 5))
    queries, hours = random.normal(size=(50, 5)), random.integers(0, 200, 50)
    whole, cut = store(np.arange(300), points), store(np.arange(200), points[:200])
    for name in ("index", "distance"):
        first, second = (getattr(memory.search(queries, at(hours), 4), name) for memory in (whole, cut))
        np.testing.assert_array_equal(first, second)


def test_neighbours_are_of_different_stretches_of_time():
    """Twenty windows of one event are all nearest; they count once."""
    points = np.zeros((200, 2))
    points[100:120, 0] = np.linspace(0.0, 0.01, 20)
    points[:100, 1] = points[120:, 1] = 5.0
    memory = store(np.arange(200), points)
    query, moment = np.zeros((1, 2), np.float32), at([1000])
    apart, together = (memory.search(query, moment, 3, apart).index[0] for apart in (30, 0))
    assert apart[0] == 100
    assert (np.diff(np.sort(apart)) >= 30).all()
    assert together.tolist() == [100, 101, 102]


def test_equal_distances_go_to_the_earlier_then_to_the_first_symbol():
    memory = store([10, 10, 5, 50], np.ones((4, 2)), symbol=[1, 0, 1, 0])
    found = memory.search(np.ones((1, 2), np.float32), at([1000]), 4, 0)
    hours = (memory.ts[found.index[0]] - START) // np.timedelta64(HOUR)
    symbols = memory.symbol[found.index[0]]
    assert list(zip(hours.tolist(), symbols.tolist(), strict=True)) == [(5, 1), (10, 0), (10, 1), (50, 0)]


def test_bytes_hold_everything_and_a_pickle_is_refused():
    random = np.random.default_rng(2)
    memory = store(np.arange(40), random.normal(size=(40, 3)), symbol=random.integers(0, 2, 40))
    again = MemoryStore.from_bytes(memory.to_bytes())
    assert again.to_bytes() == memory.to_bytes()
    query = random.normal(size=3).astype(np.float32)
    assert again.matches(query, at(200)) == memory.matches(query, at(200))
    with pytest.raises(DataError, match="no pattern memory"):
        MemoryStore.from_bytes(b"\x80\x04K\x01.")


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="not finite"):
        store([1, 2], [[0.0, np.nan], [0.0, 1.0]])
    memory = store([1, 2], np.eye(2))
    with pytest.raises(ValueError, match="top_k = 0"):
        memory.search(np.eye(2), at([100, 100]), 0)
    with pytest.raises(ValueError, match="expected one row of 2"):
        memory.search(np.eye(3), at([100] * 3))
    with pytest.raises(DataError, match="order in which they come into use"):
        MemoryStore(
            ("A",), memory.symbol, memory.ts[::-1], memory.embedding, memory.outcome, memory.known_at[::-1],
            HOUR, HORIZON, EMBARGO,
        )  # fmt: skip


def test_windows_without_a_label_are_not_remembered_and_labels_find_their_window():
    ts = at(np.arange(80))
    windows = PatternWindows(("A",), np.zeros(80, np.int16), ts, np.zeros((80, 2), np.float32), HOUR)
    labelled = pl.DataFrame(
        {
            "symbol": "A",
            "ts": pl.Series(ts[:60]).cast(pl.Datetime("us")),
            "horizon": np.full(60, HORIZON),
            "label": np.arange(60.0),
            "label_end": pl.Series(at(np.arange(60) + 1 + HORIZON)).cast(pl.Datetime("us")),
        }
    )
    points = np.arange(80.0, dtype=np.float32)[windows.ends][:, None]
    memory = MemoryStore.of(
        windows, windows.ends, points, labelled.sample(fraction=1.0, shuffle=True, seed=1)
    )
    assert len(memory) == 60 - LENGTH + 1
    np.testing.assert_array_equal(memory.outcome, memory.embedding[:, 0])
    mixed = pl.concat([labelled, labelled.with_columns(horizon=pl.lit(5, pl.Int64))])
    with pytest.raises(DataError, match="horizons"):
        MemoryStore.of(windows, windows.ends, points, mixed)
