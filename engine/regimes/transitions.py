"""What counts as a transition of the regime, when it is known whether one came, and how often one comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from engine.market.segments import unbroken
from engine.regimes.names import REGIMES

__all__ = ["OUTCOMES", "climatology", "transition_labels"]

OUTCOMES = ("leaves", "panic_entry")


def transition_labels(
    regimes: pl.DataFrame, bar: timedelta, horizon: int = 24, hold: int = 3
) -> pl.DataFrame:
    """Say of each bar whether its regime was left, and whether PANIC was entered, within the horizon.

    Everything is read from the filtered regimes, so the labels need no truth that nobody has:

    - ``leaves``: among the next `horizon` bars is one from which on the likeliest regime differs from the
      present one for `hold` bars at least. It need not be the same other regime all along.
    - ``panic_entry``: the present regime is not PANIC, and it is PANIC in one of the next `horizon` bars or
      more. In PANIC it is null.

    A label is known at ``label_end``, the close of the last bar that it looks at, whatever it turned out to
    be: a transition is seen earlier than that none came, and to use it earlier would teach too many of them.
    For the same reason a row has no label, not even a transition that was seen, where a bar is missing or
    its regime unknown before that.

    Parameters
    ----------
    regimes : DataFrame
        ``symbol, ts, regime``, sorted by symbol and ts; further columns are ignored.
    bar : timedelta
        Length of a bar.
    horizon : int
        Bars in which a transition may begin.
    hold : int
        Bars for which the other regime must last; 1 takes every flicker for a transition.

    Returns
    -------
    DataFrame
        ``symbol, ts, leaves, panic_entry, label_end``, rows as given; ``label_end`` is
        ``ts + (horizon + hold) * bar``, null where both labels are.
    """
    for name, bars in {"horizon": horizon, "hold": hold}.items():
        if bars < 1:
            raise ValueError(f"{name} was {bars} bars; it must be at least 1")
    reach = horizon + hold - 1
    present = pl.col("regime")
    left = pl.coalesce(
        pl.when(present == name).then(_any_ahead(_lasting(present != name, hold), horizon))
        for name in REGIMES
    )
    panic = pl.when(present != "PANIC").then(_any_ahead(present == "PANIC", horizon))
    all_known = present.is_not_null().cast(pl.Int8).rolling_min(reach + 1).shift(-reach).over("symbol") == 1
    rows = regimes.select("symbol", "ts", "regime").with_columns(whole=unbroken(regimes, bar, reach))
    whole = pl.col("whole") & all_known
    return rows.select(
        "symbol",
        "ts",
        leaves=pl.when(whole).then(left),
        panic_entry=pl.when(whole).then(panic),
        label_end=pl.when(whole).then(pl.col("ts") + (reach + 1) * bar),
    )


def _lasting(condition: pl.Expr, bars: int) -> pl.Expr:
    """Whether a condition holds in this bar and those after it, `bars` in all."""
    return condition.cast(pl.Int8).rolling_min(bars).shift(1 - bars)


def _any_ahead(condition: pl.Expr, horizon: int) -> pl.Expr:
    """Whether a condition holds in any of the next `horizon` bars of the symbol."""
    return condition.cast(pl.Int8).rolling_max(horizon).shift(-horizon).over("symbol") == 1


def climatology(labels: pl.DataFrame, outcome: str, bar: timedelta, by: Sequence[str] = ()) -> pl.Series:
    """Give the base rate of an outcome at each bar: its share among the labels of all symbols known by then.

    Parameters
    ----------
    labels : DataFrame
        ``ts, label_end``, the outcome and the columns of `by`.
    outcome : str
        Boolean column.
    bar : timedelta
        Length of a bar; labels known at ``ts + bar`` count.
    by : sequence of str
        Categories with a rate of their own, such as the present regime.

    Returns
    -------
    Series
        ``base``, one per row; null before a first label is known.
    """
    steps = (
        labels.drop_nulls([outcome, "label_end", *by])
        .group_by("label_end", *by)
        .agg(pl.col(outcome).sum().alias("hits"), pl.len().alias("n"))
        .sort("label_end")
        .with_columns(
            (pl.col(name).cum_sum().over(by) if by else pl.col(name).cum_sum()) for name in ("hits", "n")
        )
        .select(*by, "label_end", base=pl.col("hits") / pl.col("n"))
    )
    moments = labels.select(*by, moment=pl.col("ts") + bar).with_row_index("row").sort("moment")
    joined = moments.join_asof(
        steps,
        left_on="moment",
        right_on="label_end",
        by=list(by) or None,
        strategy="backward",
        check_sortedness=False,
    )
    return joined.sort("row")["base"]
