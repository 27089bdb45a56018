"""Audit of prices: missing and impossible values, bars at odds with themselves, and outliers."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.market.audit_rows import UNKNOWN, report, trading_share
from engine.market.finding import Finding

__all__ = ["PRICES", "impossible", "outliers", "sound"]

PRICES = ("open", "high", "low", "close")
DEVIATIONS = 25.0  # robust standard deviations of the past, for a move and for a bar's range alike
BLOCK, WINDOW, WARM_UP = 24, 30, 10  # a bar is judged by the median of the medians of past blocks of bars
TICK = 1e-4  # smallest scale of a log return: below it a quiet price would make an outlier of one tick
NORMAL_MEDIAN = 0.6745  # median of |x| of a standard normal x
LISTING = timedelta(days=1)


def sound() -> pl.Expr:
    """Whether the four prices of a bar are finite, positive and in order (null counts as unsound)."""
    positive = pl.all_horizontal((pl.col(p) > 0) & pl.col(p).is_finite() for p in PRICES)
    inside = (pl.col("high") >= pl.max_horizontal("open", "close", "low")) & (
        pl.col("low") <= pl.min_horizontal("open", "close")
    )
    return (positive & inside).fill_null(value=False)


def impossible(rows: pl.DataFrame) -> list[Finding]:
    """Report missing and impossible prices, and bars whose open or close lies outside high and low."""
    suspects = rows.filter(~pl.col("sound"))
    if suspects.is_empty():
        return []
    absent = pl.any_horizontal(pl.col(p).is_null() for p in PRICES)
    wrong = pl.any_horizontal(~(pl.col(p).is_finite() & (pl.col(p) > 0)) for p in PRICES)
    wrong = wrong.fill_null(value=False)
    lowest = pl.min_horizontal(PRICES).min()
    above = pl.max_horizontal("open", "close", "low") / pl.col("high") - 1
    below = 1 - pl.min_horizontal("open", "close") / pl.col("low")
    return (
        report(
            suspects,
            absent,
            "missing_value",
            "error",
            lambda run: f"{run['values']} of the prices are missing",
            values=pl.sum_horizontal(pl.col(p).null_count() for p in PRICES),
        )
        + report(
            suspects,
            ~absent & wrong,
            "price",
            "error",
            lambda run: f"zero, negative or not a number; lowest {run['lowest']}",
            lowest=lowest,
        )
        + report(
            suspects,
            ~absent & ~wrong,
            "ohlc",
            "error",
            lambda run: f"high and low do not contain the other prices, by up to {run['by']:.3g} of them",
            by=pl.max_horizontal(above, below).max(),
        )
    )


def outliers(
    rows: pl.DataFrame, life: pl.DataFrame, bar: timedelta, explained: pl.DataFrame
) -> list[Finding]:
    """Report moves and ranges far beyond what the past of the same symbol knows.

    A log return is measured against the usual |log return|, and the log range high/low against the
    usual range: the median of the medians of the `WINDOW` blocks of `BLOCK` bars before. The first
    `WARM_UP` blocks of a symbol are measured against each other.

    Parameters
    ----------
    rows : polars.DataFrame
        Sorted bars without repeats, with ``sound``.
    life : polars.DataFrame
        First and last bar of each symbol.
    bar : timedelta
        Length of a bar; moves across a gap are not measured.
    explained : polars.DataFrame
        ``symbol, ts`` of moves that another finding explains.
    """
    adjacent = (
        (pl.col("symbol") == pl.col("symbol").shift())
        & (pl.col("ts").diff() == bar)
        & pl.col("sound")
        & pl.col("sound").shift()
    )
    measured = rows.select(
        "symbol",
        "ts",
        "row",
        pl.when(adjacent).then(pl.col("close").log().diff()).alias("move"),
        pl.when("sound").then((pl.col("high") / pl.col("low")).log()).alias("range"),
    )
    if explained.height:
        keys = explained.select("symbol", "ts", explained=pl.lit(value=True))
        known = measured.join(keys, on=["symbol", "ts"], how="left", maintain_order="left")["explained"]
        measured = measured.with_columns(move=pl.when(known.is_null()).then("move"))
    measured = _with_usual(measured).with_columns(
        (pl.col("move") / (pl.col("usual_move") / NORMAL_MEDIAN).clip(TICK)).alias("far"),
        (pl.col("range") / pl.col("usual_range").clip(TICK)).alias("wide"),
    )
    jumped, stretched = pl.col("far").abs() > DEVIATIONS, pl.col("wide") > DEVIATIONS
    beside = (pl.col("move").shift(), pl.col("move").shift(-1))
    undone = [(pl.col("move") + move).abs() < 0.25 * pl.col("move").abs() for move in beside]
    hits = measured.with_columns(reverts=pl.any_horizontal(undone)).filter(jumped | stretched)
    if hits.is_empty():
        return []
    perpetual = pl.col("symbol").str.contains(":", literal=True).alias("perpetual")
    hits = (
        hits.with_columns(perpetual)
        .join(trading_share(hits, life), on=["perpetual", "ts"], how="left", maintain_order="left")
        .join(life, on="symbol", how="left", maintain_order="left")
    )
    cause = (
        pl.when(pl.col("ts") < pl.col("born") + LISTING)
        .then(pl.lit("listing"))
        .when((pl.col("trading") > 1) & (pl.col("hit") >= 0.5 * pl.col("trading")))
        .then(pl.lit("market"))
        .when(~jumped.fill_null(value=False))
        .then(pl.lit("wick"))
        .when("reverts")
        .then(pl.lit("spike"))
        .otherwise(UNKNOWN)
    )
    return report(
        hits,
        pl.lit(value=True),
        "outlier",
        "warn",
        lambda run: (
            (f"move {run['move']:+.2%} ({run['far']:.0f} deviations), " if run["move"] is not None else "")
            + f"high over low {run['range']:.2%} ({run['wide']:.0f} times the usual)"
        ),
        cause=cause,
        move=pl.col("move").get(pl.col("move").abs().arg_max()).exp() - 1,
        far=pl.col("far").abs().max(),
        range=pl.col("range").max().exp() - 1,
        wide=pl.col("wide").max(),
    )


def _with_usual(measured: pl.DataFrame) -> pl.DataFrame:
    """Add ``usual_move`` and ``usual_range``, known before the block of the bar began."""
    measured = measured.with_columns(block=pl.col("row") // BLOCK)
    sizes = {"usual_move": pl.col("move").abs(), "usual_range": pl.col("range")}
    blocks = measured.group_by("symbol", "block", maintain_order=True).agg(
        size.median().alias(name) for name, size in sizes.items()
    )
    for name in sizes:
        past = pl.col(name).rolling_median(WINDOW, min_samples=WARM_UP).shift().backward_fill().over("symbol")
        blocks = blocks.with_columns(pl.coalesce(past, pl.col(name).median().over("symbol")))
    return measured.join(blocks, on=["symbol", "block"], how="left", maintain_order="left")
