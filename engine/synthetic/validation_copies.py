"""Whether a generator has learnt a law, or its training windows by heart, or a few windows only."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import euclidean_distances

from engine.synthetic.window_generator import Floats

__all__ = ["copied_excess", "distances", "repeated_excess"]

# Nearer than all but a twentieth of what an honest window is: too near.
_TOO_NEAR = 0.05
_LARGEST = 5.0


def distances(a: Floats, b: Floats, reference: Floats) -> Floats:
    """Euclidean distance of each window of `a` from each of `b`.

    Parameters
    ----------
    a, b, reference : ndarray, shape (n or m or any, length, channels)
        Every channel is centred and scaled by its median and quartiles in `reference`, and kept within five
        deviations, so that one wild bar does not outweigh the rest of its window.

    Returns
    -------
    ndarray, shape (n, m)
    """
    low, centre, high = np.quantile(reference.reshape(-1, reference.shape[2]), [0.25, 0.5, 0.75], axis=0)
    spread = np.maximum((high - low) / 1.349, 1e-12)
    points = [np.clip((w - centre) / spread, -_LARGEST, _LARGEST).reshape(len(w), -1) for w in (a, b)]
    found: Floats = euclidean_distances(points[0], points[1])
    return found


def _excess(nearest: Floats, honest: Floats) -> float:
    return float((nearest < np.quantile(honest, _TOO_NEAR)).mean()) - _TOO_NEAR


def copied_excess(candidate_to_train: Floats, holdout_to_train: Floats) -> float:
    """Share of candidate windows nearer to a training window than 95 % of the held-out ones are, less 5 %.

    A generator that copies passes every comparison of laws, and only this gives it away: about 0 for an
    honest one, .95 for copies.

    Parameters
    ----------
    candidate_to_train, holdout_to_train : ndarray, shape (any, n)
        `distances`.

    References
    ----------
    Zhao et al. (2021), distance to the closest record; Alaa et al. (2022), authenticity.
    """
    return _excess(candidate_to_train.min(axis=1), holdout_to_train.min(axis=1))


def repeated_excess(inside_candidate: Floats, inside_real: Floats) -> float:
    """Share of candidate windows nearer to one of their own than 95 % of real windows are, less 5 %.

    Parameters
    ----------
    inside_candidate, inside_real : ndarray, shape (n, n)
        `distances` of a sample from itself, infinite where a pair is not to be compared: a window and itself,
        real windows of one episode. Samples of the same size, because neighbours are nearer in a larger one.
    """
    return _excess(inside_candidate.min(axis=1), inside_real.min(axis=1))
