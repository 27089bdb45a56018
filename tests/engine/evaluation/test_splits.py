"""Splits: a case worked by hand, and the properties every walk forward must have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Split, Window, fit_dates, select, walk_forward

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC)


def hour(n: float) -> datetime:
    return (START + n * HOUR).replace(tzinfo=None)


def hours(window: Window) -> tuple[float, float]:
    return ((window.start - hour(0)) / HOUR, (window.end - hour(0)) / HOUR)


def test_case_worked_by_hand() -> None:
    splits = walk_forward(
        START,
        START + 29 * HOUR,
        train=10 * HOUR,
        calibrate=4 * HOUR,
        test=4 * HOUR,
        horizon=2 * HOUR,
        embargo=HOUR,
    )
    # train 0-10, purge 2 and embargo 1, calibrate 13-17, again 3, test 20-24; then everything 4 h later;
    # a third test window would have 1 of 4 hours left, below half
    assert [tuple(map(hours, (s.train, s.calibrate, s.test))) for s in splits] == [
        ((0, 10), (13, 17), (20, 24)),
        ((4, 14), (17, 21), (24, 28)),
    ]
    assert [s.number for s in splits] == [0, 1]


def test_a_last_test_window_of_half_the_length_is_kept() -> None:
    lengths = {
        "train": 10 * HOUR,
        "calibrate": 4 * HOUR,
        "test": 4 * HOUR,
        "horizon": 2 * HOUR,
        "embargo": HOUR,
    }
    splits = walk_forward(START, START + 30 * HOUR, **lengths)
    assert hours(splits[-1].test) == (28, 30)


def test_expanding_keeps_the_beginning() -> None:
    splits = walk_forward(
        START,
        START + 40 * HOUR,
        train=10 * HOUR,
        calibrate=4 * HOUR,
        test=4 * HOUR,
        horizon=HOUR,
        expanding=True,
    )
    assert {s.train.start for s in splits} == {hour(0)}
    assert [s.train.days * 24 for s in splits] == pytest.approx([10 + 4 * k for k in range(len(splits))])


def test_too_little_data_says_how_much_is_needed() -> None:
    with pytest.raises(NotEnoughDataError, match=r"needs 4\.00 days"):
        walk_forward(
            START,
            START + 95 * HOUR,
            train=60 * HOUR,
            calibrate=10 * HOUR,
            test=20 * HOUR,
            horizon=6 * HOUR,
            embargo=2 * HOUR,
        )


@pytest.mark.parametrize("name", ["train", "calibrate", "test", "horizon"])
def test_lengths_must_be_positive(name: str) -> None:
    lengths = {"train": 10 * HOUR, "calibrate": 4 * HOUR, "test": 4 * HOUR, "horizon": HOUR} | {
        name: timedelta(0)
    }
    with pytest.raises(ValueError, match=name):
        walk_forward(START, START + 99 * HOUR, **lengths)


def test_overlapping_test_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        walk_forward(
            START,
            START + 99 * HOUR,
            train=9 * HOUR,
            calibrate=HOUR,
            test=4 * HOUR,
            horizon=HOUR,
            step=3 * HOUR,
        )


def test_a_split_made_by_hand_without_room_for_the_purge_is_refused() -> None:
    train, calibrate, test = Window(hour(0), hour(9)), Window(hour(10), hour(12)), Window(hour(14), hour(16))
    Split(0, train, calibrate, test, purge=HOUR, embargo=timedelta(0))
    with pytest.raises(ValueError, match="train and calibrate"):
        Split(0, train, calibrate, test, purge=HOUR, embargo=HOUR)
    with pytest.raises(ValueError, match="purge"):
        Split(0, train, calibrate, test, purge=timedelta(0), embargo=HOUR)


def test_window_is_half_open_in_utc() -> None:
    window = Window(START.astimezone(timezone(timedelta(hours=5))), START + 2 * HOUR)
    frame = pl.DataFrame({"ts": [hour(-1), hour(0), hour(1), hour(2)]})
    assert frame.filter(window.mask())["ts"].to_list() == [hour(0), hour(1)]
    assert [window.contains(t) for t in (hour(-1), hour(0), START + HOUR, hour(2))] == [
        False,
        True,
        True,
        False,
    ]
    with pytest.raises(ValueError, match="not after"):
        Window(hour(1), hour(1))


def test_select_drops_labels_that_end_after_the_window() -> None:
    frame = pl.DataFrame(
        {"ts": [hour(k) for k in range(6)], "label_end": [*(hour(k + 2) for k in range(5)), None]}
    )
    window = Window(hour(1), hour(6))
    assert select(frame, window)["ts"].to_list() == [hour(k) for k in (1, 2, 3, 4, 5)]
    # the label of bar 4 is known at hour 6, when the window ends; bar 5 has none
    assert select(frame, window, "label_end")["ts"].to_list() == [hour(k) for k in (1, 2, 3, 4)]
    assert select(frame, Window(hour(1), hour(5)), "label_end")["ts"].to_list() == [
        hour(k) for k in (1, 2, 3)
    ]


@settings(deadline=None)
@given(
    train=st.integers(1, 60),
    calibrate=st.integers(1, 20),
    test=st.integers(1, 20),
    holding=st.integers(0, 10),
    embargo=st.integers(0, 5),
    extra=st.integers(0, 120),
    expanding=st.booleans(),
)
def test_no_label_reaches_the_next_window_and_test_windows_tile(
    train: int, calibrate: int, test: int, holding: int, embargo: int, extra: int, expanding: bool
) -> None:
    span = holding + 1
    length = train + calibrate + 2 * (span + embargo) + test + extra
    splits = walk_forward(
        START,
        START + length * HOUR,
        train=train * HOUR,
        calibrate=calibrate * HOUR,
        test=test * HOUR,
        horizon=span * HOUR,
        embargo=embargo * HOUR,
        expanding=expanding,
    )
    bars = [hour(k) for k in range(length)]
    for split in splits:
        for before, after in ((split.train, split.calibrate), (split.calibrate, split.test)):
            for ts in bars:
                if before.contains(ts):
                    touched = [ts + k * HOUR for k in range(1, span + 1)]
                    assert not any(after.contains(t) for t in touched)
                    assert after.start - touched[-1] > split.embargo - HOUR
        assert split.test.end <= hour(length)
        assert split.test.days * 24 >= test / 2
    for one, following in pairwise(splits):
        assert one.test.end == following.test.start
        assert one.test.days * 24 == pytest.approx(test)
    uncovered = (hour(length) - splits[-1].test.end) / HOUR
    assert uncovered < max(test / 2, 1)


def test_fits_are_counted_from_the_first_bar() -> None:
    day = timedelta(days=1)
    ts = pl.Series([datetime(2024, 1, 1) + i * day for i in range(100)])
    dates = fit_dates(ts, 30 * day, 45 * day)
    assert dates == [datetime(2024, 2, 15), datetime(2024, 3, 16)]
    assert fit_dates(ts.head(90), 30 * day, 45 * day) == dates, "what comes later moves no date"
    assert fit_dates(ts.head(40), 30 * day, 45 * day) == []
    assert fit_dates(ts.head(0), 30 * day, 45 * day) == []
