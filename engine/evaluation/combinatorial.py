"""Combinatorial purged cross-validation: many out-of-sample paths through one history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from skfolio.model_selection import CombinatorialPurgedCV

from engine.errors import NotEnoughDataError

__all__ = ["CombinatorialSplit", "combinatorial_splits", "paths"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Moments = NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class CombinatorialSplit:
    """One choice of test groups, with the rows that may be trained on.

    Parameters
    ----------
    number : int
        From 0, in the order of combinations.
    train : ndarray of int
        Positions of rows.
    groups, path : tuple of int
        Test groups in time, and the path that each belongs to in this split.
    tests : tuple of ndarray of int
        Positions of the rows of each test group.
    """

    number: int
    train: Integers
    groups: tuple[int, ...]
    path: tuple[int, ...]
    tests: tuple[Integers, ...]


def combinatorial_splits(
    start: Moments,
    end: Moments,
    *,
    groups: int = 6,
    test_groups: int = 2,
    embargo: timedelta = timedelta(0),
) -> tuple[CombinatorialSplit, ...]:
    """Test on every choice of groups, train on what is left of the others.

    Folds, combinations and the recombination into paths are skfolio's. Its purging is not used: `purged_size`
    and `embargo_size` count rows (the last `purged_size` before a test fold, and the first ``purged_size +
    embargo_size`` after one, so that the embargo does start after the purge), which is right only for one row
    per moment, labels of one length and no gaps. Here

    - groups are cut between moments, so that all symbols of a moment are in one;
    - a training row goes if its label's span touches that of a test group, from its first decision to the end
      of its last label, however long labels are and whatever is missing between;
    - after the end of that span, not inside it, follows the embargo: rows decided in it go as well. It should
      cover how far features look back.

    Parameters
    ----------
    start, end : ndarray of datetime64, shape (rows,)
        Moment of the decision, and the moment its label is known. Rows may come in any order.
    groups, test_groups : int
        N and k: C(N, k) splits and k C(N, k) / N paths. At least 3 and 2, ``test_groups < groups``.
    embargo : timedelta

    Raises
    ------
    NotEnoughDataError
        If there are fewer than two moments to a group, or a split has nothing left to train on.
    ValueError
        If a label ends before it starts or a moment is missing, or a setting is out of range.

    References
    ----------
    Lopez de Prado (2018), chapters 7 and 12.
    """
    if start.shape != end.shape or start.ndim != 1:
        raise ValueError(f"start {start.shape} and end {end.shape} must have one entry per row")
    if np.isnat(start).any() or np.isnat(end).any() or (end < start).any():
        raise ValueError("every row needs a start and a later end; drop rows without a label")
    if embargo < timedelta(0):
        raise ValueError(f"embargo={embargo} must not be negative")
    if not 2 <= test_groups < groups:
        raise ValueError(f"test_groups={test_groups} must be at least 2 and below groups={groups}")
    moments, place = np.unique(start, return_inverse=True)
    if moments.size < 2 * groups:
        raise NotEnoughDataError(f"{moments.size} moments; {groups} groups need {2 * groups}")

    combinations = CombinatorialPurgedCV(n_folds=groups, n_test_folds=test_groups)
    path = combinations.get_path_ids()
    splits = []
    for number, (_, folds) in enumerate(combinations.split(np.empty((moments.size, 1)))):
        tests = tuple(np.flatnonzero((place >= fold[0]) & (place <= fold[-1])) for fold in folds)
        train = np.ones(start.size, np.bool_)
        for rows in tests:
            train &= _clear_of(start, end, start[rows].min(), end[rows].max(), embargo)
        if not train.any():
            raise NotEnoughDataError(
                f"split {number} has no row left to train on; labels and embargo {embargo} are too long for "
                f"{groups} groups"
            )
        splits.append(
            CombinatorialSplit(
                number=number,
                train=np.flatnonzero(train),
                groups=tuple(int(group) for group in combinations.test_set_index[number]),
                path=tuple(int(one) for one in path[number]),
                tests=tests,
            )
        )
    return tuple(splits)


def _clear_of(
    start: Moments, end: Moments, first: np.datetime64, last: np.datetime64, embargo: timedelta
) -> NDArray[np.bool_]:
    """Rows whose label neither touches ``[first, last]`` nor starts in the embargo after it."""
    return (end < first) | (start > last + np.timedelta64(embargo))


def paths(splits: Sequence[CombinatorialSplit], forecasts: Sequence[Floats]) -> Floats:
    """Recombine what each split's model said about its test rows into paths over the whole history.

    Parameters
    ----------
    splits : sequence of CombinatorialSplit
        All of them.
    forecasts : sequence of ndarray, shape (rows,)
        One per split, over all rows; only its test rows are read.

    Returns
    -------
    ndarray, shape (paths, rows)
        Every row is forecast once in every path.
    """
    count = 1 + max(max(split.path) for split in splits)
    recombined = np.full((count, len(forecasts[0])), np.nan)
    for split, forecast in zip(splits, forecasts, strict=True):
        for one, rows in zip(split.path, split.tests, strict=True):
            recombined[one, rows] = forecast[rows]
    return recombined
