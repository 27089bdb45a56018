"""The flat actor and critic: two networks of two tanh layers, their first layer split at the account."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.agents.policy import OWN_STATE, Decision, Evaluation, Policy
from engine.regimes.names import REGIMES

__all__ = ["ActorCritic", "chosen", "entropy_of", "head", "sample"]


class ActorCritic(Policy):
    """Separate actor and critic of two hidden tanh layers each, orthogonally initialised.

    The networks are the customary ones of PPO (Schulman et al. 2017; gains after Andrychowicz et al. 2021),
    with one change that alters no value: the first layer's product with the bar is taken by `encode`, its
    product with the account's own state is added later. So the wide part of the layer is paid once per bar
    and not once per account.

    Parameters
    ----------
    features : int
        Width of a bar's features; the regime probabilities are read beside them.
    levels : int
        Number of target positions.
    hidden : int
        Width of each hidden layer.

    Notes
    -----
    Weights are drawn from torch's global generator: seed it, or let `RLTradingAgent` do so.
    """

    def __init__(self, features: int, levels: int, hidden: int = 64) -> None:
        super().__init__(features, levels)
        bar, own = features + len(REGIMES), len(OWN_STATE)
        self.bar = nn.Linear(bar, 2 * hidden)
        self.own = nn.Linear(own, 2 * hidden, bias=False)
        self.actor, self.critic = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.logits, self.value = nn.Linear(hidden, levels), nn.Linear(hidden, 1)
        with torch.no_grad():
            for half in (slice(0, hidden), slice(hidden, 2 * hidden)):
                first = nn.init.orthogonal_(torch.empty(hidden, bar + own), math.sqrt(2.0))
                self.bar.weight[half], self.own.weight[half] = first.split((bar, own), dim=1)
        gains = {self.actor: math.sqrt(2.0), self.critic: math.sqrt(2.0), self.logits: 0.01, self.value: 1.0}
        for layer, gain in gains.items():
            nn.init.orthogonal_(layer.weight, gain)
        for layer in (self.bar, *gains):
            nn.init.zeros_(layer.bias)

    def encode(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        """Take the bar's part of the first layer, the actor's half and the critic's; shape (M, 2 hidden)."""
        return self.bar(torch.cat((bars, p_regime), dim=1))

    def decide(
        self,
        embedding: Tensor,
        own: Tensor,
        memory: Tensor,
        *,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> Decision:
        """Choose a level in each of B states; the memory has no columns and passes through."""
        log_p, value = self._heads(embedding, own)
        level = log_p.argmax(1) if greedy else sample(log_p, generator)
        log_prob = chosen(log_p, level)
        return Decision(level[:, None], log_prob, value, memory, log_prob.exp())

    def evaluate(self, embedding: Tensor, own: Tensor, memory: Tensor, action: Tensor) -> Evaluation:
        """Log-probability, entropy and value of B actions (B, 1)."""
        log_p, value = self._heads(embedding, own)
        return Evaluation(chosen(log_p, action[:, 0]), entropy_of(log_p), value, value.new_zeros(()))

    def values(self, embedding: Tensor, own: Tensor, memory: Tensor) -> Tensor:
        """Value of B states, by the critic alone."""
        _, critic = self._first(embedding, own).chunk(2, dim=1)
        return self.value(torch.tanh(self.critic(critic)))[:, 0]

    def level_law(self, embedding: Tensor, own: Tensor) -> Tensor:
        """Log-probability (B, levels) of each level."""
        return self._heads(embedding, own)[0]

    def level_layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the actor's last layer."""
        yield self.logits.weight, self.logits.bias

    def _first(self, embedding: Tensor, own: Tensor) -> Tensor:
        return torch.tanh(torch.addmm(embedding, own, self.own.weight.T))

    def _heads(self, embedding: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the levels (B, levels) and value (B,)."""
        actor, critic = self._first(embedding, own).chunk(2, dim=1)
        logits = head(self.logits, torch.tanh(self.actor(actor)))
        return logits.log_softmax(0).T, self.value(torch.tanh(self.critic(critic)))[:, 0]


def head(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """Apply a layer of few outputs to (B, D) and lay the outputs along the first axis: (outputs, B).

    A softmax over a handful of levels is ten times faster across the batch than within a row.
    """
    return torch.addmm(layer.bias[:, None], layer.weight, hidden.T)


def sample(log_p: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one column per row of log-probabilities (B, n), by the inverse of their distribution function."""
    below = log_p.exp().cumsum(1)
    u = torch.rand(len(log_p), 1, device=log_p.device, generator=generator)
    return (below[:, :-1] <= u).sum(1)


def chosen(log_p: Tensor, column: Tensor) -> Tensor:
    """Log-probability of one column per row, shape (B,)."""
    return log_p.gather(1, column[:, None])[:, 0]


def entropy_of(log_p: Tensor) -> Tensor:
    """Entropy of each row of log-probabilities, in nats, shape (B,)."""
    return -(log_p.exp() * log_p).sum(1)
