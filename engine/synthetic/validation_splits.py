"""Splits of windows that keep the windows of one episode together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["split_groups"]

Integers = NDArray[np.int64]


def split_groups(
    groups: Integers, shares: tuple[float, ...], rng: np.random.Generator
) -> tuple[Integers, ...]:
    """Deal whole groups in random order to parts whose shares of the rows are about those asked for.

    Parameters
    ----------
    groups : ndarray of int, shape (n,)
    shares : tuple of float
        Of each part; they add up to 1.
    rng : numpy.random.Generator

    Returns
    -------
    tuple of ndarray of int
        Rows of each part, ascending.

    Raises
    ------
    ValueError
        If shares do not add up to 1, or there are fewer groups than parts.
    """
    if abs(sum(shares) - 1.0) > 1e-9 or min(shares) <= 0.0:
        raise ValueError(f"shares {shares} must be positive and add up to 1")
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < len(shares):
        raise ValueError(f"{len(names)} groups cannot be dealt to {len(shares)} parts")
    order = rng.permutation(len(names))
    rows = np.bincount(member)[order]
    middle = (np.cumsum(rows) - rows / 2.0) / len(groups)
    part = np.empty(len(names), np.int64)
    part[order] = np.searchsorted(np.cumsum(shares[:-1]), middle)
    return tuple(np.flatnonzero(part[member] == k) for k in range(len(shares)))
