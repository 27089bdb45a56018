"""A picture of the front of searched parameter sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from engine.figures import COLOURS, STYLE, new_figure, to_png

if TYPE_CHECKING:
    from engine.tuning.front import Front

__all__ = ["front_picture"]

_AXES = {"drawdown": "largest drawdown, %", "volatility": "volatility, % a year"}


def front_picture(front: Front, chosen: int = 0) -> bytes:
    """Draw return against risk of all candidates, coloured by cost, and the front.

    Parameters
    ----------
    front : Front
    chosen : int
        Candidate that is to be applied; candidate 0 is what is in force.

    Returns
    -------
    bytes
        PNG.
    """
    members = front.members
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.8)
        axes = figure.subplots()
        x, y, cost = 100.0 * front.risks, 100.0 * front.growth, 100.0 * front.costs
        # Few colours, so that those of the marks survive in a small picture.
        few = mpl.colormaps["viridis_r"].resampled(7)
        colours = {"cmap": few, "vmin": cost.min(), "vmax": cost.max()}
        axes.scatter(x, y, c=cost, s=6, lw=0, **colours)
        drawn = axes.scatter(
            x[members],
            y[members],
            c=cost[members],
            s=34,
            edgecolor="#1a202c",
            lw=0.7,
            label="front",
            zorder=3,
            **colours,
        )
        marks = [(0, "in force", "D", 46)] + ([(chosen, "chosen", "*", 120)] if chosen else [])
        for row, label, marker, size in marks:
            axes.scatter(
                x[row], y[row], s=size, marker=marker, color=COLOURS[4], label=label, edgecolor="white",
                lw=0.8, zorder=4,
            )  # fmt: skip
        axes.axhline(0.0, color="#4a5568", lw=0.8)
        axes.set(xlabel=_AXES[front.risk], ylabel="net return, % a year")
        axes.set_title(f"{members.size} of {np.size(x)} searched sets that no other beats")
        axes.legend(loc="best")
        figure.colorbar(drawn, ax=axes, label="costs, % of equity a year")
        return to_png(figure)
