"""Pictures of real beside synthetic windows."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.ticker as mticker
import numpy as np
from matplotlib.axes import Axes

from engine.figures import STYLE, new_figure, to_png
from engine.synthetic.validation_distances import clustering
from engine.synthetic.window_generator import Floats

__all__ = ["window_distributions", "window_paths"]

_COLOURS = {"real": "#1a202c", "synthetic": "#dd6b20"}
_BANDS = (0.05, 0.25, 0.5, 0.75, 0.95)
_LAGS = 10


def window_paths(real: Floats, synthetic: Floats, title: str, shown: int = 40) -> bytes:
    """Draw how prices move on inside windows, real ones left and synthetic ones right, on the same axes.

    Parameters
    ----------
    real, synthetic : ndarray, shape (n, length, channels)
        Channel 0 is the log return in usual bars.
    title : str
    shown : int
        Single windows drawn of each; bands and median are of all.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.2)
        panels = figure.subplots(1, 2, sharey=True)
        paths = [np.pad(np.cumsum(w[:, :, 0], axis=1), ((0, 0), (1, 0))) for w in (real, synthetic)]
        reach = np.quantile(np.abs(np.concatenate([path[:, -1] for path in paths])), 0.99)
        for axes, (name, colour), path in zip(panels, _COLOURS.items(), paths, strict=True):
            _fan(axes, path, colour, shown)
            axes.set(xlabel="bars since the window opened", ylim=(-reach, reach))
            axes.set_title(f"{name}, {len(path):,} windows", fontsize=8.5, fontweight="normal")
        panels[0].set_ylabel("log price, usual bars")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        return to_png(figure)


def _fan(axes: Axes, path: Floats, colour: str, shown: int) -> None:
    bars = np.arange(path.shape[1])
    for single in path[:: max(len(path) // shown, 1)][:shown]:
        axes.plot(bars, single, lw=0.4, color=colour, alpha=0.35)
    lowest, low, median, high, highest = np.quantile(path, _BANDS, axis=0)
    axes.fill_between(bars, lowest, highest, color=colour, alpha=0.10, lw=0, label="90 % of windows")
    axes.fill_between(bars, low, high, color=colour, alpha=0.22, lw=0, label="half of them")
    axes.plot(bars, median, lw=1.4, color=colour, label="median")
    axes.legend(loc="upper left")


def window_distributions(real: Floats, synthetic: Floats, title: str) -> bytes:
    """Draw returns, clustering and window volatility of real and synthetic windows over each other.

    Parameters
    ----------
    real, synthetic : ndarray, shape (n, length, channels)
        Channel 0 is the log return in usual bars.
    title : str
    """
    samples = dict(zip(_COLOURS, (real, synthetic), strict=True))
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 2.8)
        returns, memory, volatility = figure.subplots(1, 3)
        edges = np.linspace(-6.0, 6.0, 61)
        for name, windows in samples.items():
            line = {"color": _COLOURS[name], "label": name, "lw": 1.2}
            bars = windows[:, :, 0].ravel()
            density = np.histogram(bars, edges)[0] / (bars.size * np.diff(edges))
            returns.stairs(density, edges, **line)
            lags = range(1, _LAGS + 1)
            memory.plot(lags, [clustering(windows, lag) for lag in lags], marker="o", ms=3, **line)
            rms = np.sort(np.sqrt((windows[:, :, 0] ** 2).mean(axis=1)))
            volatility.plot(rms, np.arange(1, len(rms) + 1) / len(rms), **line)
        returns.set(title="returns", xlabel="usual bars", ylabel="density", yscale="log")
        returns.yaxis.set_major_formatter(mticker.FormatStrFormatter("%g"))
        memory.axhline(0.0, color="#a0aec0", lw=0.8)
        memory.set(title="clustering of |r|", xlabel="lag, bars", ylabel="autocorrelation in windows")
        memory.xaxis.set_major_locator(mticker.MultipleLocator(2))
        volatility.set(
            title="window volatility", xlabel="usual bars", ylabel="share of windows", xscale="log"
        )
        volatility.xaxis.set_major_formatter(mticker.FormatStrFormatter("%g"))
        volatility.xaxis.set_minor_formatter(mticker.NullFormatter())
        for axes in (returns, memory, volatility):
            axes.title.set(fontsize=8.5, fontweight="normal")
        volatility.legend(loc="lower right")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        return to_png(figure)
