"""Picture of a run-length posterior under the price, with the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import matplotlib as mpl
import matplotlib.dates as mdates
import matplotlib.ticker as mticker
import numpy as np
from matplotlib.colors import LogNorm
from numpy.typing import ArrayLike

from engine.figures import STYLE, date_axis, new_figure, to_png

__all__ = ["run_length_picture"]

_ALERT_COLOURS = {"reduce": "#dd6b20", "exit": "#c53030"}
_LEAST = 1e-4
_CELLS = (260, 700)


def run_length_picture(
    ts: Sequence[datetime],
    close: ArrayLike,
    matrix: ArrayLike,
    alerts: Sequence[tuple[datetime, str]],
    title: str,
) -> bytes:
    """Price with alerts, over the posterior of the run length: a drop to zero is a change.

    Parameters
    ----------
    ts : sequence of datetime, length n
    close : array, shape (n,)
    matrix : array, shape (n, m)
        From `run_length_matrix`.
    alerts : sequence of (datetime, str)
        When, and whether to ``reduce`` or to ``exit``.
    title : str

    Returns
    -------
    bytes
        PNG.
    """
    times = np.asarray(ts, dtype="datetime64[us]")
    probabilities = np.asarray(matrix, float)
    longest = int(np.flatnonzero((probabilities > _LEAST).any(axis=0))[-1]) + 1
    posterior = _coarse(probabilities[:, :longest])
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(7.6, 4.4)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
        top.plot(times, np.asarray(close, float), color="#1a202c")
        top.yaxis.set_major_formatter(mticker.FormatStrFormatter("%g"))
        top.set_title(title)
        for action, colour in _ALERT_COLOURS.items():
            moments = np.array([moment for moment, name in alerts if name == action], "datetime64[us]")
            for axes in (top, bottom):
                axes.vlines(moments, 0, 1, colour, lw=0.9, transform=axes.get_xaxis_transform(), label=action)
        top.legend(loc="upper right", ncols=2)
        edges = mdates.date2num([times[0], times[-1]])
        shown = bottom.imshow(
            posterior,
            aspect="auto",
            origin="lower",
            extent=(edges[0], edges[1], 0, longest),
            norm=LogNorm(_LEAST, 1.0, clip=True),
            cmap="Blues",
            interpolation="nearest",
        )
        bottom.set_ylabel("bars since the change")
        figure.colorbar(shown, ax=bottom, label="probability", pad=0.01)
        date_axis(bottom)
        return to_png(figure)


def _coarse(matrix: np.ndarray) -> np.ndarray:
    """[run length, time] with few enough cells to draw, each the largest of those it covers."""
    for axis, most in ((1, _CELLS[0]), (0, _CELLS[1])):
        starts = np.unique(np.linspace(0, matrix.shape[axis], most + 1).astype(int)[:-1])
        matrix = np.maximum.reduceat(matrix, starts, axis=axis)
    return np.maximum(matrix.T, _LEAST)
