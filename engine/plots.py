"""Pictures for people: each function takes plain arrays or frames and returns a small PNG.

A picture ends up in the event log of the orchestrator for good, so each is kept to tens of kilobytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.ticker as mticker
import numpy as np

from engine.figures import COLOURS, REGIME_COLOURS, STYLE, date_axis, new_figure, price_axis, thin, to_png
from engine.regimes.names import REGIMES

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import ArrayLike

__all__ = [
    "bar_chart",
    "coverage_over_time",
    "equity_and_drawdown",
    "histogram",
    "line_panels",
    "presence_map",
    "price_with_regimes",
    "reliability_diagram",
    "risk_contributions",
    "weights_over_time",
]

# Alerts hang from the top, the graver ones above.
_ALERT_HEIGHTS, _ALERT_COLOURS = (0.93, 0.98), ("#dd6b20", "#9b2c2c")


def price_with_regimes(
    ts: Sequence[datetime],
    close: ArrayLike,
    probabilities: ArrayLike,
    title: str,
    alerts: Mapping[str, Sequence[datetime]] | None = None,
) -> bytes:
    """Price, shaded by the likeliest regime, over the stacked probabilities of all.

    Parameters
    ----------
    ts : sequence of datetime, length n
    close : array, shape (n,)
    probabilities : array, shape (n, 3)
        Columns in the order of `REGIMES`; NaN where unknown.
    title : str
    alerts : mapping of str to sequence of datetime, optional
        When the change-point detector asked for less risk, by what it asked for: reduce or exit.
    """
    keep = thin(len(ts))
    times = np.asarray(ts, dtype="datetime64[us]")[keep]
    prices = np.asarray(close, float)[keep]
    shares = np.nan_to_num(np.asarray(probabilities, float)[keep])
    likeliest = np.where(shares.any(axis=1), shares.argmax(axis=1), -1)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot(times, prices, color="#1a202c")
        price_axis(top)
        top.set_title(title)
        for k, name in enumerate(REGIMES):
            top.fill_between(
                times, 0, 1, where=likeliest == k, transform=top.get_xaxis_transform(), lw=0, alpha=0.22,
                color=REGIME_COLOURS[name],
            )  # fmt: skip
        marks = [
            top.scatter(
                np.asarray(moments, dtype="datetime64[us]"), np.full(len(moments), height), s=9, marker="v",
                color=colour, transform=top.get_xaxis_transform(), label=action, zorder=3,
            )
            for (action, moments), height, colour in zip(
                (alerts or {}).items(), _ALERT_HEIGHTS, _ALERT_COLOURS, strict=False
            )
        ]  # fmt: skip
        bottom.stackplot(times, shares.T, colors=[REGIME_COLOURS[r] for r in REGIMES], labels=REGIMES, lw=0)
        bottom.set(ylim=(0, 1), ylabel="P(regime)")
        bottom.grid(visible=False)
        date_axis(bottom)
        bottom.legend(
            handles=[*bottom.collections, *marks],
            labels=[*REGIMES, *(alerts or {})],
            ncols=5,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.35),
        )
        return to_png(figure)


def line_panels(ts: Sequence[datetime], panels: Mapping[str, ArrayLike], title: str) -> bytes:
    """Several series over the same time, one small panel each."""
    keep = thin(len(ts))
    times = np.asarray(ts, dtype="datetime64[us]")[keep]
    with mpl.rc_context(STYLE):
        rows = -(-len(panels) // 2)
        figure = new_figure(7.6, 0.4 + 1.05 * rows)
        grid = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
        for axes, (name, values), colour in zip(grid, panels.items(), COLOURS * len(panels), strict=False):
            axes.plot(times, np.asarray(values, float)[keep], lw=0.8, color=colour)
            axes.set_title(name, fontsize=8, fontweight="normal")
            axes.tick_params(labelsize=7)
            date_axis(axes)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        return to_png(figure)


def bar_chart(names: Sequence[str], series: Mapping[str, ArrayLike], title: str, unit: str) -> bytes:
    """Horizontal bars, largest on top, one colour per entry of `series`."""
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 0.7 + 0.22 * len(names))
        axes = figure.subplots()
        rows = np.arange(len(names))[::-1]
        height = 0.8 / len(series)
        for i, (label, values) in enumerate(series.items()):
            colour = REGIME_COLOURS.get(label, COLOURS[i % len(COLOURS)])
            axes.barh(
                rows + 0.4 - height * (i + 0.5), np.asarray(values, float), height, label=label, color=colour
            )
        axes.set_yticks(rows, names)
        axes.set(title=title, xlabel=unit)
        axes.grid(visible=False, axis="y")
        if len(series) > 1:
            axes.legend(loc="lower right")
        return to_png(figure)


def histogram(values: ArrayLike, title: str, unit: str) -> bytes:
    """Distribution of a sample, its far tails gathered in the outer bins."""
    sample = np.asarray(values, float)
    sample = sample[np.isfinite(sample)]
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 2.4)
        axes = figure.subplots()
        if sample.size:
            low, high = np.quantile(sample, [0.002, 0.998])
            axes.hist(np.clip(sample, low, high), bins=60, color=COLOURS[0])
        axes.set(title=title, xlabel=unit, ylabel="rows")
        return to_png(figure)


def reliability_diagram(table: pl.DataFrame, title: str) -> bytes:
    """Stated confidence against realised accuracy, with intervals and counts.

    Parameters
    ----------
    table : DataFrame
        Columns ``stated, realised, low, high, count`` and ``regime``.
    title : str
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.2)
        axes, counts = figure.subplots(1, 2, width_ratios=(2, 1))
        limits = (0.3, 1.0)
        axes.plot(limits, limits, color="#a0aec0", ls="--", lw=0.9)
        for regime in [r for r in ("ALL", *REGIMES) if r in set(table["regime"])]:
            part = table.filter(table["regime"] == regime).sort("stated")
            x, y = part["stated"].to_numpy(), part["realised"].to_numpy()
            spread = np.clip(np.vstack([y - part["low"].to_numpy(), part["high"].to_numpy() - y]), 0, None)
            colour = REGIME_COLOURS.get(regime, "#1a202c")
            axes.errorbar(x, y, yerr=spread, marker="o", ms=3, lw=0.9, capsize=2, label=regime, color=colour)
            counts.plot(x, part["count"].to_numpy(), marker="o", ms=3, color=colour)
        axes.set(title=title, xlabel="stated confidence", ylabel="share that was right", ylim=limits)
        axes.legend(loc="upper left")
        counts.set(xlabel="stated confidence", ylabel="predictions", yscale="symlog")
        return to_png(figure)


def coverage_over_time(ts: Sequence[datetime], coverage: ArrayLike, level: float, title: str) -> bytes:
    """Coverage over a rolling window against the level promised."""
    keep = thin(len(ts))
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 2.4)
        axes = figure.subplots()
        axes.plot(np.asarray(ts, dtype="datetime64[us]")[keep], np.asarray(coverage, float)[keep])
        axes.axhline(level, color="#c53030", ls="--", lw=0.9, label=f"promised {level:.0%}")
        axes.set(title=title, ylabel="coverage")
        axes.legend(loc="lower left")
        date_axis(axes)
        return to_png(figure)


def equity_and_drawdown(ts: Sequence[datetime], equity: Mapping[str, ArrayLike], title: str) -> bytes:
    """Equity of several strategies from 1, and how far each lies below its highest point so far."""
    keep = thin(len(ts))
    times = np.asarray(ts, dtype="datetime64[us]")[keep]
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 4.0)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        for i, (name, values) in enumerate(equity.items()):
            path = np.asarray(values, float)
            width = 1.6 if i == 0 else 0.9
            top.plot(times, path[keep], label=name, lw=width)
            bottom.plot(times, (path / np.maximum.accumulate(path) - 1)[keep], lw=width)
        top.set(title=title, ylabel="equity, start = 1")
        price_axis(top)
        top.legend(loc="best", ncols=2)
        bottom.set_ylabel("drawdown")
        bottom.yaxis.set_major_formatter(mticker.PercentFormatter(1.0, decimals=0))
        date_axis(bottom)
        return to_png(figure)


def risk_contributions(symbols: Sequence[str], weights: ArrayLike, shares: ArrayLike, title: str) -> bytes:
    """Weight and share of risk of each asset, side by side."""
    series = {"weight": weights, "share of risk": shares}
    unit = "share" if np.any(np.asarray(weights, float)) else "all in cash"
    return bar_chart(list(symbols), series, title, unit)


def weights_over_time(ts: Sequence[datetime], weights: Mapping[str, ArrayLike], title: str) -> bytes:
    """Weights of each asset, stacked: long positions above zero, short ones below."""
    keep = thin(len(ts))
    times = np.asarray(ts, dtype="datetime64[us]")[keep]
    paths = {name: np.asarray(values, float)[keep] for name, values in weights.items()}
    largest = sorted(paths, key=lambda name: -float(np.abs(paths[name]).sum()))
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.2)
        axes = figure.subplots()
        colours = [mpl.colormaps["tab20"](i) for i in range(len(largest))]
        for side in (np.maximum, np.minimum):
            axes.stackplot(
                times,
                *(side(paths[name], 0.0) for name in largest),
                colors=colours,
                labels=largest if side is np.maximum else (),
                step="post",
            )
        axes.axhline(0.0, color="black", lw=0.6)
        axes.set(title=title, ylabel="fraction of equity")
        if not any(values.any() for values in paths.values()):
            axes.text(0.5, 0.55, "all in cash", transform=axes.transAxes, ha="center")
        axes.legend(loc="upper left", ncols=4, fontsize="x-small")
        date_axis(axes)
        return to_png(figure)


def presence_map(symbols: Sequence[str], days: Sequence[datetime], share: ArrayLike, title: str) -> bytes:
    """Share of the expected bars that each symbol has, per period: white is complete, red is missing.

    Parameters
    ----------
    symbols : sequence of str, length m
    days : sequence of datetime, length n
    share : array, shape (m, n)
        NaN before listing.
    title : str
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 0.8 + 0.24 * len(symbols))
        axes = figure.subplots()
        colours = mpl.colormaps["RdYlGn"].with_extremes(bad="#edf2f7")
        axes.pcolormesh(
            np.asarray(days, dtype="datetime64[us]"),
            np.arange(len(symbols)),
            np.ma.masked_invalid(np.asarray(share, float)),
            vmin=0.9,
            vmax=1.0,
            cmap=colours,
            shading="nearest",
        )
        axes.set_yticks(np.arange(len(symbols)), symbols)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_title(title)
        date_axis(axes)
        return to_png(figure)
