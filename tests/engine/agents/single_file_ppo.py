"""PPO the plain way, in one file, to check the learner against.

Observations are whole vectors, every account is a sample of its own, advantages are summed over the steps
that remain, the optimiser is torch's ordinary one. Nothing here is shared with the package.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mlp(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, outputs)
    ).double()


def advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, ended: Tensor, gamma: float, trace: float
) -> Tensor:
    """[H, S, P]; the definition: A_t = sum_k (gamma trace)^k delta_{t+k} until the episode ends."""
    horizon, starts, paths = rewards.shape
    out = torch.zeros_like(rewards)
    for s in range(starts):
        for p in range(paths):
            for t in range(horizon):
                weight = 1.0
                for k in range(t, horizon):
                    delta = rewards[k, s, p] + gamma * next_values[k, s, p] - values[k, s, p]
                    out[t, s, p] += weight * delta
                    if ended[k, s]:
                        break
                    weight *= gamma * trace
    return out


class SingleFilePPO:
    def __init__(self, inputs: int, levels: int, hidden: int, learning_rate: float) -> None:
        self.actor, self.critic = mlp(inputs, levels, hidden), mlp(inputs, 1, hidden)
        self.parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate, eps=1e-5)

    def loss(
        self,
        obs: Tensor,
        action: Tensor,
        old_log_prob: Tensor,
        advantage: Tensor,
        target: Tensor,
        clip: float,
        entropy_weight: float,
        value_weight: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        law = torch.distributions.Categorical(logits=self.actor(obs))
        ratio = (law.log_prob(action) - old_log_prob).exp()
        gain = torch.stack([ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage]).amin(0)
        policy_loss = -gain.mean()
        value_loss = ((self.critic(obs)[:, 0] - target) ** 2).mean()
        entropy = law.entropy().mean()
        return (
            policy_loss + value_weight * value_loss - entropy_weight * entropy,
            policy_loss,
            value_loss,
            entropy,
        )

    def step(self, loss: Tensor, max_gradient: float) -> Tensor:
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, max_gradient)
        self.optimizer.step()
        return norm
