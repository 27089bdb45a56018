"""Environment steps per second, beside Stable-Baselines3's DummyVecEnv of 8 environments on the same market.

Run from the project root: ``PEERS_PYTHON=/path/to/python python -m benchmarks.environment``; prints a table
and one line of JSON. The peer is the peers' own script, run by an interpreter whose environment has
stable-baselines3; without it, it is skipped.

The market is the peer's: 50 000 bars of 20 features, positions -1, 0, 1, episodes of 1 000 bars, random
actions. 4 096 accounts are stepped at once by one thread, and what a policy would be handed is written into a
rollout's buffer:

- ``arithmetic``: the step alone
- ``embedding``: own state, and 64 numbers per bar gathered from embeddings made beforehand
- ``shared``: the same with 8 accounts on each of 512 starts, whose bar is gathered once
- ``window``: 30 x 20 features gathered, and the position: the 601 numbers that the peer hands on
- ``gymnasium``: one account in `TradingGymnasium` with the same window
- ``sb3_dummy``: the peer

All take turns, so that they meet the same load; figures are medians with the least and greatest. ``per_cpu``
is steps per second of processor time, which other work on the machine disturbs less; ``over_sb3`` the median
of the ratios within a turn, for either clock.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from engine.agents.environment import EnvironmentConfig, TradingEnvironment
from engine.agents.gymnasium_adapter import TradingGymnasium
from engine.agents.tape import MarketTape

Rates = tuple[float, float]

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers"
BARS, WINDOW, FEATURES, EMBEDDING = 50_000, 30, 20, 64
ACCOUNTS, PATHS, HORIZON, ROLLOUTS = 4_096, 8, 8, 12
TURNS, SINGLE_STEPS = 5, 4_000
CONFIG = EnvironmentConfig(
    levels=(-1.0, 0.0, 1.0), cost=5e-4, episode_bars=1_000, least_bars=1_000, risk_aversion=0.0
)
START = datetime(2000, 1, 1)  # noqa: DTZ001  (moments in frames are UTC without a zone)

SB3 = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from rl import make_env
from stable_baselines3.common.vec_env import DummyVecEnv
env = DummyVecEnv([lambda i=i: make_env(i) for i in range(8)])
env.reset()
actions = np.random.default_rng(0).integers(0, 3, (1_000, 8))
for _ in range(2):
    wall, processor = time.perf_counter(), time.process_time()
    for action in actions:
        env.step(action)
    seconds = time.perf_counter() - wall, time.process_time() - processor
print(*(actions.size / s for s in seconds))
"""


def market() -> MarketTape:
    """Heavy-tailed returns and random features, as the peer's market is made."""
    r = np.random.default_rng(23)
    returns = r.standard_t(4, BARS) * 0.004
    features = r.standard_normal((BARS, FEATURES)).astype(np.float32)
    names = [f"feature_{i}" for i in range(FEATURES)]
    frame = pl.DataFrame(
        {"ts": [START + timedelta(hours=i) for i in range(BARS)], "open": 100.0 * np.exp(returns.cumsum())}
        | dict(zip(names, features.T, strict=True))
    ).with_columns(
        symbol=pl.lit("MARKET"), segment=0, volatility=0.0057, p_trend=1.0, p_range=0.0, p_panic=0.0
    )
    return MarketTape.from_frame(frame, names)


def rates(count: int, call: Callable[[], object]) -> Rates:
    """Count per second by the clock and by processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return count / (time.perf_counter() - wall), count / (time.process_time() - processor)


def rollouts(
    tape: MarketTape, paths: int, width: int, observe: Callable[[TradingEnvironment, Tensor], None]
) -> Rates:
    """Step with random actions, each observation written where `observe` is told."""
    environment = TradingEnvironment(
        tape,
        CONFIG,
        starts=ACCOUNTS // paths,
        paths=paths,
        seed=0,
        start_weights=(np.arange(len(tape)) >= WINDOW - 1).astype(np.float64),
    )
    levels = torch.randint(0, len(CONFIG.levels), (HORIZON, ACCOUNTS // paths, paths))
    buffer = torch.zeros(HORIZON, ACCOUNTS // paths, width)

    def play(times: int) -> None:
        for t in [*range(HORIZON)] * times:
            observe(environment, buffer[t])
            environment.step(levels[t])

    play(1)
    return rates(ROLLOUTS * HORIZON * ACCOUNTS, lambda: play(ROLLOUTS))


def contenders(tape: MarketTape) -> dict[str, Callable[[], Rates]]:
    """Return each way of handing on what a step leads to, as a call that measures it."""
    embeddings = torch.randn(len(tape), EMBEDDING)
    # One number more than the window: the gathered row has room for the position.
    wide = WINDOW * FEATURES + 1
    padded = torch.from_numpy(np.append(tape.x.ravel(), np.float32(0.0)))
    windows = padded.as_strided((len(tape) - WINDOW + 1, wide), (FEATURES, 1))

    def nothing(environment: TradingEnvironment, into: Tensor) -> None:
        pass

    def embedding(environment: TradingEnvironment, into: Tensor) -> None:
        torch.index_select(embeddings, 0, environment.rows, out=into)
        environment.own_state()

    def window(environment: TradingEnvironment, into: Tensor) -> None:
        torch.index_select(windows, 0, environment.rows - (WINDOW - 1), out=into)
        into[:, -1] = environment.own_state()[:, 0, 0]

    single = TradingGymnasium(tape, CONFIG, window=WINDOW)
    actions = np.random.default_rng(0).integers(0, len(CONFIG.levels), SINGLE_STEPS)

    def play() -> None:
        single.reset(seed=0)
        for action in actions:
            if single.step(action)[3]:
                single.reset()

    return {
        "arithmetic": lambda: rollouts(tape, 1, 0, nothing),
        "embedding": lambda: rollouts(tape, 1, EMBEDDING, embedding),
        "shared": lambda: rollouts(tape, PATHS, EMBEDDING, embedding),
        "window": lambda: rollouts(tape, 1, wide, window),
        "gymnasium": lambda: rates(SINGLE_STEPS, play),
    }


def missing(python: str | None) -> str | None:
    """Say why the peer cannot run, if it cannot."""
    if not (PEERS / "rl.py").is_file():
        return f"{PEERS / 'rl.py'} is not there"
    return None if python else "set PEERS_PYTHON to an interpreter that has stable-baselines3"


def sb3_dummy(python: str) -> Rates:
    """Measure the peer in its own process."""
    done = subprocess.run([python, "-c", SB3, str(PEERS)], capture_output=True, text=True, check=True)
    wall, processor = map(float, done.stdout.split())
    return wall, processor


def figures(found: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest, to four digits."""
    summary = {"median": statistics.median(found), "min": min(found), "max": max(found)}
    return {name: float(f"{value:.4g}") for name, value in summary.items()}


def summary(found: list[Rates], peer: list[Rates]) -> dict[str, Any]:
    """Figures of one contender, beside the peer's where there are some."""
    result: dict[str, Any] = {}
    for clock, name in enumerate(("per_second", "per_cpu")):
        ours = [each[clock] for each in found]
        result[name] = figures(ours)
        if peer:
            ratios = [a / b[clock] for a, b in zip(ours, peer, strict=True)]
            result[name]["over_sb3"] = float(f"{statistics.median(ratios):.3g}")
    return result


def main() -> None:
    """Measure all by turns, print the table and the JSON line."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    calls = contenders(market())
    python = os.environ.get("PEERS_PYTHON")
    skipped = missing(python)
    if python is not None and skipped is None:
        calls["sb3_dummy"] = lambda: sb3_dummy(python)
    found: dict[str, list[Rates]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            found[name].append(call())
    result = {name: summary(each, found.get("sb3_dummy", [])) for name, each in found.items()}
    for name, row in result.items():
        cells = [
            f"{figure['median']:>14,.0f} {clock} ({figure.get('over_sb3', float('nan')):.1f} x SB3)"
            for clock, figure in row.items()
        ]
        print(f"{name:>12}" + "".join(cells))
    if skipped:
        print(f"sb3_dummy skipped: {skipped}")
        result["sb3_dummy"] = {"skipped": skipped}
    loads = [round(load, 1), round(os.getloadavg()[0], 1)]
    shape = {"cpus": os.cpu_count(), "threads": 1, "accounts": ACCOUNTS, "load_1min": loads}
    print(json.dumps({"benchmark": "environment", **shape, **result}))


if __name__ == "__main__":
    main()
