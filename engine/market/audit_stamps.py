"""Audit of the stamps: order, repeated bars, bars off the grid, unfinished and future bars."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from engine.market.audit_rows import CANDLES, report
from engine.market.finding import Finding

__all__ = ["duplicates", "not_yet", "off_grid", "order"]

_PRICES = ("open", "high", "low", "close")


def order(candles: pl.DataFrame) -> list[Finding]:
    """Rows that stand behind a later bar of their own symbol, in the order they came in."""
    step = pl.col("ts").diff().over("symbol")
    disorder = (
        candles.lazy()
        .select("symbol", "ts", (step < pl.duration()).alias("back"), (step > pl.duration()).alias("forth"))
        .group_by("symbol")
        .agg(
            pl.col("back").sum().alias("back"),
            pl.col("forth").sum().alias("forth"),
            pl.col("ts").filter("back").min().alias("first"),
            pl.col("ts").filter("back").max().alias("last"),
        )
        .filter(pl.col("back") > 0)
        .sort("symbol")
        .collect()
    )
    return [
        Finding(
            CANDLES,
            row["symbol"],
            "order",
            "warn",
            row["first"],
            row["last"],
            row["back"],
            f"{row['back']} rows stand behind a later bar; sort by symbol and ts",
            "newest first" if row["forth"] == 0 else "unknown",
        )
        for row in disorder.iter_rows(named=True)
    ]


def duplicates(ordered: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Split sorted rows into the first row of each bar and findings on the others.

    Equal prices cost nothing, so they are a warning; different prices mean that at least one is wrong.
    """
    again = (pl.col("ts") == pl.col("ts").shift()) & (pl.col("symbol") == pl.col("symbol").shift())
    again = again.fill_null(value=False)
    if not ordered.select(again.any()).item():
        return ordered, []
    first = pl.struct("symbol", "ts").rle_id()
    difference = pl.max_horizontal(
        ((pl.col(p) - pl.col(p).first().over("bar")) / pl.col(p).first().over("bar")).abs() for p in _PRICES
    )
    surplus = (
        ordered.with_columns(first.alias("bar"), again.alias("again"))
        .filter(pl.col("again") | pl.col("again").shift(-1, fill_value=False))
        .with_columns(difference.alias("difference"))
        .filter("again")
        .with_columns(pl.col("bar").cast(pl.Int64).alias("row"))
    )
    surplus = surplus.group_by("symbol", "ts", "row", maintain_order=True).agg(
        pl.col("difference").max(), pl.len().alias("copies")
    )
    same = pl.col("difference") == 0
    found = report(
        surplus,
        same,
        "duplicate",
        "warn",
        lambda run: f"{run['surplus']} surplus rows, prices equal",
        cause=pl.lit("same prices"),
        surplus=pl.col("copies").sum(),
    )
    found += report(
        surplus,
        ~same,
        "duplicate",
        "error",
        lambda run: f"{run['surplus']} surplus rows, prices differ by up to {run['worst']:.3g} of themselves",
        cause=pl.lit("prices differ"),
        surplus=pl.col("copies").sum(),
        worst=pl.col("difference").max(),
    )
    return ordered.filter(~again), found


def off_grid(rows: pl.DataFrame, bar: timedelta) -> list[Finding]:
    """Bars whose open is not where the symbol's other bars open, a multiple of ``bar`` apart."""
    phase = pl.col("ts").cast(pl.Int64) % (bar // timedelta(microseconds=1))
    phased = rows.with_columns(phase.alias("phase"))
    usual = phased.group_by("symbol", "phase").len().sort("len", "phase", descending=[True, False])
    usual = usual.unique("symbol", keep="first", maintain_order=True)
    if usual["len"].sum() == rows.height:
        return []
    return report(
        phased.join(usual.select("symbol", usual="phase"), on="symbol", maintain_order="left"),
        pl.col("phase") != pl.col("usual"),
        "damage",
        "error",
        lambda run: f"opens off the grid of {bar}; usual spacing of the symbol is {run['spacing']}",
        cause=pl.lit("off the bar grid"),
        spacing=pl.col("ts").diff().median(),
    )


def not_yet(rows: pl.DataFrame, bar: timedelta, now: datetime) -> list[Finding]:
    """Bars that are still open at ``now`` and bars that open after it."""
    starts, ends = pl.col("ts") > now, pl.col("ts") + bar > now
    return report(
        rows,
        ends & ~starts,
        "unfinished",
        "error",
        lambda _: f"the bar is still open at {now}; its values will change",
        cause=pl.lit("still open"),
    ) + report(
        rows,
        starts,
        "future",
        "error",
        lambda run: f"opens after {now}, up to {run['last'] - now} ahead",
        cause=pl.lit("stamp is wrong"),
        last=pl.col("ts").max(),
    )
