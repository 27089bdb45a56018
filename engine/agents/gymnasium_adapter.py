"""The environment as a `gymnasium.Env`, so that other libraries' agents can be brought to the same market."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from engine.agents.environment import UNREALISED_LIMIT, EnvironmentConfig
from engine.agents.policy import OWN_STATE
from engine.agents.reference_environment import ReferenceAccount
from engine.agents.starts import start_distribution
from engine.agents.tape import MarketTape

__all__ = ["TradingGymnasium"]


class TradingGymnasium(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One account on a tape, by the rules of `engine.agents.environment.TradingEnvironment`.

    An action is the index of a level. An observation is the features of the last `window` bars, oldest first,
    then the account's own state (`OWN_STATE`). An episode is never terminated, only truncated: by its time
    limit or the end of the run. ``info`` holds the ``row`` of the tape and, after a step, the ``net`` return.

    Parameters
    ----------
    tape : MarketTape
    config : EnvironmentConfig, optional
    window : int
        Bars in an observation. No episode starts where fewer bars of the run have gone by.
    start_weights : ndarray, shape (N,), optional
        Relative frequency of each row as the first of an episode; equal by default.

    Raises
    ------
    ValueError
        If the window is below 1 or `start_weights` are not N finite weights.
    NotEnoughDataError
        If no row of positive weight has enough bars behind and decisions ahead.
    """

    def __init__(
        self,
        tape: MarketTape,
        config: EnvironmentConfig | None = None,
        *,
        window: int = 1,
        start_weights: NDArray[np.float64] | None = None,
    ) -> None:
        if window < 1:
            raise ValueError(f"window={window} must be at least 1")
        self.tape, self.config, self.window = tape, config or EnvironmentConfig(), window
        weights = np.ones(len(tape)) if start_weights is None else np.asarray(start_weights, dtype=np.float64)
        behind = np.arange(len(tape)) - np.searchsorted(tape.run, tape.run) + 1
        seen_enough = behind >= window if len(weights) == len(tape) else 1.0
        self._start_cdf = np.cumsum(start_distribution(tape, self.config.least_ahead, weights * seen_enough))
        self._account: ReferenceAccount | None = None
        oldest_age = np.log1p(self.config.episode_bars) / 5.0
        own = np.array([[min(*self.config.levels, 0.0), 0.0, -UNREALISED_LIMIT]])
        most = np.array([[max(*self.config.levels, 0.0), oldest_age, UNREALISED_LIMIT]])
        features = np.full((1, window * len(tape.features)), np.inf)
        self.observation_space = spaces.Box(
            np.c_[-features, own][0].astype(np.float32), np.c_[features, most][0].astype(np.float32)
        )
        self.action_space = spaces.Discrete(len(self.config.levels))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode, flat, on a row that is drawn, or on ``options["row"]``.

        Raises
        ------
        ValueError
            If the row given cannot host a decision or has too few bars behind it.
        """
        super().reset(seed=seed)
        if options and "row" in options:
            row = int(options["row"])
            if row < self.window - 1 or self.tape.run[row - self.window + 1] != self.tape.run[row]:
                raise ValueError(f"row {row} has fewer than {self.window} bars of its run behind it")
        else:
            u = self.np_random.random() * self._start_cdf[-1]
            row = int(np.searchsorted(self._start_cdf, u, side="right"))
        self._account = ReferenceAccount(self.tape, self.config, row)
        return self._observation(self._account), {"row": row}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold the level of the action for the next bar.

        Raises
        ------
        ValueError
            If there is no such level.
        RuntimeError
            If no episode is running.
        """
        if self._account is None:
            raise RuntimeError("no episode is running; call reset first")
        account = self._account
        step = account.step(int(action))
        if step.ended:
            self._account = None
        return (
            self._observation(account),
            step.reward,
            False,
            step.ended,
            {"row": account.row, "net": step.net},
        )

    def _observation(self, account: ReferenceAccount) -> NDArray[np.float32]:
        seen = self.tape.x[account.row - self.window + 1 : account.row + 1].ravel()
        observation = np.empty(seen.size + len(OWN_STATE), dtype=np.float32)
        observation[: seen.size] = seen
        observation[seen.size :] = account.own_state()
        return observation
