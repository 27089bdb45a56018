"""The ablation as a picture: each improvement's effect with its interval, beside what was claimed for it."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import polars as pl

from engine.evaluation.improvements import METRICS
from engine.figures import COLOURS, STYLE, new_figure, to_png

__all__ = ["forest"]

_COLOUR_OF_VERDICT = {"helps": "#2f855a", "hurts": "#c53030", "mixed": "#b7791f"}
_UNDECIDED = "#4a5568"
_OFFSET = {"minus_one": -0.16, "plus_one": 0.16}
_LABEL = {"minus_one": "full - (full without it)", "plus_one": "(base + it) - base"}


def forest(table: pl.DataFrame, metric: str = "net_return", *, confidence: float = 0.95) -> bytes:
    """Draw effects with their intervals, one row for each improvement of one world.

    Parameters
    ----------
    table : polars.DataFrame
        From `engine.evaluation.ablation.ablation_table`, one world's rows.
    metric : str
        What the effects are in, one of `METRICS`, for the axis.
    confidence : float
        Of the table's intervals, for the axis.

    Raises
    ------
    ValueError
        If the table holds no or several worlds.
    """
    if table["world"].n_unique() != 1:
        raise ValueError(f"worlds {table['world'].unique().to_list()}: one picture shows exactly one world")
    place = np.arange(table.height)
    with mpl.rc_context(STYLE):
        figure = new_figure(9.6, 1.3 + 0.34 * table.height)
        axes, words = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for (name, offset), colour in zip(_OFFSET.items(), COLOURS[:2], strict=True):
            value, low, high = (table[name + edge].to_numpy() for edge in ("", "_low", "_high"))
            reach = np.abs(np.stack([value - low, high - value]))
            axes.errorbar(
                value, place + offset, xerr=reach, fmt="o", ms=3.5, lw=1.4, color=colour, label=_LABEL[name]
            )
        axes.axvline(0.0, color="#1a202c", lw=0.8)
        axes.set_yticks(place, table["title"].to_list())
        axes.set_ylim(table.height - 0.5, -0.5)
        axes.set_xlabel(f"effect with {confidence:.0%} interval over seeds:\n{METRICS[metric]}")
        axes.set_title(f"What each improvement is worth: {table['world'][0]}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
        for row, (claim, verdict) in enumerate(table.select("claim", "verdict").iter_rows()):
            words.text(0.0, row, claim.replace(", ", "\n"), va="center", fontsize=7.5, color="#4a5568")
            colour = _COLOUR_OF_VERDICT.get(verdict, _UNDECIDED)
            weight = "bold" if verdict in _COLOUR_OF_VERDICT else "normal"
            words.text(1.0, row, verdict, va="center", ha="right", color=colour, weight=weight)
        words.set_title("Claimed")
        words.set_title("Verdict", loc="right")
        words.set_axis_off()
        return to_png(figure)
