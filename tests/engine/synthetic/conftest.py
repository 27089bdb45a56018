"""A known law of windows: clustered, heavy-tailed, with leverage and channels that move together."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Law = Callable[..., Floats]


def draw_windows(count: int, seed: int, length: int = 30) -> Floats:
    """Return ``count`` windows of three channels: return, a channel that follows it, log volume."""
    rng = np.random.default_rng(seed)
    level = 0.35 * rng.standard_normal(count)
    windows = np.empty((count, length, 3))

    def heavy() -> Floats:
        return rng.standard_t(6, count) * np.sqrt(4 / 6)

    for step in range(length):
        shock, size = heavy(), np.exp(level)
        windows[:, step, 0] = size * shock
        windows[:, step, 1] = 0.8 * size * shock + 0.6 * size * heavy()
        windows[:, step, 2] = level + 0.5 * np.abs(shock) + 0.4 * rng.standard_normal(count)
        surprise = -0.22 * shock + 0.2 * (np.abs(shock) - 0.75) + 0.25 * rng.standard_normal(count)
        level = 0.75 * level + surprise
    return windows


@pytest.fixture(scope="session")
def window_law() -> Law:
    """Draw windows of the known law."""
    return draw_windows
