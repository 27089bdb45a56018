"""Where a file changes the number of decimals it writes: its vendor may have changed the source."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import polars as pl

__all__ = ["changes_of_precision"]

_MOST = 5
_BLOCK_ROWS = 100
_LASTING_BLOCKS = 2


def changes_of_precision(bars: pl.DataFrame, column: str) -> list[tuple[datetime, int, int]]:
    """Find where a column changes its number of decimals for good.

    Parameters
    ----------
    bars : DataFrame
        ``ts`` and the column, sorted by ``ts``.
    column : str
        A column of numbers.

    Returns
    -------
    list of tuple
        Stamp of the first row after the change, and the decimals before and after it (5 stands for 5 or
        more). A number of decimals counts where it lasts for 200 rows or more.
    """
    value = pl.col(column)
    exact = [
        pl.when((value.round(k) - value).abs() < 1e-9 * value.abs() + 1e-12).then(k) for k in range(_MOST)
    ]
    decimals = pl.coalesce([*exact, pl.lit(_MOST)]).alias("decimals")
    rows = bars.select("ts", decimals, (pl.int_range(pl.len()) // _BLOCK_ROWS).alias("block"))
    blocks = rows.group_by("block", maintain_order=True).agg(pl.col("decimals").max())
    runs = (
        blocks.with_columns(pl.col("decimals").rle_id().alias("run"))
        .group_by("run", maintain_order=True)
        .agg(pl.col("decimals").first(), pl.col("block").min().alias("first"), pl.len().alias("blocks"))
        .filter(pl.col("blocks") >= _LASTING_BLOCKS)
    )
    found = []
    for (_, before, first, _), (_, after, later, _) in pairwise(runs.iter_rows()):
        if before != after:
            around = rows.filter(pl.col("block").is_between(first, later))
            found.append((_first_after(around, before, after), before, after))
    return found


def _first_after(rows: pl.DataFrame, before: int, after: int) -> datetime:
    """First row with more decimals than before, or the row behind the last with more than afterwards."""
    if after > before:
        return rows.filter(pl.col("decimals") > before)["ts"][0]
    last = rows.filter(pl.col("decimals") > after)["ts"].max()
    return rows.filter(pl.col("ts") > last)["ts"][0]
