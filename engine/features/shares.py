"""Shares of the Shapley values: what each feature, and each group of copies, contributes in a regime."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["copies", "regime_shares", "verdict"]

Floats = NDArray[np.float64]


def copies(x: Floats, phi: Floats, most_correlation: float) -> list[list[int]]:
    """Group features that move together: the strongest one left gathers all that are correlated with it.

    Parameters
    ----------
    x : ndarray [n, d]
        Values of the features; what is not finite counts as the column's mean.
    phi : ndarray [n, d]
        Shapley values, which rank the features.
    most_correlation : float
        Beyond this, in absolute value, a feature is a copy.

    Returns
    -------
    list of list of int
        Columns of each group, the strongest first; a feature without copies is a group of its own.
    """
    known = np.isfinite(x)
    mean = np.where(known, x, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, x - mean, 0.0)
    norm = np.sqrt((centred**2).sum(axis=0))
    products = np.outer(norm, norm)
    correlation = np.divide(centred.T @ centred, products, out=np.zeros_like(products), where=products > 0)
    left = [int(i) for i in np.argsort(-np.abs(phi).mean(axis=0), kind="stable")]
    groups = []
    while left:
        leader = left[0]
        group = [i for i in left if i == leader or abs(correlation[leader, i]) > most_correlation]
        left = [i for i in left if i not in group]
        groups.append(group)
    return groups


def regime_shares(
    regime: str, phi: Floats, outcome: Floats, features: tuple[str, ...], groups: list[list[int]]
) -> pl.DataFrame:
    """Shares of one regime, one row per feature; columns as in `ShapReport.shares`, without the verdict.

    Parameters
    ----------
    regime : str
    phi : ndarray [n, d]
        Shapley values of the regime's rows.
    outcome : ndarray [n]
        NaN where unknown.
    features : tuple of str
    groups : list of list of int
        From `copies`.
    """
    size = np.abs(phi).mean(axis=0)
    group_size = np.array([np.abs(phi[:, group].sum(axis=1)).mean() for group in groups])
    member_of = np.empty(len(features), dtype=np.int64)
    for number, group in enumerate(groups):
        member_of[group] = number
    return pl.DataFrame(
        {
            "regime": [regime] * len(features),
            "feature": features,
            "share": _normalised(size),
            "group": member_of,
            "group_share": _normalised(group_size)[member_of],
            "worth": _correlations(phi, outcome),
            "rows": [len(phi)] * len(features),
        }
    ).with_columns(pl.col("worth").fill_nan(None))


def verdict(
    shares: pl.DataFrame, features: tuple[str, ...], groups: list[list[int]], least_share: float
) -> dict[str, tuple[str, ...]]:
    """Sort features into ``top_features``, ``noise_features`` and ``copies``; see `ShapReport`."""
    largest = shares.group_by("group").agg(pl.col("group_share").max())
    reached = dict(largest.iter_rows())
    matter = sorted(
        (number for number in range(len(groups)) if reached[number] >= least_share), key=lambda g: -reached[g]
    )
    noise = {features[i] for number, group in enumerate(groups) if number not in matter for i in group}
    copies = {features[i] for number in matter for i in groups[number][1:]}
    return {
        "top_features": tuple(features[groups[number][0]] for number in matter),
        "noise_features": tuple(name for name in features if name in noise),
        "copies": tuple(name for name in features if name in copies),
    }


def _normalised(sizes: Floats) -> Floats:
    total = sizes.sum()
    return sizes / total if total > 0 else np.zeros_like(sizes)


def _correlations(phi: Floats, outcome: Floats) -> Floats:
    """Correlation of each column with the outcome, NaN where either does not vary."""
    known = np.isfinite(outcome)
    if not known.any():
        return np.full(phi.shape[1], np.nan)
    centred = phi[known] - phi[known].mean(axis=0)
    target = outcome[known] - outcome[known].mean()
    norm = np.sqrt((centred**2).sum(axis=0) * (target**2).sum())
    return np.divide(target @ centred, norm, out=np.full(phi.shape[1], np.nan), where=norm > 0)
