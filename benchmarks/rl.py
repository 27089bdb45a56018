"""Training beside Stable-Baselines3's PPO: decisions per second, and time to the same out-of-sample reward.

Run from the project root with an interpreter that has Stable-Baselines3 in the environment variable
``PEERS_PYTHON``: ``python -m benchmarks.rl throughput`` or ``python -m benchmarks.rl reward --seeds 10``.

- ``throughput``: whole PPO, collecting included, on the peers' market of 600 features, networks of 64-64, at
  4 and 10 passes over minibatches of 1,024 decisions; both sides in turns. Without the peers' own script only
  ours is measured.
- ``reward``: both train on the first 70 % of a simulated market and are judged on the rest by the mean reward
  of the greedy policy. The clock stands still meanwhile, and counts processor time of one thread each: what a
  clock on the wall shows on an idle machine. The peer is Stable-Baselines3 with its defaults and eight
  environments. The mark is the level that the peer holds at the end of its budget, the median of its
  last three evaluations; reached is it where the running median of three is there, for which we have as many
  seconds as the peer. A seed is a market and both trainings; ``--out FILE`` keeps them for the next run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rl_market import STRETCH, judged, noise_market, simulated_market
from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.environment import EnvironmentConfig
from engine.agents.ppo import PPOConfig
from engine.agents.tape import MarketTape

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers" / "rl.py"
PEER = Path(__file__).with_name("rl_peer.py")
GAMMA = 0.97
_ENOUGH = 1_000_000
"""Updates that no budget of seconds has room for."""
PASSES = {"learn_4x1024": 4, "learn_10x1024": 10}


def ours_per_second(tape: MarketTape, passes: int, device: str, updates: int = 3) -> float:
    """Decisions per second of whole updates, the first not counted."""
    config = AgentConfig(
        environment=EnvironmentConfig(levels=(-1.0, 0.0, 1.0), cost=5e-4, episode_bars=1_000),
        ppo=PPOConfig(epochs=passes, minibatch=1024, target_kl=None),
        device=device,
    )
    agent = RLTradingAgent(state_width(len(tape.features)), 3, config)
    moments: list[float] = []
    agent.train(tape, updates=updates + 1, progress=lambda _: moments.append(time.perf_counter()))
    return updates * config.horizon * config.starts * config.paths / (moments[-1] - moments[0])


def throughput(turns: int, device: str) -> dict[str, Any]:
    """Decisions per second of both, in turns."""
    tape, python = noise_market(), os.environ.get("PEERS_PYTHON")
    missing = (
        f"{PEERS} is not there" if not PEERS.is_file() else None if python else "PEERS_PYTHON is not set"
    )
    ours: dict[str, list[float]] = {name: [] for name in PASSES}
    peer: dict[str, list[float]] = {name: [] for name in PASSES}
    loads = [os.getloadavg()[0]]
    for _ in range(turns):
        for name, passes in PASSES.items():
            ours[name].append(ours_per_second(tape, passes, device))
        if missing is None:
            done = subprocess.run(
                [str(python), str(PEERS), "sb3_dummy"], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.strip().splitlines()[-1])["sb3_dummy"]
            for name in PASSES:
                peer[name].append(found[name]["median"])
        loads.append(os.getloadavg()[0])
    out: dict[str, Any] = {"load_1min": [round(load, 1) for load in loads], "skipped": missing}
    for name in PASSES:
        out[name] = {"ours": [round(v) for v in ours[name]], "sb3": [round(v) for v in peer[name]]}
        if missing is None:
            ratios = [a / b for a, b in zip(ours[name], peer[name], strict=True)]
            out[name]["ratio"] = float(f"{statistics.median(ratios):.3g}")
    return out


Curve = list[dict[str, float]]


def our_curve(
    train: MarketTape, test: MarketTape, seed: int, device: str, *, mark: float, budget: float
) -> Curve:
    """Seconds of training so far, decisions and out-of-sample reward after every second update.

    It trains until the mark is reached or the budget of seconds is spent.
    """
    # The rate was chosen on market 100, which is not among those that count.
    ppo = PPOConfig(gamma=GAMMA, learning_rate=1e-3)
    config = AgentConfig(ppo=ppo, starts=32, paths=8, horizon=32, seed=seed, device=device)
    agent = RLTradingAgent(state_width(len(train.features)), len(config.environment.levels), config)
    curve: Curve = []
    clock = {"seconds": 0.0, "since": time.process_time()}

    def evaluate(update: Any) -> bool:
        clock["seconds"] += time.process_time() - clock["since"]
        if update.update % 2 == 0:
            reward = judged(test, agent.positions(test), config.environment)
            decisions = update.update * update.decisions
            curve.append({"seconds": clock["seconds"], "decisions": decisions, "reward": reward})
        clock["since"] = time.process_time()
        return clock["seconds"] > budget or math.isfinite(reached(curve, mark))

    agent.train(train, updates=_ENOUGH, progress=evaluate)
    return curve


def peer_curve(train: MarketTape, test: MarketTape, seed: int, steps: int, evaluations: int) -> Curve:
    """Train and judge the peer on the same market."""
    config = EnvironmentConfig()
    arrays: dict[str, Any] = {}
    for part, tape in (("train", train), ("test", test)):
        carry = np.nan_to_num(tape.growth) - tape.funding
        arrays |= {f"{part}_x": tape.x, f"{part}_p": tape.p_regime, f"{part}_growth": carry}
        arrays |= {f"{part}_scale": tape.scale, f"{part}_mark": tape.mark}
    arrays["train_starts"] = np.flatnonzero(train.decisions_left > config.episode_bars)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.npz"
        np.savez(
            path,
            levels=np.array(config.levels),
            cost=config.cost,
            aversion=config.risk_aversion,
            gamma=GAMMA,
            stretch=STRETCH,
            **arrays,
        )
        command = [os.environ["PEERS_PYTHON"], str(PEER), str(path), str(seed), str(steps), str(evaluations)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def reached(curve: Curve, mark: float) -> float:
    """Seconds until the running median of three rewards is at the mark; infinite if it never is."""
    rewards = [point["reward"] for point in curve]
    for i in range(2, len(curve)):
        if statistics.median(rewards[i - 2 : i + 1]) >= mark:
            return curve[i]["seconds"]
    return math.inf


def one_seed(seed: int, steps: int, evaluations: int, device: str) -> dict[str, Any]:
    """Both curves on one market, and how long each took to the peer's level."""
    train, test = simulated_market(seed)
    peer = peer_curve(train, test, seed, steps, evaluations)
    mark = statistics.median(point["reward"] for point in peer[-3:])
    ours = our_curve(train, test, seed, device, mark=mark, budget=peer[-1]["seconds"])
    return {
        "seed": seed,
        "mark": mark,
        "peer_s": reached(peer, mark),
        "ours_s": reached(ours, mark),
        "peer": peer,
        "ours": ours,
        "load_1min": round(os.getloadavg()[0], 1),
    }


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Geometric mean of the ratios with its interval; seeds in which we never got there are counted apart."""
    ratios = [f["peer_s"] / f["ours_s"] for f in found if math.isfinite(f["ours_s"])]
    logs = np.log(ratios) if ratios else np.array([math.nan])
    draws = np.random.default_rng(0).choice(logs, (10_000, len(logs))).mean(1)
    low, high = np.exp(np.quantile(draws, (0.025, 0.975)))
    return {
        "seeds": len(found),
        "never_reached": len(found) - len(ratios),
        "ratio": float(f"{np.exp(logs.mean()):.3g}"),
        "interval_95": [float(f"{low:.3g}"), float(f"{high:.3g}")],
        "final_reward": {side: [round(f[side][-1]["reward"], 4) for f in found] for side in ("ours", "peer")},
        "load_1min": [f["load_1min"] for f in found],
    }


def reward(seeds: int, steps: int, evaluations: int, device: str, out: Path | None) -> dict[str, Any]:
    """Run the seeds that are not there yet and sum all of them up."""
    if "PEERS_PYTHON" not in os.environ:
        return {"skipped": "set PEERS_PYTHON to an interpreter that has stable-baselines3"}
    torch.set_num_threads(1)
    found = [json.loads(line) for line in out.read_text().splitlines()] if out and out.is_file() else []
    for seed in sorted(set(range(seeds)) - {f["seed"] for f in found}):
        found.append(one_seed(seed, steps, evaluations, device))
        if out:
            with out.open("a") as lines:
                lines.write(json.dumps(found[-1]) + "\n")
        print({k: v for k, v in found[-1].items() if k not in ("peer", "ours")}, file=sys.stderr)
    return summary(found)


def main() -> None:
    """Measure what is asked for and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("throughput", "reward"))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200_000, help="the peer's budget of decisions")
    parser.add_argument("--evaluations", type=int, default=25)
    parser.add_argument("--device", default="auto", choices=("cpu", "cuda", "auto"))
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    found = (
        throughput(a.turns, a.device)
        if a.what == "throughput"
        else reward(a.seeds, a.steps, a.evaluations, a.device, a.out)
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() and a.device != "cpu" else None
    machine = {"cpus": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}
    print(json.dumps({"benchmark": f"rl {a.what}", **machine, **found}))


if __name__ == "__main__":
    main()
