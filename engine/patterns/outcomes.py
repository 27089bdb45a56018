"""What followed windows like this one, as features."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from engine.patterns.nearest import Neighbours

__all__ = ["OUTCOME_COLUMNS", "outcome_features"]

OUTCOME_COLUMNS: dict[str, str] = {
    "pattern_mean": "Mean log return that followed the neighbours.",
    "pattern_sd": "Standard deviation of those returns.",
    "pattern_up": "Share of the neighbours that rose, a half where one did not move.",
    "pattern_distance": "Mean distance to the neighbours: large where the past has nothing alike.",
    "pattern_count": "Neighbours found.",
}


def outcome_features(neighbours: Neighbours, outcome: ArrayLike, least: int = 3) -> pl.DataFrame:
    """Distribution of the returns that followed the neighbours of each query.

    Parameters
    ----------
    neighbours : Neighbours
        Of Q queries.
    outcome : array, shape (M,)
        Log return that followed each entry of the memory.
    least : int
        With fewer neighbours everything but their count is null: so few say nothing. At least 2.

    Returns
    -------
    pl.DataFrame
        `OUTCOME_COLUMNS`, Q rows.

    Raises
    ------
    ValueError
        If `least` is under 2.
    """
    if least < 2:
        raise ValueError(f"least = {least}: a spread needs at least 2 neighbours")
    found = neighbours.index >= 0
    count = found.sum(axis=1)
    followed = np.append(np.asarray(outcome, np.float64), 0.0)[neighbours.index]

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(found, values, 0.0).sum(axis=1) / np.maximum(count, 1)

    centre = mean(followed)
    spread = np.sqrt(mean((followed - centre[:, None]) ** 2) * count / np.maximum(count - 1, 1))
    columns = (centre, spread, mean(0.5 + 0.5 * np.sign(followed)), mean(neighbours.distance))
    enough = pl.Series(count >= least)
    frame = pl.DataFrame(dict(zip(OUTCOME_COLUMNS, (*columns, count.astype(np.int64)), strict=True)))
    judged = [pl.when(enough).then(pl.col(name)).alias(name) for name in list(OUTCOME_COLUMNS)[:-1]]
    return frame.with_columns(judged)
