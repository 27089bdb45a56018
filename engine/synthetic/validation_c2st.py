"""Classifier two-sample test: whether boosted trees can tell synthetic windows from real ones."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from engine.synthetic.window_generator import Floats

__all__ = ["classifier_accuracy", "window_features"]

_FOLDS = 3
_TREES = 30
_PARAMETERS: dict[str, object] = {
    "objective": "binary",
    "learning_rate": 0.15,
    "num_leaves": 7,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "lambda_l2": 5.0,
    "max_bin": 31,
    "is_unbalance": True,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def window_features(windows: Floats) -> Floats:
    """Describe each window to the classifier by its numbers and by figures that trees find hard to form.

    Returns
    -------
    ndarray, shape (n, features)
        Each number of the window; of each channel mean, deviation, least and greatest; mean products of each
        two channels in the same bar and one bar apart, and of absolute returns up to three bars apart.
    """
    n = len(windows)
    centred = windows - windows.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1)
    standard = centred / np.maximum(spread[:, None], 1e-12)
    size = np.abs(windows[:, :, 0])
    size = size / np.maximum(size.mean(axis=1, keepdims=True), 1e-12)
    bars = windows.shape[1]
    return np.concatenate(
        [
            windows.reshape(n, -1),
            windows.mean(axis=1),
            spread,
            windows.min(axis=1),
            windows.max(axis=1),
            np.einsum("ntc,ntd->ncd", standard, standard).reshape(n, -1) / bars,
            np.einsum("ntc,ntd->ncd", standard[:, 1:], standard[:, :-1]).reshape(n, -1) / bars,
            np.stack([(size[:, lag:] * size[:, :-lag]).mean(axis=1) for lag in (1, 2, 3)], axis=1),
            (np.sign(windows[:, :-1, 0]) * size[:, 1:]).mean(axis=1, keepdims=True),
        ],
        axis=1,
    )


def classifier_accuracy(
    a: Floats, b: Floats, groups_a: NDArray[np.int64], groups_b: NDArray[np.int64], seed: int
) -> float:
    """Balanced accuracy, in folds, of boosted trees that are to tell two samples apart.

    Parameters
    ----------
    a, b : ndarray, shape (n, features), (m, features)
        From `window_features`.
    groups_a, groups_b : ndarray of int, shapes (n,), (m,)
        No group is on both sides of a fold: trees that have seen half of an episode know the other half.
    seed : int

    Returns
    -------
    float
        0.5 where nothing tells them apart, 1 where everything does.

    References
    ----------
    Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests".
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate([a, b])
    is_b = np.concatenate([np.zeros(len(a)), np.ones(len(b))])
    fold = np.concatenate([_folds(groups, rng) for groups in (groups_a, groups_b)])
    parameters = {**_PARAMETERS, "seed": seed}
    binned = lgb.Dataset(rows, is_b, params=parameters, free_raw_data=False).construct()
    score = np.empty(len(rows))
    for k in range(_FOLDS):
        training = binned.subset(np.flatnonzero(fold != k).tolist())
        booster = lgb.train(parameters, training, _TREES, keep_training_booster=True)
        score[fold == k] = np.asarray(booster.predict(rows[fold == k], num_threads=1))
    right = (score > 0.5) == (is_b > 0.5)
    return float((right[is_b == 0].mean() + right[is_b == 1].mean()) / 2.0)


def _folds(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Fold of each row; groups are dealt in random order, each to the fold that has the fewest rows."""
    names, member = np.unique(groups, return_inverse=True)
    rows = np.bincount(member)
    filled = np.zeros(_FOLDS)
    of_group = np.empty(len(names), np.int64)
    for group in rng.permutation(len(names)):
        of_group[group] = filled.argmin()
        filled[of_group[group]] += rows[group]
    return of_group[member]
