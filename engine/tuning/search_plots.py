"""Pictures of a search: what each episode scored, and where the best parameters went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.ticker import MaxNLocator

from engine.figures import COLOURS, STYLE, new_figure, to_png
from engine.tuning.parameters import PARAMETERS, check_names

if TYPE_CHECKING:
    import polars as pl

    from engine.tuning.parameters import ParameterSet

__all__ = ["parameter_paths", "reward_by_episode"]


def reward_by_episode(episodes: pl.DataFrame, in_force: float, title: str = "Search") -> bytes:
    """Draw the scores of each episode's candidates and the best so far.

    Parameters
    ----------
    episodes : DataFrame
        Columns `engine.tuning.search.EPISODES`.
    in_force : float
        Score of what is in force.
    title : str

    Returns
    -------
    bytes
        PNG.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 2.8)
        axes = figure.subplots()
        x = episodes["episode"].to_numpy()
        for column, label, colour, width in (
            ("mean_score", "mean of the episode", COLOURS[5], 1.1),
            ("best_score", "best of the episode", COLOURS[0], 1.1),
            ("best_so_far", "best so far", COLOURS[2], 1.8),
        ):
            axes.plot(x, episodes[column].to_numpy(), label=label, color=colour, lw=width, marker="o", ms=2.5)
        axes.axhline(in_force, color=COLOURS[4], ls="--", lw=0.9, label="in force")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="episode", ylabel="score", title=title)
        axes.legend(loc="lower right", ncols=2)
        return to_png(figure)


def parameter_paths(
    episodes: pl.DataFrame, incumbent: ParameterSet, targets: Sequence[str], title: str = "Parameters"
) -> bytes:
    """Draw the best values so far, one panel per parameter that may move.

    Parameters
    ----------
    episodes : DataFrame
        Columns `engine.tuning.search.EPISODES`.
    incumbent : ParameterSet
    targets : sequence of str
        Wire names.
    title : str

    Returns
    -------
    bytes
        PNG.

    Raises
    ------
    ValueError
        If a target is unknown or there is none.
    """
    check_names(targets)
    if not targets:
        raise ValueError("there is no parameter to draw")
    now, x = incumbent.to_dict(), episodes["episode"].to_numpy()
    with mpl.rc_context(STYLE):
        columns = min(len(targets), 3)
        rows = -(-len(targets) // columns)
        figure = new_figure(7.6, 0.5 + 1.25 * rows)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
        for axes, name, colour in zip(grid, targets, COLOURS * rows, strict=False):
            row = PARAMETERS[name]
            axes.axhline(now[name], color=COLOURS[4], ls="--", lw=0.9)
            axes.step(x, episodes[name].to_numpy(), where="mid", color=colour)
            margin = 0.04 * (row.high - row.low)
            axes.set_ylim(row.low - margin, row.high + margin)
            axes.set_title(f"{name}, {row.unit}", fontsize=8, fontweight="normal")
            axes.tick_params(labelsize=7)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        for axes in grid[len(targets) :]:
            axes.set_visible(False)
        figure.suptitle(
            f"{title}: best so far by episode, within the bounds; dashed is what is in force",
            x=0.01, ha="left", fontsize=9.5, fontweight="bold",
        )  # fmt: skip
        return to_png(figure)
