"""Rows that a model cannot use because a feature is missing, and which feature is to blame."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

__all__ = ["row_loss"]


def row_loss(features: pl.DataFrame, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Count for each feature the rows that are lost to it.

    Parameters
    ----------
    features : pl.DataFrame
        One row per bar; a missing value is null.
    columns : Sequence[str], optional
        The features judged; by default every column but ``symbol`` and ``ts``.

    Returns
    -------
    pl.DataFrame
        ``feature, missing, share, alone, share_alone``, the worst first: rows in which it is missing, and
        rows in which it is the only one missing, so that they would be whole without it; shares are of all
        rows.
    """
    names = (
        list(columns) if columns is not None else [c for c in features.columns if c not in ("symbol", "ts")]
    )
    gaps = features.select(pl.col(names).is_null()).with_columns(
        _missing=pl.sum_horizontal(pl.col(name).cast(pl.UInt32) for name in names)
    )
    only = pl.col("_missing") == 1
    missing = gaps.select(pl.col(names).sum()).row(0)
    alone = gaps.filter(only).select(pl.col(names).sum()).row(0)
    rows = max(features.height, 1)
    return pl.DataFrame(
        {
            "feature": names,
            "missing": pl.Series(missing, dtype=pl.Int64),
            "share": [count / rows for count in missing],
            "alone": pl.Series(alone, dtype=pl.Int64),
            "share_alone": [count / rows for count in alone],
        }
    ).sort("missing", "alone", "feature", descending=[True, True, False])
