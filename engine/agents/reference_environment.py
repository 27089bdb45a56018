"""One account, one step at a time, in plain floats: what `engine.agents.environment` must agree with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.agents.environment import UNREALISED_LIMIT, EnvironmentConfig
from engine.agents.tape import MarketTape

__all__ = ["ReferenceAccount", "ReferenceStep"]


@dataclass(frozen=True)
class ReferenceStep:
    """What the account met in one step.

    Parameters
    ----------
    reward, net : float
        Risk-adjusted and net return.
    ended : bool
        The episode was cut off, by the time limit or the end of the run.
    """

    reward: float
    net: float
    ended: bool


class ReferenceAccount:
    """One account of `TradingEnvironment`, slow and obvious.

    Parameters
    ----------
    tape : MarketTape
    config : EnvironmentConfig
    row : int
        Bar on which the first decision is made.
    bars : int, optional
        Decisions until the episode is cut off, `EnvironmentConfig.episode_bars` by default.

    Raises
    ------
    ValueError
        If the row cannot host a decision.
    """

    def __init__(
        self, tape: MarketTape, config: EnvironmentConfig, row: int, bars: int | None = None
    ) -> None:
        if not 0 <= row < len(tape) or tape.decisions_left[row] == 0:
            raise ValueError(f"row {row} cannot host a decision")
        self.tape, self.config, self.row = tape, config, row
        self.bars_left = config.episode_bars if bars is None else bars
        self.position = 0.0
        self.age = 0

    def step(self, level: int) -> ReferenceStep:
        """Hold ``levels[level]`` from the open of the next bar to the open of the one after."""
        if not 0 <= level < len(self.config.levels):
            raise ValueError(f"level is {level}, must be 0 to {len(self.config.levels) - 1}")
        tape, row = self.tape, self.row
        target = self.config.levels[level]
        growth, funding = float(tape.growth[row]), float(tape.funding[row])
        cost = self.config.cost * abs(target - self.position)
        net = target * growth - target * funding - cost
        scaled = net / float(tape.scale[row])
        reward = scaled - self.config.risk_aversion / 2.0 * scaled**2

        self.age = self.age + 1 if target == self.position else 0
        self.position = target
        self.row += 1
        self.bars_left -= 1
        ended = self.bars_left == 0 or int(tape.decisions_left[self.row]) == 0
        return ReferenceStep(reward, net, ended)

    def own_state(self) -> tuple[float, float, float]:
        """Position, age and open profit as in `engine.agents.policy.OWN_STATE`."""
        return self.position, math.log1p(self.age) / 5.0, self.unrealised()

    def unrealised(self) -> float:
        """Open profit in standard deviations, marked at the close of the present bar."""
        if self.position == 0.0:
            return 0.0
        filled = self.row - self.age
        # growth[t] is the return from the open of t+1 to the open of t+2
        whole_bars = float(self.tape.growth[filled - 1 : self.row - 1].sum())
        profit = self.position * (whole_bars + float(self.tape.mark[self.row]))
        deviations = profit / (float(self.tape.scale[self.row]) * math.sqrt(self.age + 1))
        return max(-UNREALISED_LIMIT, min(UNREALISED_LIMIT, deviations))
