"""A batched market: thousands of accounts decide on the bars of one tape.

The market does not react to an account. Where episodes start and end is therefore settled by the tape and the
seed alone and kept on the host; only what the accounts own lives on the device, where a step is an index and
a multiply-add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.agents.policy import OWN_STATE
from engine.agents.starts import start_distribution
from engine.agents.tape import MarketTape

__all__ = [
    "LEVELS",
    "UNREALISED_LIMIT",
    "EnvironmentConfig",
    "Step",
    "TradingEnvironment",
    "bar_table",
    "held_after",
]

LEVELS: tuple[float, ...] = (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Target positions, short to long, as fractions of equity."""

UNREALISED_LIMIT = 3.0
"""Open profit is cut to this many standard deviations."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """Rules of the account.

    Parameters
    ----------
    levels : tuple[float, ...]
        Target positions, exposure as a fraction of equity.
    cost : float
        Fee and half the spread, as a fraction of what is traded.
    episode_bars : int
        Decisions after which an episode is cut off.
    least_bars : int
        No episode starts where fewer decisions than this, or than a whole episode, are left in the run.
    risk_aversion : float
        Weight a of risk in the reward r - a/2 r^2 of a net return of r times the bar's `scale`: a bar whose
        expected return is m scales is worth a position of about m/a.
    """

    levels: tuple[float, ...] = LEVELS
    cost: float = 6e-4
    episode_bars: int = 256
    least_bars: int = 16
    risk_aversion: float = 0.05

    def __post_init__(self) -> None:
        if not self.levels or not np.isfinite(self.levels).all():
            raise ValueError(f"levels={self.levels} must be one or more finite numbers")
        for name in ("cost", "risk_aversion"):
            if not 0.0 <= (value := getattr(self, name)) < float("inf"):
                raise ValueError(f"{name}={value} must be finite and not negative")
        for name in ("episode_bars", "least_bars"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    def least_ahead(self) -> int:
        """Decisions that must be left in the run where an episode starts."""
        return min(self.least_bars, self.episode_bars)


@dataclass(frozen=True)
class Step:
    """What S starts with P accounts each met in one step.

    Parameters
    ----------
    reward : Tensor of float32, shape (S, P)
    net : Tensor of float64, shape (S, P)
        Net return as a fraction of equity.
    ended : Tensor of bool, shape (S,)
        The episode was cut off, by the time limit or the end of the run. The market goes on, so its value is
        that of the final state, not zero.
    final_rows : Tensor of int64, shape (S,)
        The next bar of each episode, before any restart.
    final_own : Tensor of float32, shape (S, P, len(OWN_STATE))
        Own state on that bar.
    """

    reward: Tensor
    net: Tensor
    ended: Tensor
    final_rows: Tensor
    final_own: Tensor


def bar_table(tape: MarketTape) -> NDArray[np.float64]:
    """All that a step on a row needs of the market, side by side: shape (N, 5).

    What a position of 1 earns; one over the scale; the return of a constant position of 1 since the tape
    began, to the open at which the decision is filled, and to the close of the next row; one over the next
    row's scale. Differences of the two returns inside a run are returns between the two moments.
    """
    earned = np.where(tape.decisions_left > 0, tape.growth, 0.0)
    filled = np.cumsum(earned) - earned
    following = np.minimum(np.arange(len(tape)) + 1, len(tape) - 1)
    return np.column_stack(
        [
            earned - tape.funding,
            1.0 / tape.scale,
            filled,
            filled + tape.mark[following],
            1.0 / tape.scale[following],
        ]
    )


def held_after(
    bar: Tensor, target: Tensor, position: Tensor, entry: Tensor, held: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Carry accounts that now hold a target to the next bar.

    Parameters
    ----------
    bar : Tensor of float64
        Rows of `bar_table`, its columns along dimension 1.
    target, position : Tensor of float64
        Position taken, and the one held before.
    entry, held : Tensor of float64
        Return at which the position was filled, and bars for which it was held, 1 for a new one.

    Returns
    -------
    entry, held : Tensor
        Of the position now held.
    own : tuple of Tensor
        Own state on the next bar, in the order of `OWN_STATE`.
    """
    _, _, filled, next_marked, next_precision = bar.unbind(1)
    changed = target != position
    entry = torch.where(changed, filled, entry)
    held = (held + 1.0).masked_fill_(changed, 1.0)
    open_profit = target * (next_marked - entry) * (next_precision * held.rsqrt())
    return entry, held, (target, held.log() / 5.0, open_profit.clamp_(-UNREALISED_LIMIT, UNREALISED_LIMIT))


class TradingEnvironment:
    """S start points with P accounts on each; all P decide on the same bar.

    An account that takes level k on bar t holds ``levels[k]`` of its equity from the open of bar t+1 to the
    open of bar t+2 and pays cost on the change. Its own state on a bar (`OWN_STATE`) is the position held,
    ``log1p(age) / 5`` with its age in bars (0 on the first bar held), and the position's return since it was
    filled, marked at the close of this bar, over ``scale * sqrt(age + 1)`` and cut to `UNREALISED_LIMIT`.

    Parameters
    ----------
    tape : MarketTape
    config : EnvironmentConfig
    starts, paths : int
        S and P.
    seed : int
        Of the rows on which episodes start; same seed, same rows whatever the accounts do.
    start_weights : ndarray, shape (N,), optional
        Relative frequency of each row as the first of an episode; equal by default. Rows with fewer decisions
        left than `EnvironmentConfig.least_bars` are never started on.
    device : str or torch.device

    Raises
    ------
    ValueError
        If `starts` or `paths` is below 1 or `start_weights` are not N finite weights.
    NotEnoughDataError
        If no row of positive weight has enough decisions left.
    """

    rows: Tensor
    """Bar on which each start now decides: int64, shape (S,)."""
    bars_left: NDArray[np.int64]
    """Decisions until each episode is cut off, this one included: shape (S,)."""

    def __init__(
        self,
        tape: MarketTape,
        config: EnvironmentConfig,
        *,
        starts: int,
        paths: int,
        seed: int,
        start_weights: NDArray[np.float64] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        for name, value in (("starts", starts), ("paths", paths)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        self.tape, self.config = tape, config
        self.starts, self.paths, self.device = starts, paths, torch.device(device)
        self._random = np.random.default_rng(seed)
        self._start_cdf = np.cumsum(start_distribution(tape, config.least_ahead, start_weights))
        self._levels = torch.as_tensor(config.levels, dtype=torch.float64, device=self.device)
        self._bars = torch.from_numpy(bar_table(tape)).to(self.device)
        self.reset()

    def reset(self, rows: NDArray[np.int64] | None = None) -> None:
        """Begin anew, flat: on rows that are drawn, or on the S rows given.

        Drawn episodes begin as if somewhere on their way, with a random part of their time left, so that they
        do not all end at once; on given rows the time left is whole.

        Raises
        ------
        ValueError
            If the rows given are not S, or one of them cannot host a decision.
        """
        if rows is None:
            self._clock = self._draw(self.starts)
            self.bars_left = self._random.integers(1, self._episode_lengths(self._clock), endpoint=True)
        else:
            self._clock = np.array(rows, dtype=np.int64)
            if self._clock.shape != (self.starts,):
                raise ValueError(f"rows has shape {self._clock.shape}, expected {(self.starts,)}")
            within = (self._clock >= 0) & (self._clock < len(self.tape))
            if not within.all() or (self.tape.decisions_left[self._clock] == 0).any():
                raise ValueError("rows must be rows of the tape with decisions left")
            self.bars_left = self._episode_lengths(self._clock)
        shape = (self.starts, self.paths)
        self._position = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self._entry = torch.zeros_like(self._position)
        self._held = torch.ones_like(self._position)
        self._own = torch.zeros((*shape, len(OWN_STATE)), device=self.device)
        self.rows = torch.from_numpy(self._clock).to(self.device)

    def own_state(self) -> Tensor:
        """Own state of each account on the present bar: float32, shape (S, P, len(OWN_STATE))."""
        return self._own

    def step(self, level: Tensor) -> Step:
        """Take level k of each account, int64 of shape (S, P), and go on to the next bar.

        Episodes that end restart flat on a row that is drawn. Tensors once returned are not written to again.

        Raises
        ------
        ValueError
            If the levels have another shape or, on the CPU, are out of range.
        """
        if level.shape != (self.starts, self.paths):
            raise ValueError(f"level has shape {tuple(level.shape)}, expected {(self.starts, self.paths)}")
        try:
            target = self._levels.index_select(0, level.reshape(-1)).view_as(level)
        except IndexError as error:
            found = f"{int(level.min())} to {int(level.max())}"
            raise ValueError(f"level is {found}, must be 0 to {len(self._levels) - 1}") from error
        net, reward, own_columns = self._settle(target)
        own = torch.empty_like(self._own)
        for column, values in enumerate(own_columns):
            own[..., column] = values
        self._clock = self._clock + 1
        self.bars_left = self.bars_left - 1
        ended = self.bars_left == 0
        final_rows = torch.from_numpy(self._clock).to(self.device)
        self._go_on(final_rows, own, np.flatnonzero(ended))
        return Step(reward.float(), net, torch.from_numpy(ended).to(self.device), final_rows, own)

    def _settle(self, target: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Trade to the target; net return, reward, and own state on the next bar: float64, shape (S, P)."""
        bar = self._bars.index_select(0, self.rows).unsqueeze(-1)
        carry, precision = bar[:, 0], bar[:, 1]
        net = torch.add(target * carry, (target - self._position).abs(), alpha=-self.config.cost)
        scaled = net * precision
        reward = torch.addcmul(scaled, scaled, scaled, value=-0.5 * self.config.risk_aversion)
        self._entry, self._held, own = held_after(bar, target, self._position, self._entry, self._held)
        self._position = target
        return net, reward, own

    def _go_on(self, final_rows: Tensor, final_own: Tensor, ended: NDArray[np.int64]) -> None:
        """Keep the state, or where an episode ended draw a row and start flat."""
        self.rows, self._own = final_rows, final_own
        if not len(ended):
            return
        self._clock = self._clock.copy()
        self._clock[ended] = self._draw(len(ended))
        self.bars_left[ended] = self._episode_lengths(self._clock[ended])
        self.rows = torch.from_numpy(self._clock).to(self.device)
        flat = torch.from_numpy(ended).to(self.device)
        self._position = self._position.index_fill(0, flat, 0.0)
        self._held = self._held.index_fill(0, flat, 1.0)
        self._own = final_own.index_fill(0, flat, 0.0)

    def _draw(self, count: int) -> NDArray[np.int64]:
        """Rows by inverse transform; a row of weight 0 is never drawn."""
        u = self._random.random(count) * self._start_cdf[-1]
        return np.searchsorted(self._start_cdf, u, side="right").astype(np.int64)

    def _episode_lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(self.tape.decisions_left[rows], self.config.episode_bars).astype(np.int64)
