"""Options whose policies inside are mixtures of one expert per regime."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.agents.actor_critic import head
from engine.agents.experts import LEAST_PRIOR
from engine.agents.options import HierarchicalRLAgent, OptionsConfig
from engine.regimes.names import REGIMES

__all__ = ["ExpertOptionsAgent"]


class ExpertOptionsAgent(HierarchicalRLAgent):
    """`HierarchicalRLAgent` in which each option asks a TREND, a RANGE and a PANIC expert for the level.

    The gate starts as the filtered regime probabilities and learns a correction from the bar, as in
    `engine.agents.experts.MoEAgent`; what is mixed are the experts' laws over the target positions.

    Parameters
    ----------
    state_dim : int
    config : OptionsConfig, optional
    """

    def __init__(self, state_dim: int, config: OptionsConfig | None = None) -> None:
        super().__init__(state_dim, config)
        hidden, options = self.config.hidden, len(self.config.names)
        self.gate = nn.Linear(self.features + len(REGIMES), len(REGIMES))
        self.within_options = nn.Linear(hidden, len(REGIMES) * options * self.levels)
        nn.init.orthogonal_(self.within_options.weight, 0.01)
        for parameter in (*self.gate.parameters(), self.within_options.bias):
            nn.init.zeros_(parameter)

    def encode(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        """Embed M bars: the bar's part of the first layer, then the logarithm of the gate."""
        seen = torch.cat((bars, p_regime), dim=1)
        gate = p_regime.clamp_min(LEAST_PRIOR).log() + self.gate(seen)
        return torch.cat((self.bar(seen), gate.log_softmax(1)), dim=1)

    def expert_weights(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        """Gate on M bars, shape (M, 3); for `engine.agents.mixture.gate_report`."""
        return self.encode(bars, p_regime)[:, -len(REGIMES) :].exp()

    def _level_laws(self, actor: Tensor, embedding: Tensor) -> Tensor:
        """Log-probabilities (B, O, L) of the levels under each option: what the gate mixes of the experts."""
        each = head(self.within_options, actor).unflatten(0, (len(REGIMES), -1, self.levels)).log_softmax(2)
        log_gate = embedding[:, -len(REGIMES) :].T[:, None, None]
        return torch.logsumexp(log_gate + each, dim=0).permute(2, 0, 1)
