"""Pictures of patterns: a window beside those found alike and what followed, and how the encoder learned."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.ticker as mticker
import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.figures import COLOURS, STYLE, new_figure, to_png
from engine.patterns.contrastive import TrainingReport
from engine.patterns.embedding_quality import effective_rank, uniformity

__all__ = ["embedding_picture", "learning_curve", "neighbours_picture"]


def neighbours_picture(
    query: ArrayLike,
    neighbours: Sequence[ArrayLike],
    distances: Sequence[float],
    title: str,
    window: int = 30,
) -> bytes:
    """Price of a window over those of its nearest neighbours, each with what followed.

    Parameters
    ----------
    query : array, shape (window,) or longer
        Closes of the query's window, and of what followed where it is known.
    neighbours : sequence of array
        The same of each neighbour, nearest first.
    distances : sequence of float
    title : str
    window : int
        Bars up to the decision; prices are relative to the last of them.
    """

    def path(closes: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        values = np.asarray(closes, np.float64)
        return np.arange(len(values)) - (window - 1), values / values[window - 1] - 1.0

    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.4)
        axes = figure.subplots()
        weakest = max(distances, default=1.0) or 1.0
        for closes, distance in zip(neighbours, distances, strict=True):
            axes.plot(*path(closes), color=COLOURS[5], lw=0.8, alpha=1.0 - 0.6 * distance / weakest)
        if len(neighbours):
            shortest = min(len(np.asarray(closes)) for closes in neighbours)
            steps, _ = path(np.asarray(neighbours[0])[:shortest])
            middle = np.median([path(np.asarray(closes)[:shortest])[1] for closes in neighbours], axis=0)
            axes.plot(
                steps, middle, color=COLOURS[1], lw=1.6, label=f"median of {len(neighbours)} neighbours"
            )
        axes.plot(*path(query), color=COLOURS[0], lw=2.0, label="query")
        axes.axvline(0, color="#1a202c", lw=0.8)
        axes.text(0.4, 0.97, "what followed", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
        axes.yaxis.set_major_formatter(mticker.PercentFormatter(1.0))
        axes.set(xlabel="bars from the decision", title=title)
        axes.legend(loc="best")
        return to_png(figure)


def learning_curve(report: TrainingReport, title: str) -> bytes:
    """Training and validation loss over the updates, with that of a collapsed encoder."""
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.0)
        axes = figure.subplots()
        updates = np.arange(1, len(report.loss) + 1)
        axes.plot(updates, report.loss, color=COLOURS[5], lw=0.8, label="training")
        steps, values = zip((0, report.start), *report.checks, strict=True)
        axes.plot(steps, values, color=COLOURS[0], marker="o", ms=3, label="validation")
        axes.axhline(report.chance, color=COLOURS[4], ls="--", lw=1, label="collapsed: ln(2B - 1)")
        axes.axvline(
            report.best_step, color=COLOURS[2], ls=":", lw=1, label=f"kept: update {report.best_step}"
        )
        axes.set(xlabel="update", ylabel="NT-Xent", title=title)
        axes.legend()
        return to_png(figure)


def embedding_picture(embedding: ArrayLike, title: str) -> bytes:
    """Singular values of the centred embeddings (n, d), which tell how many directions are in use."""
    values = np.asarray(embedding, np.float64)
    centred = values - values.mean(axis=0)
    share = np.linalg.svd(centred, compute_uv=False)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 2.8)
        axes = figure.subplots()
        axes.bar(np.arange(1, len(share) + 1), share / share.sum(), color=COLOURS[0], width=0.9)
        axes.yaxis.set_major_formatter(mticker.PercentFormatter(1.0))
        axes.set(xlabel="direction", ylabel="share of the spread", title=title)
        axes.text(
            0.98, 0.95,
            f"effective rank {effective_rank(centred):.1f} of {values.shape[1]}\n"
            f"uniformity {uniformity(values[:2000]):.2f} (0: one point)",
            transform=axes.transAxes, ha="right", va="top",
        )  # fmt: skip
        return to_png(figure)
