"""Audit of missing bars: outages, delistings, market hours, and tickers that came back as another asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import log
from typing import Any

import polars as pl

from engine.market.audit_rows import CANDLES, DELISTED_AFTER, trading_share
from engine.market.finding import Finding, Severity

__all__ = ["gaps"]

OUTAGE_SHARE = 0.8  # share of the trading symbols that must lack a bar for the venue to have been away
LONGEST_OUTAGE = timedelta(days=14)
BREAK = log(3.0)  # smallest price ratio across a delisting that means another asset
BREAK_DEVIATIONS = 6.0


def gaps(
    rows: pl.DataFrame, life: pl.DataFrame, bar: timedelta, outages: Sequence[tuple[datetime, datetime]]
) -> list[Finding]:
    """Missing bars of each symbol between its first bar and the newest bar of the table.

    Parameters
    ----------
    rows : polars.DataFrame
        Sorted bars without repeats.
    life : polars.DataFrame
        First and last bar of each symbol.
    bar : timedelta
        Length of a bar.
    outages : sequence of (datetime, datetime)
        Known outages: open of the first and of the last bar that the venue lacks. A gap inside one,
        give or take a bar, is explained by it.

    Returns
    -------
    list of Finding
        Kind ``gap``, or ``relisting`` where the price says that another asset came back. ``count`` is
        the number of missing bars.
    """
    tick = bar // timedelta(microseconds=1)
    same = pl.col("symbol") == pl.col("symbol").shift()
    missing = (((pl.col("ts").diff().cast(pl.Int64) + tick // 2) // tick) - 1).alias("missing")
    holes = rows.select(
        "symbol",
        missing,
        same.alias("same"),
        (pl.col("ts").shift() + bar).alias("first"),
        (pl.col("ts") - bar).alias("last"),
        pl.col("close").shift().alias("before"),
        pl.col("open").alias("after"),
    ).filter(pl.col("same") & (pl.col("missing") > 0))
    found = _inner(holes, rows, life, bar, outages) if holes.height else []
    return found + _trailing(life, bar)


def _inner(
    holes: pl.DataFrame,
    rows: pl.DataFrame,
    life: pl.DataFrame,
    bar: timedelta,
    outages: Sequence[tuple[datetime, datetime]],
) -> list[Finding]:
    """Explain the gaps inside a symbol's life."""
    known = pl.any_horizontal(
        pl.lit(value=False),
        *((pl.col("first") >= begin - bar) & (pl.col("last") <= end + bar) for begin, end in outages),
    )
    holes = holes.with_row_index("hole").join(_shares(holes, life, bar), on="hole", how="left")
    long = (pl.col("last") - pl.col("first") + bar) > DELISTED_AFTER
    cause = (
        pl.when(known | (pl.col("away") >= 0.5))
        .then(pl.lit("outage"))
        .when(long)
        .then(pl.lit("delisting"))
        .when(_market_hours(holes))
        .then(pl.lit("market closed"))
        .otherwise(pl.lit("unknown"))
    )
    volatility = (
        rows.filter(pl.col("symbol").is_in(holes["symbol"].unique().implode()))
        .with_columns(pl.col("close").log().diff().over("symbol").abs().alias("move"))
        .group_by("symbol")
        .agg((pl.col("move").filter(pl.col("move").is_finite()).median() / 0.6745).alias("volatility"))
    )
    jump = (pl.col("after") / pl.col("before")).log().abs()
    far = pl.max_horizontal(
        pl.lit(BREAK), BREAK_DEVIATIONS * pl.col("volatility") * pl.col("missing").cast(pl.Float64).sqrt()
    )
    holes = (
        holes.with_columns(cause.alias("cause"))
        .join(volatility, on="symbol", how="left", maintain_order="left")
        .with_columns(another=(pl.col("cause") == "delisting") & jump.is_finite() & (jump > far))
    )
    return [_gap(hole) for hole in holes.iter_rows(named=True)]


def _gap(hole: Mapping[str, Any]) -> Finding:
    """Report one gap."""
    place = (hole["first"], hole["last"], hole["missing"])
    if hole["another"]:
        text = (
            f"price {hole['before']:.6g} before, {hole['after']:.6g} after {hole['missing']} missing bars: "
            "another asset under the same ticker; never join the two"
        )
        return Finding(CANDLES, hole["symbol"], "relisting", "warn", *place, text, "relisting")
    text = f"{hole['missing']} bar{'s' * (hole['missing'] > 1)} missing"
    if hole["cause"] == "outage" and hole["hit"] is not None:
        text += f"; {hole['hit']} of {hole['trading']} symbols that traded then lack them too"
    severity: Severity = "info" if hole["cause"] == "market closed" else "warn"
    return Finding(CANDLES, hole["symbol"], "gap", severity, *place, text, hole["cause"])


def _shares(holes: pl.DataFrame, life: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Of each hole: the share of its bars that nearly every trading symbol lacks, and the counts of one."""
    short = holes.with_row_index("hole").filter(pl.col("missing") * bar <= LONGEST_OUTAGE)
    bars = short.select(
        "hole",
        "symbol",
        pl.col("symbol").str.contains(":", literal=True).alias("perpetual"),
        pl.datetime_ranges("first", "last", bar).alias("ts"),
    ).explode("ts")
    if bars.is_empty():
        return pl.DataFrame(
            schema={"hole": pl.UInt32, "away": pl.Float64, "hit": pl.Int64, "trading": pl.Int64}
        )
    venue = (pl.col("trading") > 1) & (pl.col("hit") >= OUTAGE_SHARE * pl.col("trading"))
    return (
        bars.join(trading_share(bars, life), on=["perpetual", "ts"])
        .group_by("hole")
        .agg(
            venue.mean().alias("away"),
            pl.col("hit").max(),
            pl.col("trading").filter(pl.col("hit") == pl.col("hit").max()).max(),
        )
    )


def _market_hours(holes: pl.DataFrame) -> pl.Expr:
    """Whether gaps of the same length begin at the same hour of the week in at least half of the weeks."""
    keys = ["symbol", "missing", pl.col("first").dt.weekday(), pl.col("first").dt.time()]
    weeks = (pl.col("first").max() - pl.col("first").min()).over("symbol").dt.total_days() / 7
    times = pl.len().over(keys)
    return (times >= 4) & (times >= 0.5 * weeks)


def _trailing(life: pl.DataFrame, bar: timedelta) -> list[Finding]:
    """Report symbols that end before the newest bar of the table."""
    ends: list[tuple[str, datetime]] = life.select("symbol", "died").rows()
    newest = max(last for _, last in ends)
    found = []
    for symbol, last in ends:
        missing = (newest - last) // bar
        if missing > 0:
            cause = "delisting" if newest - last > DELISTED_AFTER else "behind"
            text = f"the series ends {missing} bars before the newest bar of the table"
            found.append(Finding(CANDLES, symbol, "gap", "warn", last + bar, newest, missing, text, cause))
    return found
