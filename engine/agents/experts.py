"""One expert per regime behind a soft gate that sees the market and the filtered regime probabilities.

What is mixed are the experts' laws over the target positions, not their logits:
pi(a|s) = sum_k g_k pi_k(a|s). So an expert learns from an action in proportion to its share g_k pi_k / pi in
having taken it, and experts part company; see `engine.agents.mixture`. The value is the gate's mean of the
experts' values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from engine.agents.actor_critic import chosen, entropy_of, head, sample
from engine.agents.mixture import balance_loss, mixture_log_probs, stratified_weights
from engine.agents.policy import OWN_STATE, Decision, Evaluation, Policy
from engine.regimes.names import REGIMES

__all__ = ["LEAST_PRIOR", "ExpertsConfig", "MoEAgent"]

_TINY = torch.finfo(torch.float32).tiny
# Memory holds integers: a gate weight of 1 is kept as this number.
_WHOLE = 1 << 20

LEAST_PRIOR = 0.01
"""A regime probability below this counts as this in the gate's prior, so that every expert keeps learning."""


@dataclass(frozen=True)
class ExpertsConfig:
    """Size and gate of a `MoEAgent`.

    Parameters
    ----------
    hidden : int, optional
        Width of each hidden layer of an expert.
    gate_hidden : int, optional
        Width of the gate's hidden layer.
    balance_weight : float, optional
        Weight of the balance loss at the start of training, see `MoEAgent.anneal`.
    gate_smoothing : float, optional
        Weight of the gate's last value in its present one, in [0, 1): a change of regime reaches the position
        over some 1 / (1 - gate_smoothing) bars rather than at one.
    """

    hidden: int = 32
    gate_hidden: int = 16
    balance_weight: float = 0.01
    gate_smoothing: float = 0.5

    def __post_init__(self) -> None:
        if min(self.hidden, self.gate_hidden) < 1:
            raise ValueError("hidden and gate_hidden must be at least 1")
        if not 0.0 <= self.balance_weight < math.inf:
            raise ValueError(f"balance_weight must be finite and not negative, not {self.balance_weight}")
        if not 0.0 <= self.gate_smoothing < 1.0:
            raise ValueError(f"gate_smoothing must lie in [0, 1), not {self.gate_smoothing}")


class _Head(nn.Module):
    """Second hidden layer of an expert, where the account joins, then actor and critic."""

    def __init__(self, levels: int, hidden: int) -> None:
        super().__init__()
        self.own = nn.Linear(len(OWN_STATE), hidden, bias=False)
        self.outputs = nn.Linear(hidden, levels + 1)
        nn.init.orthogonal_(self.own.weight)
        nn.init.orthogonal_(self.outputs.weight)
        nn.init.zeros_(self.outputs.bias)
        with torch.no_grad():
            self.outputs.weight[:levels] *= 0.01

    def forward(self, embedding: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the levels (B, L) and value (B,)."""
        outputs = head(self.outputs, torch.tanh(embedding + self.own(own)))
        return outputs[:-1].log_softmax(0).T, outputs[-1]


class MoEAgent(Policy):
    """Actor and critic with a TREND, a RANGE and a PANIC expert.

    The gate starts as the filtered regime probabilities and learns a correction from the state of the market,
    so the experts deserve their names without a label of hindsight ever being used.

    Parameters
    ----------
    state_dim : int
        Width of a state: the bar's features, then the own state.
    n_actions : int
        Number of target positions.
    config : ExpertsConfig, optional

    Notes
    -----
    The memory is the gate last used, in parts of 2^20; all zeros on the first bar of an episode.

    Sources: Jacobs et al. (1991), Jordan and Jacobs (1994), Fedus, Zoph and Shazeer (2022).
    """

    experts: tuple[str, ...] = REGIMES
    memory_size = len(REGIMES)
    balance_weight: Tensor

    def __init__(self, state_dim: int, n_actions: int, config: ExpertsConfig | None = None) -> None:
        if state_dim <= len(OWN_STATE):
            raise ValueError(
                f"state_dim = {state_dim} must be above {len(OWN_STATE)}: features, then own state"
            )
        super().__init__(state_dim - len(OWN_STATE), n_actions)
        self.config = config = config or ExpertsConfig()
        bar = self.features + len(REGIMES)
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Linear(bar, config.hidden), nn.Tanh(), nn.Linear(config.hidden, config.hidden))
            for _ in self.experts
        )
        self.heads = nn.ModuleList(_Head(n_actions, config.hidden) for _ in self.experts)
        self.gate = nn.Sequential(
            nn.Linear(bar, config.gate_hidden), nn.Tanh(), nn.Linear(config.gate_hidden, len(self.experts))
        )
        for embed in self.embed:
            for weight in embed.parameters():
                nn.init.orthogonal_(weight) if weight.ndim == 2 else nn.init.zeros_(weight)
        for parameter in self.gate[-1].parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("balance_weight", torch.tensor(config.balance_weight))

    @classmethod
    def of(cls, features: int, levels: int, config: ExpertsConfig | None = None) -> MoEAgent:
        """Make the policy for bars of so many features and so many target positions."""
        return cls(features + len(OWN_STATE), levels, config)

    def anneal(self, progress: float) -> None:
        """Set the weight of the balance loss for a share of the training done: from its first value to 0."""
        if not 0.0 <= progress <= 1.0:
            raise ValueError(f"progress must lie in [0, 1], not {progress}")
        self.balance_weight.fill_(self.config.balance_weight * (1.0 - progress))

    def forward(
        self, state: Tensor, regime_probs: Tensor, last_weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Judge B states.

        Parameters
        ----------
        state : Tensor, shape (B, state_dim)
            Scaled features of the bar, then the own state.
        regime_probs : Tensor, shape (B, 3)
            Filtered probabilities of the regimes, as known at the bar.
        last_weights : Tensor, shape (B, 3), optional
            Expert weights on the bar before, to smooth the gate with.

        Returns
        -------
        action_logits : Tensor, shape (B, n_actions)
            Log-probabilities of the mixture.
        value : Tensor, shape (B,)
        expert_weights : Tensor, shape (B, 3)
            The gate, in the order of `experts`.
        """
        if state.shape[1] != self.features + len(OWN_STATE):
            raise ValueError(
                f"state must have {self.features + len(OWN_STATE)} columns, not {state.shape[1]}"
            )
        bars, own = state.split((self.features, len(OWN_STATE)), dim=1)
        memory = own.new_zeros(len(own), self.memory_size, dtype=torch.int64)
        if last_weights is not None:
            memory = _remembered(last_weights)
        log_p, value, gate, _ = self._judge(self.encode(bars, regime_probs), own, memory)
        return log_p, value, gate

    def encode(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        """Embed M bars: each expert's own embedding, the gate's logits, the regime probabilities."""
        seen = torch.cat((bars, p_regime), dim=1)
        prior = p_regime.clamp_min(LEAST_PRIOR).log()
        embedded = (embed(seen) for embed in self.embed)
        return torch.cat((*embedded, prior + self.gate(seen), p_regime), dim=1)

    def expert_weights(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        """Gate on M bars before any smoothing, shape (M, 3); for `engine.agents.mixture.gate_report`."""
        return self._split(self.encode(bars, p_regime))[1].softmax(1)

    def decide(
        self,
        embedding: Tensor,
        own: Tensor,
        memory: Tensor,
        *,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> Decision:
        """Choose a level in each of B states and remember the gate."""
        log_p, value, gate, _ = self._judge(embedding, own, memory)
        level = log_p.argmax(1) if greedy else sample(log_p, generator)
        log_prob = chosen(log_p, level)
        return Decision(level[:, None], log_prob, value, _remembered(gate), log_prob.exp())

    def evaluate(self, embedding: Tensor, own: Tensor, memory: Tensor, action: Tensor) -> Evaluation:
        """Log-probability, entropy and value of B actions (B, 1); the balance loss is auxiliary.

        It is taken over the gate before smoothing and over strata by the filtered regime.
        """
        log_p, value, _, unsmoothed = self._judge(embedding, own, memory)
        regime = embedding[:, -len(REGIMES) :].argmax(1)
        balance = self.balance_weight * balance_loss(unsmoothed, stratified_weights(regime))
        return Evaluation(chosen(log_p, action[:, 0]), entropy_of(log_p), value, balance)

    def values(self, embedding: Tensor, own: Tensor, memory: Tensor) -> Tensor:
        """Value of B states."""
        return self._judge(embedding, own, memory)[1]

    def level_law(self, embedding: Tensor, own: Tensor) -> Tensor:
        """Log-probability (B, levels) of each level, as the gate mixes the experts."""
        memory = torch.zeros(len(own), self.memory_size, dtype=torch.int64, device=own.device)
        return self._judge(embedding, own, memory)[0]

    def level_layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each expert's last layer, without the row of its value."""
        for expert in self.heads:
            outputs = cast("_Head", expert).outputs
            yield outputs.weight[: self.levels], outputs.bias[: self.levels]

    def _split(self, embedding: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Embeddings of the experts, and logits of the gate."""
        count = len(self.experts)
        parts = embedding.split((*[self.config.hidden] * count, count, len(REGIMES)), dim=1)
        return parts[:count], parts[count]

    def _judge(self, embedding: Tensor, own: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probabilities of the levels, value, gate in force, gate before smoothing."""
        parts, logits = self._split(embedding)
        unsmoothed = logits.softmax(1)
        gate = self._smoothed(unsmoothed, memory)
        judged = [head(part, own) for head, part in zip(self.heads, parts, strict=True)]
        log_p = mixture_log_probs(gate.clamp_min(_TINY).log(), torch.stack([log_p for log_p, _ in judged], 1))
        value = (gate * torch.stack([value for _, value in judged], 1)).sum(1)
        return log_p, value, gate, unsmoothed

    def _smoothed(self, gate: Tensor, memory: Tensor) -> Tensor:
        """Mix the gate with the one remembered, where there is one."""
        total = memory.sum(1, keepdim=True)
        last = memory / total.clamp_min(1)
        kept = self.config.gate_smoothing * (total > 0)
        return kept * last + (1.0 - kept) * gate


def _remembered(gate: Tensor) -> Tensor:
    """Gate weights as integers."""
    return (gate * _WHOLE).round().to(torch.int64)
