"""What every picture shares: its style, its size, and a PNG small enough to keep for good."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import matplotlib.dates as mdates
import matplotlib.ticker as mticker
import numpy as np
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "REGIME_COLOURS",
    "STYLE",
    "data_uri",
    "date_axis",
    "new_figure",
    "price_axis",
    "thin",
    "to_png",
]

REGIME_COLOURS = {"TREND": "#2f855a", "RANGE": "#a0aec0", "PANIC": "#c53030"}
COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030", "#718096", "#b7791f", "#319795")
_MAX_POINTS = 1_500
# A range narrower than this has too few round numbers for a logarithmic axis.
_LOG_FROM = 3.0
STYLE: Any = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.6,
    "axes.edgecolor": "#a0aec0",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.1,
    "axes.prop_cycle": cycler(color=COLOURS),
}


def data_uri(png: bytes) -> str:
    """Inline form of a PNG, as Markdown and HTML take it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, outside of any window or global state."""
    return Figure(figsize=(width, height), dpi=90, layout="constrained")


def to_png(figure: Figure) -> bytes:
    """Draw as a PNG of 64 colours, tens of kilobytes."""
    # Not by savefig(), which draws twice and packs what is unpacked here at once.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    small = io.BytesIO()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    drawn.convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


def thin(n: int) -> np.ndarray:
    """Pick at most 1,500 evenly spaced indices of `n`, the last one included."""
    return np.unique(np.linspace(0, n - 1, min(n, _MAX_POINTS)).round().astype(int))


def date_axis(axes: Axes) -> None:
    """Label the horizontal axis with few and short dates."""
    locator = mdates.AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))


def price_axis(axes: Axes) -> None:
    """Scale what was drawn by logarithms if it spans enough of them, with round labels."""
    low, high = axes.dataLim.intervaly
    if low > 0 and high / low > _LOG_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(mticker.LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axes.yaxis.set_minor_formatter(mticker.NullFormatter())
    axes.yaxis.set_major_formatter(mticker.FormatStrFormatter("%g"))
