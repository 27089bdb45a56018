"""Stable-Baselines3 on the market of `benchmarks.rl`: one Python environment a step, eight of them in turns.

Run by ``benchmarks.rl`` with the peers' interpreter: ``python rl_peer.py MARKET.npz SEED STEPS EVALUATIONS``.
Prints one JSON line per evaluation: seconds of training so far, decisions, mean reward of the greedy policy
on the later part. Nothing of the package is imported.
"""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

ENVS, STEPS_PER_ENV, EPISODE = 8, 256, 256


class Account:
    """Own states of n accounts, each on a row of its own."""

    def __init__(self, market: dict[str, Any], part: str, rows: np.ndarray) -> None:
        self.table = {name: market[f"{part}_{name}"] for name in ("x", "p", "growth", "scale", "mark")}
        self.levels, self.cost, self.aversion = (
            market["levels"],
            float(market["cost"]),
            float(market["aversion"]),
        )
        self.rows = rows
        self.position, self.age, self.profit = (np.zeros(len(rows)) for _ in range(3))

    def observe(self) -> np.ndarray:
        """Features, regime probabilities, position, age and open profit."""
        t = self.table
        bars = self.age + 1.0
        open_profit = (
            self.position * (self.profit + t["mark"][self.rows]) / (t["scale"][self.rows] * np.sqrt(bars))
        )
        own = np.stack([self.position, np.log(bars) / 5.0, np.clip(open_profit, -3, 3)], 1)
        return np.concatenate([t["x"][self.rows], t["p"][self.rows], own], 1).astype(np.float32)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Reward of each; all go on to the next row."""
        growth, scale = self.table["growth"][self.rows], self.table["scale"][self.rows]
        # The return of the bar before lies between the fill of an older position and now.
        target = self.levels[action]
        scaled = (target * growth - self.cost * np.abs(target - self.position)) / scale
        changed = target != self.position
        previous = self.table["growth"][self.rows - 1]
        self.profit = np.where(changed, 0.0, self.profit + np.where(self.rows > 0, previous, 0.0))
        self.age = np.where(changed, 0.0, self.age + 1.0)
        self.position = target
        self.rows = self.rows + 1
        return scaled - 0.5 * self.aversion * scaled**2


class Trading(gym.Env):
    """One account; an episode is cut off after its time or at the end of the run."""

    def __init__(self, market: dict[str, Any], seed: int) -> None:
        self.market, self.random = market, np.random.default_rng(seed)
        self.t = {name: market[f"train_{name}"] for name in ("x", "p", "growth", "scale", "mark")}
        self.fixed = np.concatenate([self.t["x"], self.t["p"]], 1).astype(np.float32)
        self.growth, self.scale, self.mark = (self.t[k].tolist() for k in ("growth", "scale", "mark"))
        self.levels = market["levels"].tolist()
        self.cost, self.aversion = float(market["cost"]), float(market["aversion"])
        width = self.fixed.shape[1] + 3
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = gym.spaces.Discrete(len(self.levels))
        self.buffer = np.empty(width, np.float32)

    def _observe(self) -> np.ndarray:
        out, row = self.buffer.copy(), self.row
        out[:-3] = self.fixed[row]
        profit = self.position * (self.profit + self.mark[row]) / (self.scale[row] * math.sqrt(self.age + 1))
        out[-3:] = self.position, math.log1p(self.age) / 5.0, min(3.0, max(-3.0, profit))
        return out

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start flat on a row with enough bars ahead."""
        self.row = int(self.random.choice(self.market["train_starts"]))
        self.left, self.position, self.age, self.profit = EPISODE, 0.0, 0, 0.0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold the level for one bar."""
        target, row = self.levels[int(action)], self.row
        scaled = (target * self.growth[row] - self.cost * abs(target - self.position)) / self.scale[row]
        if target != self.position:
            self.age, self.profit = 0, 0.0
        else:
            self.age, self.profit = self.age + 1, self.profit + self.growth[row - 1]
        self.position = target
        self.row, self.left = row + 1, self.left - 1
        return self._observe(), scaled - 0.5 * self.aversion * scaled**2, False, self.left == 0, {}


def judged(market: dict[str, Any], model: PPO) -> float:
    """Mean reward of the greedy policy on the later part, its stretches side by side."""
    stretch = int(market["stretch"])
    account = Account(market, "test", np.arange(0, len(market["test_growth"]), stretch))
    rewards = []
    for _ in range(stretch - 2):
        action, _ = model.predict(account.observe(), deterministic=True)
        rewards.append(account.step(action))
    return float(np.mean(rewards))


def main() -> None:
    """Train, stopping the clock for each evaluation."""
    path, seed, steps, evaluations = sys.argv[1], *map(int, sys.argv[2:5])
    with np.load(path) as data:
        market = dict(data)
    torch.manual_seed(seed)
    env = DummyVecEnv([lambda i=i: Trading(market, 100 * seed + i) for i in range(ENVS)])
    model = PPO(
        "MlpPolicy", env, n_steps=STEPS_PER_ENV, gamma=float(market["gamma"]), device="cpu", seed=seed
    )
    seconds, done = 0.0, 0
    for _ in range(evaluations):
        start = time.process_time()
        model.learn(steps // evaluations, reset_num_timesteps=False)
        seconds += time.process_time() - start
        done = model.num_timesteps
        print(
            json.dumps({"seconds": seconds, "decisions": done, "reward": judged(market, model)}), flush=True
        )


if __name__ == "__main__":
    main()
