"""Real and synthetic windows in one training set, told apart by a flag."""

from __future__ import annotations

import numpy as np
import polars as pl

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.windows import WINDOW_COLUMNS

__all__ = ["mix_windows", "synthetic_count"]


def synthetic_count(real: int, share: float) -> int:
    """Count the synthetic windows that are `share` of the result when `real` ones are added to them.

    A share of the result, not of the real windows: 200 beside 800 are 20 %, 160 would be 16.7 %.

    Raises
    ------
    ValueError
        If the share is not inside [0, 1).
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"share = {share} of the result must be at least 0 and below 1")
    return round(real * share / (1.0 - share))


def mix_windows(real: pl.DataFrame, pool: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Every real window once, and windows drawn from the pool without replacement, in random order.

    Parameters
    ----------
    real, pool : DataFrame
        Of `engine.synthetic.windows.WINDOW_COLUMNS`; none of `real` and all of `pool` marked as synthetic.
    share : float
        Of synthetic windows in the result.
    seed : int

    Returns
    -------
    DataFrame
        The same columns; windows are numbered anew from 0, their steps stay in order.

    Raises
    ------
    DataError
        If a column is missing, or a row bears the wrong flag.
    NotEnoughDataError
        If the pool has too few windows.
    ValueError
        If the share is not inside [0, 1).
    """
    for frame, flag in ((real, False), (pool, True)):
        missing = [name for name in WINDOW_COLUMNS if name not in frame.columns]
        if missing:
            raise DataError(f"missing; windows need {WINDOW_COLUMNS}", column=missing[0])
        if not (frame["synthetic"] == flag).all():
            raise DataError(
                f"is not {flag} in every {'synthetic' if flag else 'real'} row", column="synthetic"
            )
    sources = [frame.select(WINDOW_COLUMNS) for frame in (real, pool)]
    windows = [frame["window"].unique().sort().to_numpy() for frame in sources]
    wanted = synthetic_count(len(windows[0]), share)
    if wanted > len(windows[1]):
        raise NotEnoughDataError(
            f"{wanted} synthetic windows are {share:.0%} of the result, the pool has {len(windows[1])}"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(windows[1])[:wanted]
    numbers = rng.permutation(len(windows[0]) + wanted)
    parts = []
    for frame, kept, number in zip(
        sources, (windows[0], drawn), np.split(numbers, [len(windows[0])]), strict=True
    ):
        renumbered = pl.DataFrame({"window": kept, "number": number})
        parts.append(
            frame.join(renumbered, on="window", how="inner", maintain_order="left")
            .with_columns(window="number")
            .select(WINDOW_COLUMNS)
        )
    return pl.concat(parts).sort("window", "step")
