"""Pictures of a bandit: what it came to believe of each engine in each regime, and whom it followed."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import polars as pl

from engine.alpha.coordinator import BREAK_EVEN
from engine.figures import COLOURS, STYLE, date_axis, new_figure, thin, to_png
from engine.regimes.names import REGIMES

__all__ = ["choices_picture", "posteriors_picture"]

_OUT = "stayed out"
_OUT_COLOUR = "#e2e8f0"


def posteriors_picture(posteriors: pl.DataFrame, title: str) -> bytes:
    """Mean expected reward of each engine through time, a panel for each regime, with the final interval.

    Parameters
    ----------
    posteriors : polars.DataFrame
        ``ts, engine, regime, mean, low, high`` as a walk gives them.
    title : str

    Returns
    -------
    bytes
        PNG.
    """
    engines = posteriors["engine"].unique(maintain_order=True).to_list()
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 6.0)
        panels = figure.subplots(len(REGIMES), 1, sharex=True, sharey=True)
        for axes, regime in zip(panels, REGIMES, strict=True):
            axes.axhline(BREAK_EVEN, color="#1a202c", lw=0.8, ls=":")
            for k, engine in enumerate(engines):
                law = posteriors.filter(engine=engine, regime=regime).sort("ts")
                shown = law[thin(law.height)]
                times = shown["ts"].to_numpy()
                axes.plot(times, shown["mean"].to_numpy(), color=COLOURS[k % len(COLOURS)], label=engine)
                # Side by side after the last moment, where no line is.
                at = times[-1] + (times[-1] - times[0]) * (k + 1) // 80
                axes.vlines(at, law["low"][-1], law["high"][-1], COLOURS[k % len(COLOURS)], lw=1.6)
            axes.set_ylabel(regime)
            axes.set_ylim(0.0, 1.0)
        panels[0].set_title(title)
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(engines), 4)
        )
        figure.supylabel("expected reward, ½ to break even; bars: 95 % at the end", fontsize=8.5)
        date_axis(panels[-1])
        return to_png(figure)


def choices_picture(choices: pl.DataFrame, engines: Sequence[str], title: str) -> bytes:
    """Share of each engine among the choices of every month, staying out included.

    Parameters
    ----------
    choices : polars.DataFrame
        ``ts, engine`` as a walk gives them; a null engine stayed out.
    engines : sequence of str
        All engines in the bandit's order, so that colours are those of the posteriors.
    title : str

    Returns
    -------
    bytes
        PNG.
    """
    counts = (
        choices.with_columns(pl.col("engine").fill_null(_OUT), month=pl.col("ts").dt.truncate("1mo"))
        .group_by("month", "engine")
        .len()
        .pivot(on="engine", index="month", values="len")
        .sort("month")
        .fill_null(0)
    )
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(engines)} | {_OUT: _OUT_COLOUR}
    names = [name for name in colours if name in counts.columns]
    shares = counts.select(names).to_numpy().astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.4)
        axes = figure.subplots()
        base = np.zeros(len(shares))
        for k, name in enumerate(names):
            axes.bar(
                counts["month"].to_numpy(),
                shares[:, k],
                27.0,
                base,
                color=colours[name],
                align="edge",
                label=name,
            )
            base = base + shares[:, k]
        axes.set_ylim(0.0, 1.0)
        axes.set_ylabel("share of the month's choices")
        axes.set_title(title)
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside lower center", ncols=4)
        date_axis(axes)
        return to_png(figure)
