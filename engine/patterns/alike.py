"""The newest window beside those of its past that look alike: what a person judges a matcher by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from engine.patterns.memory import Match, MemoryStore
from engine.patterns.model import PatternModel
from engine.patterns.windows import LENGTH, PatternWindows

__all__ = ["Alike", "newest_alike"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Alike:
    """A window and its nearest neighbours.

    Parameters
    ----------
    symbol : str
    ts : datetime
        Open of its last bar.
    query : ndarray, shape (30,)
        Its prices.
    neighbours : list of ndarray
        Those of each neighbour, nearest first, and of what followed.
    matches : list of Match
    """

    symbol: str
    ts: datetime
    query: Floats
    neighbours: list[Floats]
    matches: list[Match]


def newest_alike(
    model: PatternModel, windows: PatternWindows, memory: MemoryStore, prices: Floats, count: int
) -> Alike | None:
    """Look the newest window up; None where there is no window.

    Parameters
    ----------
    model : PatternModel
    windows : PatternWindows
    memory : MemoryStore
        Of the same windows.
    prices : ndarray, shape (N,)
        On each row of the windows; only their ratios within a symbol count.
    count : int
        Neighbours, at most.
    """
    if not len(windows.ends):
        return None
    end = int(windows.ends[windows.ts[windows.ends].argmax()])
    (query,) = model.encoder.encode(windows.batch(np.array([end])))
    matches = memory.matches(query, windows.ts[end], count)
    rows = [_row(windows, match) for match in matches]
    return Alike(
        windows.symbols[windows.symbol[end]],
        windows.ts[end].item(),
        prices[end - LENGTH + 1 : end + 1],
        [prices[row - LENGTH + 1 : row + memory.horizon + 2] for row in rows],
        matches,
    )


def _row(windows: PatternWindows, match: Match) -> int:
    """Row on which a window of the past ends."""
    own = windows.symbol == windows.symbols.index(match.symbol)
    return int(np.flatnonzero(own & (windows.ts == np.datetime64(match.ts)))[0])
