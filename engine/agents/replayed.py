"""Earlier fragments beside fresh ones: prioritised, weighted by regime, corrected by V-trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.agents.advantages import leave_one_out
from engine.agents.policy import Policy
from engine.agents.ppo import PPOConfig
from engine.agents.replay import PrioritizedReplayBuffer
from engine.agents.rollout import Bars, Rollout, Samples
from engine.agents.vtrace import vtrace
from engine.regimes.names import REGIMES

__all__ = ["FragmentReplay", "ReplayConfig"]


@dataclass(frozen=True)
class ReplayConfig:
    """What is replayed beside a rollout.

    Parameters
    ----------
    share : float
        Fragments replayed for each fresh one, above 0 and at most 1, so that at least half of each minibatch
        is fresh.
    max_age : int
        A fragment older than this many updates is gone.
    alpha : float
        How much priority counts, 0 to 1.
    beta : float
        How much of the bias of drawing by priority is taken back, 0 to 1.
    clip : float
        Mean absolute advantage beyond which priority does not grow.
    regime_factors : tuple of 3 floats
        Factor of a bar's priority in TREND, RANGE, PANIC; a fragment's is the mean over its bars.
    rho_bar, c_bar : float
        Truncation of V-trace's ratios.
    """

    share: float = 0.5
    max_age: int = 8
    alpha: float = 0.6
    beta: float = 0.4
    clip: float = 5.0
    regime_factors: tuple[float, ...] = (1.0, 1.0, 2.0)
    rho_bar: float = 1.0
    c_bar: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share = {self.share} must be above 0 and at most 1: half must be fresh")
        if self.max_age < 1:
            raise ValueError(f"max_age = {self.max_age} must be at least 1")
        if len(self.regime_factors) != len(REGIMES) or not min(self.regime_factors) > 0.0:
            raise ValueError(f"regime_factors = {self.regime_factors} must be {len(REGIMES)} numbers above 0")


class FragmentReplay:
    """The fragments of the last rollouts: H steps of one start with its P accounts each.

    Parameters
    ----------
    config : ReplayConfig
    regime : int8 array, shape (N,)
        Of the tape's rows; below 0 where it is unknown, which counts as a factor of 1.
    starts : int
        Fragments per rollout.
    seed : int
    """

    def __init__(self, config: ReplayConfig, regime: NDArray[np.int8], starts: int, seed: int) -> None:
        self.config = config
        self.count = max(1, int(config.share * starts))
        self.buffer = PrioritizedReplayBuffer(
            config.max_age * starts, alpha=config.alpha, clip=config.clip, seed=seed
        )
        self._factor = np.where(regime >= 0, np.array(config.regime_factors)[regime], 1.0)

    def store(self, rollout: Rollout, advantage: Tensor) -> None:
        """Keep the fragments of a rollout; their priority is the mean absolute advantage (H * S, P)."""
        size = advantage.abs().view(*rollout.rows.shape, -1).mean((0, 2))
        fields = {name: _by_fragment(getattr(rollout, name)) for name in _KEPT}
        self.buffer.add(fields, size.cpu().numpy(), self._factor[fields["rows"]].mean(1))

    @torch.no_grad()
    def draw(self, policy: Policy, bars: Bars, ppo: PPOConfig) -> Samples | None:
        """Draw fragments by priority and correct them for the present policy; None while none are kept.

        What was decided by older policies gets V-trace's targets and advantages, by the present critic. The
        surrogate then limits how far an update moves from the *present* policy, so its log-probabilities are
        those of the samples, not the behaviour's (Hilton et al. 2022). The fragments' priorities are renewed.
        """
        if len(self.buffer) == 0:
            return None
        items, weights, indices = self.buffer.sample(self.count, self.config.beta)
        kept = {name: torch.as_tensor(items[name], device=bars.x.device).transpose(0, 1) for name in _KEPT}
        horizon, _, paths = kept["reward"].shape
        rows, own, memory = kept["rows"].flatten(), kept["own"].flatten(0, 1), kept["memory"].flatten(0, 1)
        action = kept["action"].flatten(0, 1)
        now = policy.evaluate(
            bars.encoded(policy, rows).repeat_interleave(paths, 0),
            own.flatten(0, 1),
            memory.flatten(0, 1),
            action.flatten(0, 1),
        )
        log_prob, value = now.log_prob.view(horizon, -1, paths), now.value.view(horizon, -1, paths)

        cut = kept["ended"].clone()
        cut[-1] = True
        beyond = torch.zeros_like(value)
        beyond[cut] = policy.values(
            bars.encoded(policy, kept["next_rows"][cut]).repeat_interleave(paths, 0),
            kept["next_own"][cut].flatten(0, 1),
            kept["next_memory"][cut].flatten(0, 1),
        ).view(-1, paths)
        ended = kept["ended"][:, :, None]
        ratio = (log_prob - kept["log_prob"]).exp()
        corrected = vtrace(
            value,
            beyond[-1],
            kept["reward"] + ppo.gamma * ended * beyond,
            ratio,
            (ppo.gamma * ~ended).expand_as(value),
            self.config.rho_bar,
            self.config.c_bar,
        )
        advantage = corrected.advantages
        if ppo.shared_baseline:
            rho = ratio.clamp(max=self.config.rho_bar)
            advantage = rho * leave_one_out(advantage / rho)
        self.buffer.update_priorities(indices, advantage.abs().mean((0, 2)).cpu().numpy())
        weight = torch.as_tensor(weights, dtype=value.dtype, device=value.device)[None, :, None]
        per_account = (log_prob, value, advantage, corrected.targets, weight.expand_as(value))
        return Samples(rows, own, memory, action, *(x.flatten(0, 1) for x in per_account))


_KEPT = (
    "rows",
    "own",
    "memory",
    "action",
    "log_prob",
    "reward",
    "ended",
    "next_rows",
    "next_own",
    "next_memory",
)


def _by_fragment(of_steps: Tensor) -> NDArray:
    """Turn steps first into starts first, on the host."""
    return of_steps.transpose(0, 1).contiguous().cpu().numpy()
