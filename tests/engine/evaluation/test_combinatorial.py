from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV

from engine.errors import NotEnoughDataError
from engine.evaluation.combinatorial import combinatorial_splits, paths

HOUR = timedelta(hours=1)
BEGIN = np.datetime64("2024-01-01T00:00:00", "us")


def hours(*values):
    return BEGIN + np.array(values) * np.timedelta64(HOUR)


def test_tiny_case_by_hand():
    """Twelve hours, labels of one hour, groups of four; train on the third group when the others test."""
    start = hours(*range(12))
    splits = combinatorial_splits(start, start + np.timedelta64(HOUR), groups=3, test_groups=2)
    assert [split.groups for split in splits] == [(0, 1), (0, 2), (1, 2)]
    # the label of row 7 ends at 8, where row 8 starts, so row 8 goes
    assert splits[0].train.tolist() == [9, 10, 11]
    # row 3's label ends at 4, and row 7's ends at 8 where the test begins
    assert splits[1].train.tolist() == [5, 6]
    assert splits[2].train.tolist() == [0, 1, 2]
    assert [rows.tolist() for rows in splits[1].tests] == [[0, 1, 2, 3], [8, 9, 10, 11]]


def test_embargo_starts_where_the_purge_ends():
    """A test on rows 0 to 5 with labels of two hours spans to 7; an embargo of one hour takes row 8."""
    start = hours(*range(18))
    end = start + np.timedelta64(2 * HOUR)
    purged = combinatorial_splits(start, end, groups=3, test_groups=2)
    assert [split.train.tolist() for split in purged] == [[14, 15, 16, 17], [8, 9], [0, 1, 2, 3]]
    later = combinatorial_splits(start, end, groups=3, test_groups=2, embargo=HOUR)
    assert [split.train.tolist() for split in later] == [[15, 16, 17], [9], [0, 1, 2, 3]]


def test_six_groups_two_in_test():
    start = hours(*range(240))
    splits = combinatorial_splits(start, start + np.timedelta64(6 * HOUR), embargo=3 * HOUR)
    assert len(splits) == 15
    forecasts = [np.full(240, float(split.number)) for split in splits]
    recombined = paths(splits, forecasts)
    assert recombined.shape == (5, 240)
    assert not np.isnan(recombined).any()
    for group in range(6):
        # every split that tests a group serves exactly one path of it
        values = recombined[:, group * 40]
        assert sorted(values) == [split.number for split in splits if group in split.groups]


def overlaps(start, end, split, embargo):
    """Pairs of a training and a test row that must not be, by looking at every pair."""
    bad = 0
    for rows in split.tests:
        last = end[rows].max()
        for i in split.train:
            bad += int(((start[i] <= end[rows]) & (end[i] >= start[rows])).any())
            bad += int(last < start[i] <= last + np.timedelta64(embargo))
    return bad


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    symbols=st.integers(1, 3),
    longest=st.integers(1, 8),
    embargo=st.integers(0, 5),
    groups=st.integers(3, 6),
)
def test_no_training_label_touches_a_test_span(seed, symbols, longest, embargo, groups):
    """Any gaps, label lengths, number of symbols and order of rows."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(400, 150, replace=False))
    start = np.repeat(hours(*times), symbols)
    end = start + rng.integers(1, longest + 1, start.size) * np.timedelta64(HOUR)
    order = rng.permutation(start.size)
    start, end = start[order], end[order]
    for split in combinatorial_splits(start, end, groups=groups, embargo=embargo * HOUR):
        assert overlaps(start, end, split, embargo * HOUR) == 0
        tested = np.concatenate(split.tests)
        assert not np.isin(split.train, tested).any()
        # a moment is wholly in one group
        assert len(set(start[split.tests[0]]) & set(start[split.tests[1]])) == 0


def test_nothing_is_dropped_without_need():
    start = hours(*range(120))
    end = start + np.timedelta64(4 * HOUR)
    for split in combinatorial_splits(start, end, groups=4, embargo=2 * HOUR):
        tested = np.concatenate(split.tests)
        kept = set(split.train.tolist())
        for i in set(range(120)) - kept - set(tested.tolist()):
            touches = any(start[i] <= end[r].max() and end[i] >= start[r].min() for r in split.tests)
            waits = any(
                end[r].max() < start[i] <= end[r].max() + np.timedelta64(2 * HOUR) for r in split.tests
            )
            assert touches or waits


def test_what_purged_size_and_embargo_size_of_skfolio_do():
    """They count rows: `purged_size` before a test fold, the sum of both after it."""
    counted = CombinatorialPurgedCV(n_folds=3, n_test_folds=2, purged_size=2, embargo_size=1)
    train = [rows.tolist() for rows, _ in counted.split(np.zeros((18, 1)))]
    assert train == [[15, 16, 17], [9], [0, 1, 2, 3]]


def test_counting_rows_leaks_where_two_symbols_share_a_moment():
    """The wrong version: a label of three hours, purged by three rows of a frame with two symbols."""
    start = np.repeat(hours(*range(60)), 2)
    end = start + np.timedelta64(3 * HOUR)
    counted = CombinatorialPurgedCV(n_folds=4, n_test_folds=2, purged_size=3)

    def leaks(train, tests):
        return sum(
            ((start[rows].min() <= end[train]) & (end[rows].max() >= start[train])).any() for rows in tests
        )

    assert sum(leaks(train, tests) for train, tests in counted.split(start[:, None])) > 0
    assert sum(leaks(s.train, s.tests) for s in combinatorial_splits(start, end, groups=4)) == 0


def test_unpurged_folds_let_an_overlapping_label_be_remembered():
    """Nearest-neighbour memory of 24-hour labels: skill on noise without the purge, none with it."""

    def skill(label, splits):
        remembered, true = [], []
        for train, tests in splits:
            for rows in tests:
                nearest = np.abs(train[:, None] - rows).argmin(axis=0)
                remembered.append(label[train[nearest]])
                true.append(label[rows])
        return np.corrcoef(np.concatenate(remembered), np.concatenate(true))[0, 1]

    plain, honest = [], []
    for seed in range(8):
        label = np.convolve(np.random.default_rng(seed).standard_normal(400), np.ones(24), "valid")
        start = hours(*range(label.size))
        splits = combinatorial_splits(start, start + np.timedelta64(24 * HOUR), groups=20)
        honest.append(skill(label, [(split.train, split.tests) for split in splits]))
        plain.append(skill(label, CombinatorialPurgedCV(n_folds=20, n_test_folds=2).split(label)))
    assert np.mean(plain) > 0.5
    assert abs(np.mean(honest)) < 0.15


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"groups": 2}, "test_groups"),
        ({"test_groups": 1}, "test_groups"),
        ({"embargo": -HOUR}, "negative"),
    ],
)
def test_impossible_settings_are_refused(change, match):
    start = hours(*range(60))
    with pytest.raises(ValueError, match=match):
        combinatorial_splits(start, start + np.timedelta64(HOUR), **change)


def test_labels_must_have_both_ends():
    start = hours(*range(60))
    end = start + np.timedelta64(HOUR)
    end[3] = np.datetime64("NaT")
    with pytest.raises(ValueError, match="without a label"):
        combinatorial_splits(start, end)
    with pytest.raises(ValueError, match="one entry per row"):
        combinatorial_splits(start, start[:5])
    with pytest.raises(ValueError, match="without a label"):
        combinatorial_splits(start, start - np.timedelta64(HOUR))


def test_too_little_time():
    start = hours(*range(10))
    with pytest.raises(NotEnoughDataError, match="12"):
        combinatorial_splits(start, start + np.timedelta64(HOUR))
    start = hours(*range(60))
    with pytest.raises(NotEnoughDataError, match="left to train on"):
        combinatorial_splits(start, start + np.timedelta64(30 * HOUR))
