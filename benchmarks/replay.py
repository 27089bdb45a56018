"""Prioritised replay beside cpprb: samples/s drawn and updated, transitions/s added, and how true draws are.

Run from the project root: ``python -m benchmarks.replay``; prints a table and one line of JSON. Capacity a
million, batch 256, alpha 0.6, beta 0.4, transitions with two observations of 64 numbers; one process each, by
turns.

- ``sample_update``: samples/s through `sample(256)` and then `update_priorities` of the same 256
- ``add_8``, ``add_4096``: transitions/s in blocks, 8 being a small vector environment
- ``decile_error``: worst relative gap between how often a decile of priority is drawn and how often it should
  be, over 102,400 draws; independent draws would leave 0.02 to 0.04

cpprb runs by the peers' own script where it is there, on an interpreter that has it:
``PEERS_PYTHON=/path/to/python``.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.agents.replay import PrioritizedReplayBuffer

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers" / "replay.py"
CAPACITY, BATCH, WIDTH, ALPHA, BETA, EPS = 1_000_000, 256, 64, 0.6, 0.4, 1e-3
TURNS = 3
FIGURES = ("sample_update", "add_8", "add_4096")


def block(n: int) -> dict[str, NDArray[Any]]:
    """Transitions of a discrete-action environment."""
    r = np.random.default_rng(0)
    return {
        "obs": r.standard_normal((n, WIDTH), dtype=np.float32),
        "act": r.integers(0, 3, n),
        "rew": r.standard_normal(n).astype(np.float32),
        "next_obs": r.standard_normal((n, WIDTH), dtype=np.float32),
        "done": np.zeros(n, np.float32),
    }


def rate(count: int, call: Callable[[], object], calls: int, repeats: int = 5) -> dict[str, float]:
    """Median, least and largest rate of what makes `count` a call; the first repeat is not counted."""
    rates = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        rates.append(count * calls / (time.perf_counter() - start))
    kept = rates[1:]
    figures = {"median": statistics.median(kept), "min": min(kept), "max": max(kept)}
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def decile_error(buffer: PrioritizedReplayBuffer) -> float:
    """Give all items exponential priorities and count what is drawn."""
    priorities = np.random.default_rng(1).exponential(1.0, CAPACITY) + EPS
    buffer.update_priorities(buffer.indices(), priorities - EPS)
    decile = np.empty(CAPACITY, np.int64)
    decile[np.argsort(priorities)] = np.arange(CAPACITY) * 10 // CAPACITY
    expected = np.bincount(decile, priorities**ALPHA)
    drawn = np.concatenate([buffer.sample(BATCH, BETA)[2] for _ in range(400)]) - buffer.indices()[0]
    counts = np.bincount(decile[drawn], minlength=10)
    return round(float(np.abs(counts / counts.sum() / (expected / expected.sum()) - 1).max()), 4)


def engine() -> dict[str, Any]:
    """Fill the buffer and measure it."""
    buffer = PrioritizedReplayBuffer(CAPACITY, alpha=ALPHA, eps=EPS)
    few, many = block(8), block(4096)
    td = np.random.default_rng(1).exponential(1.0, BATCH)
    for _ in range(-(-CAPACITY // 4096)):
        buffer.add(many)

    def sample_update() -> None:
        _, _, indices = buffer.sample(BATCH, BETA)
        buffer.update_priorities(indices, td)

    return {
        "add_8": rate(8, lambda: buffer.add(few), 200),
        "add_4096": rate(4096, lambda: buffer.add(many), 4),
        "sample_update": rate(BATCH, sample_update, 200),
        "decile_error": decile_error(buffer),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def cpprb(python: str | None) -> dict[str, Any]:
    """Run cpprb by the peers' script; says what is missing where it cannot."""
    if not PEERS.is_file():
        return {"skipped": f"{PEERS} is not there"}
    if python is None:
        return {"skipped": "set PEERS_PYTHON to an interpreter that has cpprb"}
    done = subprocess.run([python, str(PEERS), "cpprb"], capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return dict(json.loads(lines[-1])["cpprb"]) if lines else {"failed": done.stderr.strip()[-200:]}


def own_process() -> dict[str, Any]:
    """Measure `engine` in a process of its own, as the peer is."""
    command = [sys.executable, "-m", "benchmarks.replay", "--one"]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> None:
    """Measure both by turns, print the table and the JSON line."""
    turns = [{"engine": own_process(), "cpprb": cpprb(os.environ.get("PEERS_PYTHON"))} for _ in range(TURNS)]
    print(f"{'':>8}" + "".join(f"{name:>16}" for name in (*FIGURES, "decile_error", "load_1min")))
    for turn in turns:
        for name, found in turn.items():
            cells = [f"{found[figure]['median']:>16,.0f}" for figure in FIGURES if figure in found]
            rest = [f"{found[figure]:>16}" for figure in ("decile_error", "load_1min") if figure in found]
            print(f"{name:>8}" + "".join(cells + rest), found.get("skipped", found.get("failed", "")))
    ratios = {
        figure: [
            round(turn["engine"][figure]["median"] / turn["cpprb"][figure]["median"], 2)
            for turn in turns
            if figure in turn["cpprb"]
        ]
        for figure in FIGURES
    }
    for figure, each in ratios.items():
        if each:
            print(f"{figure}: {statistics.median(each)} times cpprb ({min(each)}..{max(each)})")
    print(json.dumps({"benchmark": "replay", "cpus": os.cpu_count(), "turns": turns, "ratios": ratios}))


if __name__ == "__main__":
    print(json.dumps(engine())) if sys.argv[1:] == ["--one"] else main()
