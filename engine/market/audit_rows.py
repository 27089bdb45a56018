"""What every part of the audit shares: runs of hits as findings, and how many symbols a hit concerns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from engine.market.finding import Finding, FindingKind, Severity

__all__ = ["CANDLES", "DELISTED_AFTER", "MANY_RUNS", "UNKNOWN", "lives", "report", "trading_share"]

CANDLES = "raw.candles"
UNKNOWN = pl.lit("unknown")
DELISTED_AFTER = timedelta(days=7)  # a symbol that is missing for longer, and alone, was taken off the list
MANY_RUNS = 100  # a defect that comes back more often than this is one finding, not a flood


def lives(rows: pl.DataFrame) -> pl.DataFrame:
    """First and last bar of each symbol (``symbol, born, died``)."""
    return rows.group_by("symbol", maintain_order=True).agg(
        born=pl.col("ts").first(), died=pl.col("ts").last(), bars=pl.len()
    )


def trading_share(hits: pl.DataFrame, life: pl.DataFrame) -> pl.DataFrame:
    """Count, for each moment of ``hits``, the symbols hit and the symbols that were trading.

    Spot and perpetual markets (a colon in the symbol) are separate venues and counted apart.

    Parameters
    ----------
    hits : polars.DataFrame
        ``symbol, ts``, one row per symbol and moment.
    life : polars.DataFrame
        `lives` of the audited rows.

    Returns
    -------
    polars.DataFrame
        ``perpetual, ts, hit, trading``, one row per market and moment.
    """
    perpetual = pl.col("symbol").str.contains(":", literal=True).alias("perpetual")
    counted = hits.group_by(perpetual, "ts").agg(hit=pl.col("symbol").n_unique().cast(pl.Int64))
    parts = []
    for market, venue in life.with_columns(perpetual).group_by("perpetual"):
        moments = counted.filter(pl.col("perpetual") == market[0])
        stamps = moments["ts"].to_numpy()
        listed = np.searchsorted(np.sort(venue["born"].to_numpy()), stamps, side="right")
        gone = np.searchsorted(np.sort(venue["died"].to_numpy()), stamps, side="left")
        parts.append(moments.with_columns(trading=pl.Series(listed - gone, dtype=pl.Int64)))
    return pl.concat(parts)


def report(
    rows: pl.DataFrame,
    hit: pl.Expr,
    kind: FindingKind,
    severity: Severity,
    detail: Callable[[Mapping[str, Any]], str],
    /,
    *,
    cause: pl.Expr = UNKNOWN,
    **figures: pl.Expr,
) -> list[Finding]:
    """One finding per run of neighbouring rows of a symbol that are hit for the same cause.

    Parameters
    ----------
    rows : polars.DataFrame
        ``symbol, ts, row`` and what ``hit``, ``cause`` and ``figures`` use; ``row`` counts up by one.
    hit : polars.Expr
        Boolean: the row has the defect.
    kind, severity
        As in `Finding`.
    detail : callable
        Makes the text from the figures of the run.
    cause : polars.Expr
        Cause of a row, a text.
    **figures : polars.Expr
        Aggregations over the rows of a run.

    Returns
    -------
    list of Finding
        In the order of the rows; a symbol with more than `MANY_RUNS` runs gets one for all.
    """
    hits = rows.filter(hit).with_columns(cause.alias("cause"))
    if hits.is_empty():
        return []
    follows = (
        (pl.col("row") == pl.col("row").shift() + 1)
        & (pl.col("symbol") == pl.col("symbol").shift())
        & (pl.col("cause") == pl.col("cause").shift())
    )
    hits = hits.with_columns(run=(~follows.fill_null(value=False)).cum_sum())
    hits = hits.with_columns(runs=pl.col("run").n_unique().over("symbol", "cause"))
    merged = pl.when(pl.col("runs") <= MANY_RUNS).then("run")
    found = hits.group_by("symbol", "cause", merged, maintain_order=True).agg(
        pl.col("ts").min().alias("_first"),
        pl.col("ts").max().alias("_last"),
        pl.len().alias("_count"),
        pl.col("runs").first().alias("_runs"),
        **figures,
    )
    return [
        Finding(
            CANDLES,
            run["symbol"],
            kind,
            severity,
            run["_first"],
            run["_last"],
            run["_count"],
            detail(run) + (f"; {run['_runs']} separate runs" if run["run"] is None else ""),
            run["cause"],
        )
        for run in found.iter_rows(named=True)
    ]
