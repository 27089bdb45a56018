"""How an agent of options used them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.agents.option_laws import AGE, ENDED, NEXT, OPTION

__all__ = ["OptionReport", "option_report"]


@dataclass(frozen=True)
class OptionReport:
    """How options were used.

    Parameters
    ----------
    use : dict of str to float
        Share of bars on which each option acted.
    mean_duration : dict of str to float
        Bars per end of each option; infinite where none ended, NaN where the option could not have ended.
    ends : dict of str to int
    """

    use: dict[str, float]
    mean_duration: dict[str, float]
    ends: dict[str, int]


def option_report(memory: Tensor, action: Tensor, names: tuple[str, ...]) -> OptionReport:
    """Count use and duration of options over decisions, in any order.

    Mean duration is occasions to end over ends, the maximum-likelihood estimate, which counts options still
    in force rightly; the mean over finished ones would be too short.

    Parameters
    ----------
    memory : Tensor, shape (..., 3)
        Before each decision.
    action : Tensor, shape (..., 3)
    names : tuple of str
        Of the options.
    """
    memory, action = memory.flatten(0, -2), action.flatten(0, -2)
    running = memory[:, AGE] > 0
    options = len(names)
    acted = torch.bincount(action[:, NEXT], minlength=options)
    occasions = torch.bincount(memory[running, OPTION], minlength=options)
    ends = torch.bincount(memory[running & (action[:, ENDED] > 0), OPTION], minlength=options)
    use, duration = acted.double() / len(action), occasions.double() / ends
    return OptionReport(
        dict(zip(names, use.tolist(), strict=True)),
        dict(zip(names, duration.tolist(), strict=True)),
        dict(zip(names, ends.tolist(), strict=True)),
    )
