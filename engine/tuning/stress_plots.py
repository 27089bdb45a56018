"""A picture of a candidate under stress, beside what is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from engine.figures import COLOURS, STYLE, new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from engine.tuning.stress import StressTest

__all__ = ["stress_picture"]

_HEIGHT = 0.36


def stress_picture(test: StressTest) -> bytes:
    """Draw the falls of both in each market, and how much deeper the candidate falls than is allowed.

    Returns
    -------
    bytes
        PNG.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(8.4, 3.2)
        left, right = figure.subplots(1, 2, sharey=True)
        _falls(left, test)
        _differences(right, test)
        left.invert_yaxis()
        word = "nothing clearly too much" if test.passed else "refused"
        figure.suptitle(f"under stress: {word}", x=0.01, ha="left", fontsize=10)
        return to_png(figure)


def _falls(panel: Axes, test: StressTest) -> None:
    rows = np.arange(test.table.height)
    for shift, who, label, colour in (
        (-0.5, "incumbent", "in force", COLOURS[5]),
        (0.5, "candidate", "candidate", COLOURS[1]),
    ):
        values = 100.0 * test.table[who].to_numpy()
        panel.barh(rows + shift * _HEIGHT, values, _HEIGHT, color=colour, label=label)
    names = [f"{name} ({paths} paths)" for name, paths in test.table.select("stress", "paths").iter_rows()]
    panel.set_yticks(rows, names)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("largest fall, %, mean of paths")
    panel.legend()


def _differences(panel: Axes, test: StressTest) -> None:
    for row, of in enumerate(test.table.iter_rows(named=True)):
        colour = COLOURS[2] if of["passed"] else COLOURS[4]
        panel.plot([100.0 * of["low"], 100.0 * of["high"]], [row, row], color=colour, lw=2.0)
        panel.plot(100.0 * of["difference"], row, "o", color=colour, ms=5)
        if of["stress"] != "calm":
            panel.plot(100.0 * of["allowed"], row, "|", color="#1a202c", ms=16, mew=1.6)
    panel.axvline(0.0, color="#4a5568", lw=0.8)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("deeper than what is in force, points; | is allowed")
    panel.set_title("refused (red): surely beyond what is allowed")
