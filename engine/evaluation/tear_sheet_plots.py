"""Pictures of a tear sheet, each drawn for a light and for a dark page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.ticker as mticker
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike, NDArray

from engine.figures import STYLE, date_axis, new_figure, thin, to_png

__all__ = [
    "Theme",
    "equity_and_drawdown",
    "in_both_themes",
    "monthly_returns",
    "return_distribution",
    "rolling_sharpe",
    "trades_by_symbol",
]

Theme = Literal["light", "dark"]
Times = NDArray[np.datetime64]

_INK = {"light": "#1a202c", "dark": "#e2e8f0"}
_PAPER = {"light": "#ffffff", "dark": "#171c26"}
_GRID = {"light": "#e2e8f0", "dark": "#2d3748"}
_GAIN = {"light": "#2f855a", "dark": "#48bb78"}
_LOSS = {"light": "#c53030", "dark": "#fc8181"}
_LINE = {"light": "#2b6cb0", "dark": "#63b3ed"}
_OTHERS = ("#dd6b20", "#805ad5", "#718096", "#b7791f", "#319795")


def in_both_themes(draw: Callable[[Theme], bytes]) -> tuple[bytes, bytes]:
    """Draw a picture for a light and for a dark page."""
    return draw("light"), draw("dark")


def _style(theme: Theme) -> Any:
    ink, paper = _INK[theme], _PAPER[theme]
    colours = {
        "figure.facecolor": paper,
        "axes.facecolor": paper,
        "grid.color": _GRID[theme],
        "axes.axisbelow": True,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
    }
    return mpl.rc_context(STYLE | colours)


def _percent(axes: Axes, decimals: int = 0) -> None:
    axes.yaxis.set_major_formatter(mticker.PercentFormatter(1.0, decimals=decimals))


def equity_and_drawdown(times: Times, equity: Mapping[str, ArrayLike], theme: Theme) -> bytes:
    """Draw equity from 1, the first curve as the subject, and how far it lies below its highest point."""
    keep = thin(len(times))
    with _style(theme):
        figure = new_figure(9.6, 4.4)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        colours = (_LINE[theme], *_OTHERS)
        for i, (name, values) in enumerate(equity.items()):
            path = np.asarray(values, float)
            colour, width = colours[i % len(colours)], 1.7 if i == 0 else 0.9
            top.plot(times[keep], path[keep], label=name, lw=width, color=colour, zorder=3 if i == 0 else 2)
            if i == 0:
                below = path / np.maximum(np.maximum.accumulate(path), 1.0) - 1.0
                bottom.fill_between(times[keep], below[keep], 0.0, color=_LOSS[theme], alpha=0.35, lw=0)
                bottom.plot(times[keep], below[keep], color=_LOSS[theme], lw=0.8)
        top.axhline(1.0, color=_INK[theme], lw=0.6, alpha=0.5)
        top.set(title="Equity, net of all costs", ylabel="start = 1")
        if len(equity) > 1:
            top.legend(loc="best", ncols=min(len(equity), 3), labelcolor=_INK[theme])
        bottom.set_ylabel("drawdown")
        _percent(bottom)
        date_axis(bottom)
        return to_png(figure)


def monthly_returns(months: pl.DataFrame, theme: Theme) -> bytes:
    """Draw returns per calendar month, years down and months across, with the year's return beside.

    Parameters
    ----------
    months : polars.DataFrame
        ``year, month, net_return``.
    theme : Theme
    """
    years = months["year"].unique().sort().to_list()
    table = np.full((len(years), 13), np.nan)
    for year, month, value in months.select("year", "month", "net_return").iter_rows():
        table[years.index(year), month - 1] = value
    table[:, 12] = np.nanprod(1.0 + table[:, :12], axis=1) - 1.0
    limit = max(float(np.nanquantile(np.abs(table[:, :12]), 0.95)), 1e-4)
    scale = 1.7 * limit  # full colours would hide the figures on them
    shades = LinearSegmentedColormap.from_list("", [_LOSS[theme], _PAPER[theme], _GAIN[theme]])
    with _style(theme):
        figure = new_figure(9.6, 0.9 + 0.34 * len(years))
        axes = figure.subplots()
        axes.imshow(np.clip(table, -limit, limit), cmap=shades, vmin=-scale, vmax=scale, aspect="auto")
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                weight = "bold" if column == 12 else "normal"
                axes.text(
                    column, row, f"{100 * value:.1f}", ha="center", va="center", fontsize=8, weight=weight
                )
        names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year"]
        axes.set_xticks(range(13), names)
        axes.set_yticks(range(len(years)), [str(year) for year in years])
        axes.axvline(11.5, color=_INK[theme], lw=0.8)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_title("Net return per month, %")
        return to_png(figure)


def rolling_sharpe(days: Times, ratios: ArrayLike, window: int, theme: Theme) -> bytes:
    """Draw the Sharpe ratio over a rolling window; NaN until the window is full."""
    values = np.asarray(ratios, float)
    with _style(theme):
        figure = new_figure(4.8, 2.5)
        axes = figure.subplots()
        axes.plot(days, values, color=_LINE[theme])
        axes.axhline(0.0, color=_INK[theme], lw=0.7)
        axes.set(title=f"Sharpe ratio, last {window} days", ylabel="per year")
        date_axis(axes)
        return to_png(figure)


def return_distribution(returns: ArrayLike, tail: float, theme: Theme) -> bytes:
    """Draw daily returns as a histogram, the mean of the worst twentieth marked at ``-tail``."""
    sample = np.asarray(returns, float)
    with _style(theme):
        figure = new_figure(4.8, 2.5)
        axes = figure.subplots()
        edges = np.linspace(sample.min(), sample.max() + 1e-12, 61)
        for part, colour in ((sample[sample < 0], _LOSS[theme]), (sample[sample >= 0], _GAIN[theme])):
            axes.hist(part, bins=list(edges), color=colour, alpha=0.85)
        axes.axvline(-tail, color=_INK[theme], ls="--", lw=0.9, label=f"CVaR 95 %: {tail:.2%}")
        axes.set(title="Daily net returns", ylabel="days")
        axes.xaxis.set_major_formatter(mticker.PercentFormatter(1.0, decimals=1))
        axes.legend(loc="upper right", labelcolor=_INK[theme])
        return to_png(figure)


def trades_by_symbol(symbols: pl.DataFrame, theme: Theme) -> bytes:
    """Draw the net result of each symbol's trades.

    Parameters
    ----------
    symbols : polars.DataFrame
        ``symbol, net_pnl, trades``, in the order to be drawn.
    theme : Theme
    """
    net = symbols["net_pnl"].to_numpy()
    rows = np.arange(symbols.height)[::-1]
    with _style(theme):
        figure = new_figure(9.6, 0.9 + 0.24 * symbols.height)
        axes = figure.subplots()
        axes.barh(rows, net, 0.7, color=[_GAIN[theme] if value >= 0 else _LOSS[theme] for value in net])
        labels = [f"{symbol} ({count})" for symbol, count in symbols.select("symbol", "trades").iter_rows()]
        axes.set_yticks(rows, labels, parse_math=False)
        axes.axvline(0.0, color=_INK[theme], lw=0.7)
        axes.set(title="Net result by symbol (trades)", xlabel="quote units")
        axes.xaxis.set_major_formatter(mticker.StrMethodFormatter("{x:,.0f}"))
        axes.grid(visible=False, axis="y")
        return to_png(figure)
