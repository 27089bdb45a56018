"""What an agent of options chooses by: laws of whether one ends, of the next one, and of the level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from engine.agents.actor_critic import chosen

__all__ = ["AGE", "ENDED", "HAZARD", "LEVEL", "NEXT", "OPTION", "OptionLaws", "of_option"]

OPTION, AGE, HAZARD = 0, 1, 2
"""Columns of the memory."""
LEVEL, NEXT, ENDED = 0, 1, 2
"""Columns of the action."""


@dataclass(frozen=True)
class OptionLaws:
    """What the networks make of B states: laws over O options and L levels."""

    log_option: Tensor  # (B, O)
    log_level: Tensor  # (B, O, L)
    end_logit: Tensor  # (B,), of the option in force
    fresh: Tensor  # (B,), no option is in force yet

    @property
    def p_end(self) -> Tensor:
        """Probability (B,) that the option in force ends; 1 where none is."""
        return torch.where(self.fresh, 1.0, self.end_logit.sigmoid())

    def p_next(self, option: Tensor) -> Tensor:
        """Probability (B, O) of each option to act on this bar."""
        p_end = self.p_end[:, None]
        kept = nn.functional.one_hot(option, self.log_option.shape[1])
        return p_end * self.log_option.exp() + (1.0 - p_end) * kept

    def log_prob(self, action: Tensor) -> Tensor:
        """Joint log-probability (B,) of coin, option and level; a coin that is not tossed has none."""
        ended = action[:, ENDED] > 0
        coin = logsigmoid(torch.where(ended, self.end_logit, -self.end_logit))
        option = torch.where(ended, chosen(self.log_option, action[:, NEXT]), 0.0)
        level = chosen(of_option(self.log_level, action[:, NEXT]), action[:, LEVEL])
        return torch.where(self.fresh, 0.0, coin) + option + level


def of_option(per_option: Tensor, option: Tensor) -> Tensor:
    """Rows (B, L) of one option each out of (B, O, L)."""
    return per_option[torch.arange(len(option), device=option.device), option]
