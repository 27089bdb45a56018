"""What a greedy policy decides on every bar of a tape, all stretches of time side by side.

An account's state on a bar depends on all its decisions before, so a walk through a run is sequential. But
accounts forget: two that begin differently soon hold the same. So runs are cut into stretches that are walked
at once, each first from flat and then again from where the stretch before really ended, until nothing
changes any more. The result is that of the sequential walk, up to the rounding of products in batches of
another size.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.agents.environment import EnvironmentConfig, bar_table, held_after
from engine.agents.policy import OWN_STATE, Policy
from engine.agents.rollout import Bars
from engine.agents.tape import MarketTape

__all__ = ["GreedyDecisions", "greedy_decisions"]

_STRETCH = 128
"""Bars of a stretch: long enough that most accounts forget how it began."""


@dataclass(frozen=True)
class GreedyDecisions:
    """Decisions of one account per run that begins flat on the run's first bar; N rows.

    Parameters
    ----------
    action : Tensor of int64, shape (N, A)
        Column 0 is the level.
    confidence, value : Tensor, shape (N,)
    own : Tensor, shape (N, len(OWN_STATE))
    memory : Tensor of int64, shape (N, K)
        State in which each decision was made.
    """

    action: Tensor
    confidence: Tensor
    value: Tensor
    own: Tensor
    memory: Tensor

    def rows(self, mask: NDArray[np.bool_]) -> GreedyDecisions:
        """Keep some of the rows."""
        kept = torch.from_numpy(np.flatnonzero(mask)).to(self.action.device)
        return GreedyDecisions(*(getattr(self, field.name)[kept] for field in fields(self)))

    @property
    def level(self) -> NDArray[np.int64]:
        """Level taken on each row."""
        return self.action[:, 0].cpu().numpy()


@dataclass
class _Accounts:
    """State of some accounts: money (position, entry, bars held), what the policy sees of it, its memory."""

    money: Tensor
    own: Tensor
    memory: Tensor

    @classmethod
    def flat(cls, count: int, memory_size: int, device: torch.device | str) -> _Accounts:
        money = torch.zeros(count, 3, dtype=torch.float64, device=device)
        money[:, 2] = 1.0
        return cls(
            money,
            torch.zeros(count, len(OWN_STATE), device=device),
            torch.zeros(count, memory_size, dtype=torch.int64, device=device),
        )

    def __getitem__(self, rows: Tensor | slice) -> _Accounts:
        return _Accounts(self.money[rows], self.own[rows], self.memory[rows])

    def put(self, rows: Tensor | slice, other: _Accounts) -> None:
        self.money[rows], self.own[rows], self.memory[rows] = other.money, other.own, other.memory

    def differs(self, other: _Accounts) -> Tensor:
        """Whether an account has another position or memory, beyond the rounding of large numbers."""
        apart = (self.memory - other.memory).abs() > 1e-4 * torch.maximum(self.memory, other.memory).abs()
        return (self.money != other.money).any(1) | apart.any(1)


@torch.no_grad()
def greedy_decisions(
    policy: Policy, tape: MarketTape, config: EnvironmentConfig, device: torch.device | str = "cpu"
) -> GreedyDecisions:
    """Walk every run of a tape with the greedy policy.

    The last bars of a run, whose return is not known yet, are decided on as well: the state on a bar needs no
    price after its close.
    """
    n = len(tape)
    made = GreedyDecisions(
        torch.zeros(n, policy.action_size, dtype=torch.int64, device=device),
        torch.zeros(n, device=device),
        torch.zeros(n, device=device),
        torch.zeros(n, len(OWN_STATE), device=device),
        torch.zeros(n, policy.memory_size, dtype=torch.int64, device=device),
    )
    if not n:
        return made
    begin, opens = _stretches(tape)
    length = np.diff(np.r_[begin, n])
    walk = _Walk(policy, tape, config, device, made)
    initial = _Accounts.flat(len(begin), policy.memory_size, device)
    due = np.arange(len(begin))
    while len(due):
        # Longest first, so that those which have ended are the rear of the batch.
        due = due[np.argsort(-length[due], kind="stable")]
        ended = walk.through(begin[due], length[due], initial[torch.from_numpy(due).to(device)])
        follows = (due + 1 < len(begin)) & ~np.r_[opens, True][due + 1]
        following = torch.from_numpy(due[follows] + 1).to(device)
        final = ended[torch.from_numpy(np.flatnonzero(follows)).to(device)]
        changed = final.differs(initial[following])
        initial.put(following, final)
        due = np.sort(following[changed].cpu().numpy())
    return made


def _stretches(tape: MarketTape) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """First row of each stretch, and whether it opens a run."""
    first = np.flatnonzero(np.r_[True, tape.run[1:] != tape.run[:-1]])
    last = np.r_[first[1:], len(tape)]
    begin = np.concatenate([np.arange(a, b, _STRETCH) for a, b in zip(first, last, strict=True)])
    return begin, np.isin(begin, first)


class _Walk:
    """Decides bar by bar for many accounts and keeps what was decided."""

    def __init__(
        self,
        policy: Policy,
        tape: MarketTape,
        config: EnvironmentConfig,
        device: torch.device | str,
        made: GreedyDecisions,
    ) -> None:
        self.policy, self.made = policy, made
        bars = Bars.of(tape, device)
        parts = torch.arange(len(tape), device=device).split(65_536)
        self.embedding = torch.cat([bars.encoded(policy, rows) for rows in parts])
        self.bars = torch.from_numpy(bar_table(tape)).to(device)
        self.levels = torch.as_tensor(config.levels, dtype=torch.float64, device=device)

    def through(self, begin: NDArray[np.int64], length: NDArray[np.int64], start: _Accounts) -> _Accounts:
        """Walk stretches, sorted by falling length, to their ends; return the accounts there."""
        ended = _Accounts(start.money.clone(), start.own.clone(), start.memory.clone())
        rows = torch.from_numpy(begin).to(start.own.device)
        accounts = start
        for t in range(int(length[0])):
            walking = int((length > t).sum())
            if walking < len(rows):
                ended.put(slice(walking, len(rows)), accounts[slice(walking, None)])
                accounts, rows = accounts[slice(walking)], rows[:walking]
            accounts = self._step(rows, accounts)
            rows = rows + 1
        ended.put(slice(len(rows)), accounts)
        return ended

    def _step(self, rows: Tensor, accounts: _Accounts) -> _Accounts:
        decision = self.policy.decide(self.embedding[rows], accounts.own, accounts.memory, greedy=True)
        made = self.made
        made.action[rows], made.confidence[rows] = decision.action, decision.confidence
        made.value[rows], made.own[rows], made.memory[rows] = decision.value, accounts.own, accounts.memory
        target = self.levels[decision.action[:, 0]]
        entry, held, own = held_after(self.bars[rows], target, *accounts.money.unbind(1))
        return _Accounts(torch.stack((target, entry, held), 1), torch.stack(own, 1).float(), decision.memory)
