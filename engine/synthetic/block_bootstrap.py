"""Matched-block bootstrap: the baseline that learns nothing and resamples what was seen."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from engine.errors import NotEnoughDataError
from engine.synthetic.window_generator import Floats

__all__ = ["BlockBootstrap"]

_DONORS_AT_MOST = 1 / 6


class BlockBootstrap:
    """String short blocks of bars together, of windows that are alike, joined where their bars are.

    A new window starts from a training window drawn at random. Bar by bar it follows one donor and, after a
    stretch of geometric length, changes to another. Donors are the windows nearest to the first in volatility
    and in the mean of each channel: blocks of arbitrary windows would average out what makes one window
    wilder than the next. Of those, it goes on with one of the few whose bar before the joint is most like its
    own, each channel counting as much as it persists. Bars keep their place in the window, because a panic
    ages.

    Parameters
    ----------
    block : float
        Mean length of a block in bars. Long blocks are copies of training windows, short ones lose the memory
        of volatility beyond the joints.
    donors : int
        Windows that blocks are drawn from; a sixth of the training windows at most.
    matches : int
        Donors, most alike at a joint, that one is drawn from.

    References
    ----------
    Politis and Romano (1994), stationary bootstrap; Carlstein, Do, Hall, Hesterberg and Kuensch (1998),
    matched-block bootstrap.
    """

    name = "block bootstrap"

    def __init__(self, block: float = 2.5, donors: int = 64, matches: int = 4) -> None:
        if block < 1.0 or not 1 <= matches < donors:
            raise ValueError(
                f"block {block} must be at least 1 bar, and matches {matches} at least 1 and fewer than "
                f"donors {donors}"
            )
        self.block, self.donors, self.matches = block, donors, matches
        self._windows: Floats = np.empty((0, 0, 0))
        self._state: Floats = np.empty((0, 0, 0))
        self._alike = np.empty((0, 0), np.int64)

    def fit(self, windows: Floats, seed: int) -> BlockBootstrap:
        """Find which windows are alike; nothing in it is random.

        Raises
        ------
        NotEnoughDataError
            If a sixth of the windows are no more than `matches`.
        """
        donors = min(self.donors, int(len(windows) * _DONORS_AT_MOST))
        if donors <= self.matches:
            needed = int((self.matches + 1) / _DONORS_AT_MOST)
            raise NotEnoughDataError(f"{len(windows)} windows; the block bootstrap needs {needed}")
        volatility = np.log(np.sqrt((windows[:, :, :1] ** 2).mean(axis=1)) + 1e-12)
        likeness = _standardised(np.concatenate([volatility, windows.mean(axis=1)], axis=1))
        self._alike = NearestNeighbors(n_neighbors=donors).fit(likeness).kneighbors(likeness)[1]
        self._state = _state(windows)
        self._windows = windows
        return self

    def sample(self, count: int, seed: int) -> Floats:
        """Draw windows, shape (count, length, channels).

        Raises
        ------
        ValueError
            If the bootstrap was not fitted.
        """
        if not len(self._windows):
            raise ValueError("the bootstrap was not fitted; call fit first")
        rng = np.random.default_rng(seed)
        candidates = self._alike[rng.integers(0, len(self._windows), count)]
        donor = candidates[np.arange(count), rng.integers(0, candidates.shape[1], count)]
        sample = np.empty((count, *self._windows.shape[1:]))
        for step in range(sample.shape[1]):
            if step:
                changing = np.flatnonzero(rng.random(count) < 1.0 / self.block)
                donor[changing] = self._successor(donor[changing], candidates[changing], step, rng)
            sample[:, step] = self._windows[donor, step]
        return sample

    def _successor(
        self, donor: np.ndarray, candidates: np.ndarray, step: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the next donor of each window among the candidates whose bar before `step` is most alike."""
        here = self._state[donor, step - 1]
        apart = ((self._state[candidates, step - 1] - here[:, None]) ** 2).sum(axis=2)
        apart[candidates == donor[:, None]] = np.inf
        rows = np.arange(len(donor))
        best = np.argpartition(apart, self.matches - 1, axis=1)[:, : self.matches]
        chosen: np.ndarray = candidates[rows, best[rows, rng.integers(0, self.matches, len(donor))]]
        return chosen


def _standardised(values: Floats) -> Floats:
    axes = tuple(range(values.ndim - 1))
    scaled: Floats = (values - values.mean(axis=axes)) / np.maximum(values.std(axis=axes), 1e-12)
    return scaled


def _state(windows: Floats) -> Floats:
    """Channels in which bars are compared, returns by their size, weighted by autocorrelation at lag 1."""
    state = windows.copy()
    size = np.abs(windows[:, :, 0])
    state[:, :, 0] = np.log(size + 0.1 * size.mean())
    state = _standardised(state)
    persistence = (state[:, 1:] * state[:, :-1]).mean(axis=(0, 1))
    weighted: Floats = state * np.maximum(persistence, 0.0)
    return weighted
