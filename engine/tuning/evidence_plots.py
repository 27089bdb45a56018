"""Pictures of the evidence on parameter sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context

from engine.figures import COLOURS, STYLE, date_axis, new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from engine.tuning.evidence import Evidence

__all__ = ["evidence_interval"]

_SHOWN = 12
_BPS = 1e4


def evidence_interval(evidence: Evidence) -> bytes:
    """Draw the intervals of the improvements that came nearest, and the two accounts.

    Returns
    -------
    bytes
        PNG.
    """
    with rc_context(STYLE):
        figure = new_figure(8.4, 3.8)
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.2))
        _intervals(left, evidence)
        _accounts(right, evidence)
        word = "let pass by the gate" if evidence.decision.promote else "refused by the gate"
        searched = f"{evidence.searched} searched, {evidence.tested} of them tested"
        figure.suptitle(
            f"{word} at level {evidence.decision.alpha:.3g}: {searched}", x=0.01, ha="left", fontsize=10
        )
    return to_png(figure)


def _intervals(panel: Axes, evidence: Evidence) -> None:
    decision = evidence.decision
    unit = _BPS if decision.statistic == "mean" else 1.0
    tested = [of for of in decision.verdicts if np.isfinite(of.low)]
    nearest = sorted(tested, key=lambda of: of.low, reverse=True)[:_SHOWN]
    for row, of in enumerate(nearest):
        judged = of.candidate == decision.verdict.candidate
        colour = COLOURS[2] if judged and decision.promote else COLOURS[1] if judged else COLOURS[5]
        bounds = [unit * of.low, unit * of.high]
        panel.plot(bounds, [row, row], color=colour, lw=2.2 if judged else 1.2, solid_capstyle="butt")
        panel.plot(unit * of.improvement, row, "o", color=colour, ms=4)
    panel.axvline(0.0, color="#4a5568", lw=0.8)
    panel.set_yticks(range(len(nearest)), [f"set {of.candidate}" for of in nearest])
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    name = "mean, basis points a day" if decision.statistic == "mean" else "Sharpe ratio per day"
    panel.set_xlabel(f"improvement of the {name}")
    # At a small level and with few tested of many searched, no bound can be given, however good they are.
    unbounded = any(np.isfinite(of.p_value) for of in decision.verdicts)
    none = "no lower bound at this level" if unbounded else "nothing could be tested"
    panel.set_title("highest lower bounds" if nearest else none)


def _accounts(panel: Axes, evidence: Evidence) -> None:
    judged = "let pass" if evidence.decision.promote else "nearest"
    for label, returns, colour in (
        ("in force", evidence.baseline, COLOURS[5]),
        (judged, evidence.candidate, COLOURS[2] if evidence.decision.promote else COLOURS[1]),
    ):
        panel.plot(evidence.periods, 100.0 * (np.cumprod(1.0 + returns) - 1.0), color=colour, label=label)
    panel.axhline(0.0, color="#4a5568", lw=0.8)
    panel.set_ylabel("net return, %")
    panel.set_title("accounts on the evidence window")
    panel.legend()
    date_axis(panel)
