"""Picture of the live account."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib import ticker

from engine.figures import COLOURS, STYLE, date_axis, new_figure, price_axis, thin, to_png

__all__ = ["equity_with_trades"]

_MARKS = {"long": "^", "short": "v"}
_MARKED = 60


def equity_with_trades(curve: pl.DataFrame, trades: pl.DataFrame, title: str) -> bytes:
    """Draw an account, its newest entries and exits, and how far it lies below its high.

    Parameters
    ----------
    curve : DataFrame
        ``ts, equity``.
    trades : DataFrame
        ``ts, side, net_return``: entries, whose ``net_return`` is missing, and exits.
    title : str
    """
    times, equity = curve["ts"].to_numpy(), curve["equity"].to_numpy()
    keep = thin(times.size)
    high = np.maximum(np.maximum.accumulate(equity), 1.0)
    trades = trades.tail(_MARKED)
    entries = trades.filter(pl.col("net_return").is_null())
    exits = trades.filter(pl.col("net_return").is_not_null())
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 4.4)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot(times[keep], equity[keep], lw=1.3, color=COLOURS[0], zorder=1)

        def mark(part: pl.DataFrame, marker: str, colour: str, label: str) -> None:
            at = part["ts"].to_numpy()
            place = np.minimum(np.searchsorted(times, at), times.size - 1)
            top.scatter(at, equity[place], s=18, marker=marker, color=colour, label=label, lw=0.8, zorder=2)

        for name, side in (("long", 1), ("short", -1)):
            mark(entries.filter(pl.col("side") == side), _MARKS[name], COLOURS[1], f"{name} entered")
        for name, won in (("gain", pl.col("net_return") > 0), ("loss", pl.col("net_return") <= 0)):
            mark(exits.filter(won), "x", COLOURS[2] if name == "gain" else COLOURS[4], f"left with a {name}")
        top.set(title=title, ylabel="equity, start = 1")
        price_axis(top)
        top.legend(loc="best", ncols=2)
        bottom.fill_between(times[keep], (equity / high - 1.0)[keep], color=COLOURS[4], alpha=0.4, lw=0)
        bottom.set_ylabel("below high")
        bottom.yaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=1))
        date_axis(bottom)
        return to_png(figure)
