"""Steps of many accounts side by side, each bar of them encoded once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine.agents.environment import TradingEnvironment
from engine.agents.policy import Policy
from engine.agents.tape import MarketTape

__all__ = ["Bars", "Collector", "Rollout", "Samples"]


@dataclass(frozen=True)
class Bars:
    """What a policy may look at of N bars, on the learner's device.

    Parameters
    ----------
    x : Tensor of float32, shape (N, F)
    p_regime : Tensor of float32, shape (N, 3)
    last_ahead : Tensor of int64, shape (N,)
        Row on which an episode that is on a row can be at the latest.
    """

    x: Tensor
    p_regime: Tensor
    last_ahead: Tensor

    @classmethod
    def of(cls, tape: MarketTape, device: torch.device | str = "cpu") -> Bars:
        """Put a tape's bars on a device."""
        left = torch.as_tensor(tape.decisions_left, device=device).long()
        return cls(
            torch.as_tensor(tape.x, device=device),
            torch.as_tensor(tape.p_regime, device=device),
            torch.arange(len(left), device=device) + left,
        )

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Features and regime probabilities of some rows (M,)."""
        return self.x.index_select(0, rows), self.p_regime.index_select(0, rows)

    def joined_at(self, rows: Tensor) -> Tensor:
        """Return features and, beside them, regime probabilities of some rows, shape (M, F + 3)."""
        width = self.x.shape[1]
        seen = self.x.new_empty(len(rows), width + self.p_regime.shape[1])
        torch.index_select(self.x, 0, rows, out=seen[:, :width])
        torch.index_select(self.p_regime, 0, rows, out=seen[:, width:])
        return seen

    def encoded(self, policy: Policy, rows: Tensor) -> Tensor:
        """Embed the bars of some rows (M,), shape (M, D)."""
        return policy.encode(*self.at(rows))


class _Embeddings:
    """The embeddings of the bars met so far, each made once, whole stretches at a time."""

    def __init__(self, bars: Bars, policy: Policy) -> None:
        self.bars, self.policy = bars, policy
        self.known = torch.zeros(len(bars.x), dtype=torch.bool, device=bars.x.device)
        self.table = torch.empty(0)

    def of(self, rows: Tensor, paths: int, steps: int) -> Tensor:
        """Embeddings (S * P, D) of the bars on which S starts stand, repeated for their P accounts.

        Where one is new, all that lies on its start's way within so many steps is embedded with it.
        """
        fresh = rows[~self.known[rows]]
        if len(fresh):
            reach = torch.arange(steps + 1, device=rows.device)
            way = torch.minimum(fresh[:, None] + reach, self.bars.last_ahead[fresh, None]).unique()
            self._add(way[~self.known[way]])
        return self.table.index_select(0, rows.repeat_interleave(paths))

    def _add(self, rows: Tensor) -> None:
        made = self.bars.encoded(self.policy, rows)
        if len(self.table) == 0:
            self.table = made.new_empty(len(self.known), *made.shape[1:])
        self.table[rows] = made
        self.known[rows] = True


@dataclass(frozen=True)
class Rollout:
    """H steps of S starts with P accounts each.

    Parameters
    ----------
    rows : Tensor of int64, shape (H, S)
        The bar decided on.
    own : Tensor, shape (H, S, P, len(OWN_STATE))
    memory : Tensor of int64, shape (H, S, P, K)
        Own state and the policy's memory *before* the decision.
    action : Tensor of int64, shape (H, S, P, A)
    log_prob, value, reward : Tensor, shape (H, S, P)
        Of the behaviour policy, and what the step brought.
    net : Tensor of float64, shape (H, S, P)
        Net return of the step, a fraction of equity.
    next_value : Tensor, shape (H, S, P)
        Value of the state after the step, before any restart.
    ended : Tensor of bool, shape (H, S)
        Steps after which the start was drawn anew.
    next_rows, next_own, next_memory : Tensor, shape (H, S), (H, S, P, ...)
        State after the step, before any restart.
    """

    rows: Tensor
    own: Tensor
    memory: Tensor
    action: Tensor
    log_prob: Tensor
    value: Tensor
    reward: Tensor
    net: Tensor
    next_value: Tensor
    ended: Tensor
    next_rows: Tensor
    next_own: Tensor
    next_memory: Tensor


@dataclass(frozen=True)
class Samples:
    """M decided bars with P accounts each, ready for the surrogate objective.

    Parameters
    ----------
    rows : Tensor of int64, shape (M,)
    own, memory, action : Tensor, shape (M, P, ...)
    log_prob : Tensor, shape (M, P)
        Of the policy from which the update sets out.
    value : Tensor, shape (M, P)
        Of the critic from which it sets out.
    advantage, target : Tensor, shape (M, P)
        What the actor's gradient is weighted by, and what the critic is drawn to.
    weight : Tensor, shape (M, P)
        Of the sample in the loss; one for fresh samples, below one for those replayed more often than others.
    """

    rows: Tensor
    own: Tensor
    memory: Tensor
    action: Tensor
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Samples:
        return Samples(*(getattr(self, f.name).index_select(0, index) for f in fields(self)))

    def split(self, sizes: list[int]) -> list[Samples]:
        """Cut along the first axis into parts of the given sizes, without copying."""
        parts = zip(*(getattr(self, f.name).split(sizes) for f in fields(self)), strict=True)
        return [Samples(*part) for part in parts]

    def join(self, other: Samples) -> Samples:
        """Put other samples behind these."""
        return Samples(*(torch.cat((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)))


class Collector:
    """Roll a policy forward in an environment, again and again where it stopped.

    Parameters
    ----------
    environment : TradingEnvironment
    bars : Bars
        Of the environment's tape, on the environment's device.
    policy : Policy
    horizon : int
        Steps H per collection.
    generator : torch.Generator
        Draws the actions; on the same device.
    """

    def __init__(
        self,
        environment: TradingEnvironment,
        bars: Bars,
        policy: Policy,
        horizon: int,
        generator: torch.Generator,
    ) -> None:
        self.environment, self.bars, self.policy = environment, bars, policy
        self.horizon, self.generator = horizon, generator
        own = environment.own_state()
        self.memory = torch.zeros(*own.shape[:2], policy.memory_size, dtype=torch.int64, device=own.device)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Take H steps with every account; every bar met is encoded once."""
        environment, policy, horizon = self.environment, self.policy, self.horizon
        seen = _Embeddings(self.bars, policy)
        own, memory = environment.own_state(), self.memory
        starts, paths = own.shape[:2]

        rows = torch.empty(horizon, starts, dtype=torch.int64, device=own.device)
        owns, memories = own.new_empty(horizon, *own.shape), memory.new_empty(horizon, *memory.shape)
        next_rows, next_owns, next_memories = (torch.empty_like(x) for x in (rows, owns, memories))
        ended = torch.empty_like(rows, dtype=torch.bool)
        actions = rows.new_empty(horizon, starts, paths, policy.action_size)
        log_prob, value, reward = (own.new_empty(horizon, starts, paths) for _ in range(3))
        net = torch.empty_like(reward, dtype=torch.float64)

        for t in range(horizon):
            rows[t], owns[t], memories[t] = environment.rows, own, memory
            decision = policy.decide(
                seen.of(environment.rows, paths, horizon - t),
                own.flatten(0, 1),
                memory.flatten(0, 1),
                generator=self.generator,
            )
            actions[t] = decision.action.view(starts, paths, -1)
            log_prob[t] = decision.log_prob.view(starts, paths)
            value[t] = decision.value.view(starts, paths)
            step = environment.step(actions[t, :, :, 0])
            reward[t], net[t], ended[t] = step.reward, step.net, step.ended
            next_rows[t], next_owns[t] = step.final_rows, step.final_own
            next_memories[t] = memory = decision.memory.view(starts, paths, -1)
            memory = torch.where(step.ended[:, None, None], 0, memory)
            own = environment.own_state()

        self.memory = memory
        cut = ended.clone()
        cut[-1] = True
        next_value = torch.empty_like(value)
        next_value[:-1] = value[1:]
        beyond = policy.values(
            seen.of(next_rows[cut], paths, 0), next_owns[cut].flatten(0, 1), next_memories[cut].flatten(0, 1)
        )
        next_value[cut] = beyond.view(-1, paths)
        return Rollout(
            rows=rows,
            own=owns,
            memory=memories,
            action=actions,
            log_prob=log_prob,
            value=value,
            reward=reward,
            net=net,
            next_value=next_value,
            ended=ended,
            next_rows=next_rows,
            next_own=next_owns,
            next_memory=next_memories,
        )
