"""Pictures of the transition risk: over time under the price, and stated against realised."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import matplotlib as mpl
import matplotlib.ticker as mticker
import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from engine.figures import COLOURS, REGIME_COLOURS, STYLE, date_axis, new_figure, price_axis, thin, to_png

__all__ = ["risk_over_time", "risk_reliability"]

_TITLES = {"p_transition": "the regime is left", "p_panic_entry": "PANIC is entered"}


def risk_over_time(
    ts: Sequence[datetime], close: ArrayLike, regime: Sequence[str | None], risks: pl.DataFrame, title: str
) -> bytes:
    """Price with the entries into PANIC marked, over the two risks.

    Parameters
    ----------
    ts : sequence of datetime, length n
    close : array, shape (n,)
    regime : sequence of str or None, length n
        The likeliest regime of each bar: its PANIC is shaded, and each entry into it marked.
    risks : DataFrame, n rows
        ``horizon, p_transition, p_panic_entry``; gaps in the lines where a risk is unknown.
    title : str
    """
    keep = thin(len(ts))
    times = np.asarray(ts, dtype="datetime64[us]")
    panic = np.array([name == "PANIC" for name in regime])
    entered = times[panic & ~np.r_[True, panic[:-1]]]
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 4.4)
        top, *panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
        top.plot(times[keep], np.asarray(close, float)[keep], color="#1a202c")
        price_axis(top)
        top.set_title(title)
        for axes, name, colour in zip(panels, _TITLES, COLOURS, strict=False):
            risk = risks[name].cast(pl.Float64).to_numpy()
            axes.plot(times[keep], risk[keep], lw=0.8, color=colour)
            axes.set(ylim=(0.0, float(np.nanmax(np.append(risk, 0.25)))))
            axes.set_title(f"P({_TITLES[name]}) within {risks['horizon'][0]} bars", fontweight="normal")
            axes.yaxis.set_major_formatter(mticker.PercentFormatter(1.0, decimals=0))
        for axes in (top, *panels):
            colour, across = REGIME_COLOURS["PANIC"], axes.get_xaxis_transform()
            axes.fill_between(times, 0, 1, where=panic, transform=across, lw=0, alpha=0.25, color=colour)
            axes.vlines(entered, 0, 1, transform=across, lw=0.6, alpha=0.7, color=colour)
        date_axis(panels[-1])
        return to_png(figure)


def risk_reliability(tables: dict[str, pl.DataFrame], title: str) -> bytes:
    """Stated risk against the share that came true, one panel for each risk.

    Parameters
    ----------
    tables : dict of str to DataFrame
        From `engine.regimes.transition_skill.transition_reliability`, by title; the rows "ALL" are drawn,
        each with its interval and, as the size of its point, its number of risks.
    title : str
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.5)
        panels = figure.subplots(1, len(tables), squeeze=False)[0]
        for axes, (name, table), colour in zip(panels, tables.items(), COLOURS, strict=False):
            part = table.filter(pl.col("regime") == "ALL").sort("stated")
            x, y = part["stated"].to_numpy(), part["realised"].to_numpy()
            spread = np.clip(np.vstack([y - part["low"].to_numpy(), part["high"].to_numpy() - y]), 0, None)
            share = part["n"].to_numpy() / max(part["n"].sum(), 1)
            axes.plot((0, 1), (0, 1), color="#a0aec0", ls="--", lw=0.9)
            axes.errorbar(x, y, yerr=spread, lw=0.9, capsize=2, color=colour)
            axes.scatter(x, y, s=8 + 160 * share, color=colour, zorder=3)
            end = min(1.1 * float(np.max(np.r_[x, y, 0.1])), 1.0)
            axes.set(xlim=(0, end), ylim=(0, end), title=name)
            axes.set(xlabel="stated risk", ylabel="share that came true")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(mticker.PercentFormatter(1.0, decimals=0))
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        return to_png(figure)
