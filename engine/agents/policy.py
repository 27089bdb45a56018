"""What a policy over bars and positions can do; learners and evaluation know nothing more of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["OWN_STATE", "Decision", "Evaluation", "Policy"]

OWN_STATE: tuple[str, ...] = ("position", "age", "unrealised")
"""What an account adds to the state of the market: exposure held, logarithm of its age, its open profit."""

_SURE = 20.0


@dataclass(frozen=True)
class Decision:
    """What a policy does in each of B states.

    Parameters
    ----------
    action : Tensor of int64, shape (B, A)
        Column 0 is the level of the target position; further columns belong to the policy.
    log_prob : Tensor, shape (B,)
        Logarithm of the probability of the whole action.
    value : Tensor, shape (B,)
    memory : Tensor of int64, shape (B, K)
        What the policy carries into the next decision of the same episode.
    confidence : Tensor, shape (B,)
        Probability of the level chosen.
    """

    action: Tensor
    log_prob: Tensor
    value: Tensor
    memory: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Evaluation:
    """What a policy thinks of actions taken earlier.

    Parameters
    ----------
    log_prob, entropy, value : Tensor, shape (B,)
        With gradients.
    auxiliary : Tensor, scalar
        Penalty of the policy's own making, to be added to the loss; zero for most.
    """

    log_prob: Tensor
    entropy: Tensor
    value: Tensor
    auxiliary: Tensor

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """All four, in the order in which they are listed."""
        return self.log_prob, self.entropy, self.value, self.auxiliary

    def detach(self) -> Evaluation:
        """Return the same numbers without what it takes to differentiate them."""
        return Evaluation(*(output.detach() for output in self.outputs))

    @staticmethod
    def join(parts: Sequence[Evaluation]) -> Evaluation:
        """Put evaluations one behind the other; the penalty is the mean of theirs."""
        return Evaluation(
            torch.cat([part.log_prob for part in parts]),
            torch.cat([part.entropy for part in parts]),
            torch.cat([part.value for part in parts]),
            torch.stack([part.auxiliary for part in parts]).mean(),
        )


class Policy(nn.Module, ABC):
    """A stochastic policy with a value, split where the market ends and the account begins.

    `encode` looks at a bar and is called once per bar, however many accounts decide on it; `decide` and
    `evaluate` join the embedding with the account's own state. The market does not react to the account, so
    nothing that `encode` makes depends on a position.

    Parameters
    ----------
    features : int
        Width of a bar's features.
    levels : int
        Number of target positions.
    """

    memory_size: int = 0
    """Columns K of memory; a fresh episode starts from zeros."""
    action_size: int = 1
    """Columns A of an action."""

    def __init__(self, features: int, levels: int) -> None:
        super().__init__()
        self.features, self.levels = features, levels

    @abstractmethod
    def encode(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        """Embed M bars from their scaled features (M, F) and filtered regime probabilities (M, 3)."""

    @abstractmethod
    def decide(
        self,
        embedding: Tensor,
        own: Tensor,
        memory: Tensor,
        *,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> Decision:
        """Choose in B states given by embedding (B, D), own state (B, len(OWN_STATE)), memory (B, K).

        `greedy` takes the most probable action and draws nothing.
        """

    @abstractmethod
    def evaluate(self, embedding: Tensor, own: Tensor, memory: Tensor, action: Tensor) -> Evaluation:
        """Log-probability, entropy and value of B actions (B, A), each with gradients."""

    @abstractmethod
    def values(self, embedding: Tensor, own: Tensor, memory: Tensor) -> Tensor:
        """Value of B states, shape (B,)."""

    @abstractmethod
    def level_law(self, embedding: Tensor, own: Tensor) -> Tensor:
        """Log-probability (B, levels) of each target position in B states without memory."""

    @abstractmethod
    def level_layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weights and biases of the last layers, by level: (..., levels, D) and (..., levels)."""

    @torch.no_grad()
    def settle(self, level: int) -> None:
        """Take one level from here on, whatever the state: all but surely, and greedily for sure."""
        for weight, bias in self.level_layers():
            weight.zero_()
            bias.zero_()
            bias[..., level] = _SURE
