"""Pictures of how agents learn."""

from __future__ import annotations

import polars as pl
from matplotlib import rc_context

from engine.figures import COLOURS, REGIME_COLOURS, STYLE, new_figure, to_png

__all__ = ["learning_curves"]

_PANELS = {
    "reward per decision": ("reward", "validation_reward"),
    "entropy, nats": ("entropy",),
    "change of position\nper decision": ("turnover", "validation_turnover"),
}


def learning_curves(report: pl.DataFrame) -> bytes:
    """Reward, entropy and turnover by update, in training and on the validation part, stages shaded.

    Parameters
    ----------
    report : DataFrame
        As `engine.agents.training.TrainedAgent.report`.

    Returns
    -------
    bytes
        PNG.
    """
    # The warm-up takes no updates: its points stand on 0, before the first stage.
    spans = (
        report.filter(pl.col("update") > 0)
        .group_by("stage", maintain_order=True)
        .agg(first=pl.col("update").min(), last=pl.col("update").max())
    )
    begins = [0, *spans["last"].to_list()]
    with rc_context(STYLE):
        figure = new_figure(8.0, 6.0)
        panels = figure.subplots(len(_PANELS), 1, sharex=True)
        for panel, (label, names) in zip(panels, _PANELS.items(), strict=True):
            for begin, (stage, _, last) in zip(begins, spans.iter_rows(), strict=False):
                shade = REGIME_COLOURS.get(stage, COLOURS[0])
                panel.axvspan(begin, last, alpha=0.12, lw=0, color=shade, label=f"stage {stage}")
            for name, colour in zip(names, COLOURS, strict=False):
                known = report.select("update", name).drop_nulls()
                shown = "validation" if name.startswith("validation") else "training"
                panel.plot(known["update"], known[name], color=colour, label=shown, marker=".")
            panel.set_ylabel(label)
        panels[0].axhline(0.0, color="#4a5568", lw=0.8)
        panels[-1].set_xlabel("update; on 0 what it began with")
        figure.align_ylabels()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    return to_png(figure)
