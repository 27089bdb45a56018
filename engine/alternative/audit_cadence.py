"""Audit of the rhythm of a series: holes, and stretches at another interval than usual."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import polars as pl

from engine.market.finding import Finding

__all__ = ["cadence"]

HELD = 3  # times in a row that make an interval a rhythm rather than a hole
HOLE = 1.5  # times the interval in force
REGULAR = 0.9  # share of the intervals that belong to a rhythm


def cadence(periods: pl.DataFrame) -> list[Finding]:
    """Judge the intervals between the periods of each series.

    An interval that holds for `HELD` periods is the rhythm in force; another than the usual one
    (venues shorten funding under stress) is an ``interval_change``. A lone interval longer than the
    rhythms on both sides of it is a ``gap``. A series without a rhythm, such as one with a row only for
    days on which something happened, is one finding.

    Parameters
    ----------
    periods : polars.DataFrame
        ``symbol, ts`` with one row per period, sorted. Stamps are compared to the minute.
    """
    runs = _runs(periods)
    regular = (pl.col("times").filter("held").sum() >= REGULAR * pl.col("times").sum()).over("symbol")
    hole = ~pl.col("held") & (pl.col("step") > HOLE * pl.col("in_force"))
    changed = pl.col("held") & (pl.col("step") != pl.col("usual"))
    found = [_gap(run) for run in runs.filter(regular & hole).iter_rows(named=True)]
    found += [
        Finding(
            "",
            run["symbol"],
            "interval_change",
            "warn",
            run["first"] + run["step"],
            run["last"],
            run["times"],
            f"interval {_hours(run['step'])}, usual {_hours(run['usual'])}",
        )
        for run in runs.filter(regular & changed).iter_rows(named=True)
    ]
    missing = ((pl.col("last") - pl.col("first")) / pl.col("usual") - pl.col("times")).round().sum()
    irregular = (
        runs.filter(~regular)
        .group_by("symbol", maintain_order=True)
        .agg(pl.col("first").min(), pl.col("last").max(), pl.col("usual").first(), missing=missing)
    )
    return found + [
        Finding(
            "",
            row["symbol"],
            "gap",
            "info",
            row["first"],
            row["last"],
            int(row["missing"]),
            f"no rhythm; the commonest interval is {_hours(row['usual'])}, {row['missing']:.0f} such periods "
            "have no row",
            "irregular series",
        )
        for row in irregular.filter(pl.col("missing") > 0).iter_rows(named=True)
    ]


def _runs(periods: pl.DataFrame) -> pl.DataFrame:
    """Find runs of equal intervals, with the usual interval of the series and the rhythm in force."""
    step = pl.col("ts").dt.round("1m").diff().over("symbol")
    steps = periods.select("symbol", "ts", step.alias("step"), pl.col("ts").shift().alias("before"))
    # Several rows of one minute, as of prints that come in bursts, lie at no interval.
    steps = steps.filter(pl.col("step") > timedelta(0))
    usual = (
        steps.group_by("symbol", "step").len().sort("symbol", "len", "step", descending=[False, True, False])
    )
    usual = usual.unique("symbol", keep="first", maintain_order=True)
    usual = usual.filter(pl.col("len") >= HELD).select("symbol", usual="step")
    runs = (
        steps.join(usual, on="symbol", maintain_order="left")
        .with_columns(run=pl.struct("symbol", "step").rle_id())
        .group_by("run", "symbol", "step", "usual", maintain_order=True)
        .agg(
            pl.col("before").first().alias("first"),
            pl.col("ts").last().alias("last"),
            pl.len().alias("times"),
        )
        .with_columns(held=pl.col("times") >= HELD)
    )
    rhythm = pl.when("held").then("step")
    around = (rhythm.forward_fill().over("symbol"), rhythm.backward_fill().over("symbol"))
    return runs.with_columns(in_force=pl.max_horizontal(around).fill_null(pl.col("usual")))


def _gap(run: Mapping[str, Any]) -> Finding:
    """Report a run of intervals that are too long."""
    step, rhythm = run["step"], run["in_force"]
    missing = run["times"] * (round(step / rhythm) - 1)
    text = f"{missing} period{'s' * (missing > 1)} missing at an interval of {_hours(rhythm)}"
    return Finding(
        "", run["symbol"], "gap", "warn", run["first"] + rhythm, run["last"] - rhythm, missing, text
    )


def _hours(interval: timedelta) -> str:
    """Interval in hours as text."""
    return f"{interval / timedelta(hours=1):g} h"
