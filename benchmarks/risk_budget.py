"""Risk parity of 10, 50, 200 and 500 assets: seconds, and how far risk shares are from their budgets.

Run from the project root: ``python -m benchmarks.risk_budget``; prints a table and one line of JSON.

- ``solver``: `risk_budget_weights` on a given covariance
- ``bare``: coordinate descent alone, compiled, as one writes it in fifteen lines; by turns with the solver on
  the same covariance, which is not counted in either
- ``optimizer``: `PortfolioRiskOptimizer.optimize_allocation`, with its covariance and without limits
- ``skfolio``, ``riskfolio``: from returns, through the peers' own script where it is there. riskfolio needs
  an interpreter of an environment that has it: ``PEERS_PYTHON=/path/to/python``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.portfolio.allocation import PortfolioConfig
from engine.portfolio.optimizer import PortfolioRiskOptimizer
from engine.portfolio.risk_budget import budget_residual, risk_budget_weights

Floats = NDArray[np.float64]

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers" / "risk_budget.py"
SIZES, DAYS, REPEATS = (10, 50, 200, 500), 1_000, 25


def returns(n: int) -> Floats:
    """Simulate heavy-tailed returns with five factors and volatilities that differ widely."""
    r = np.random.default_rng(17 + n)
    volatility = np.exp(r.normal(np.log(0.02), 0.6, n))
    load = np.c_[r.uniform(0.3, 1.2, n), r.normal(0, 0.4, (n, 4))]
    factors = r.standard_t(5, (DAYS, 5)) * 0.8
    return (factors @ load.T + r.standard_t(5, (DAYS, n))) * volatility * 0.6


@nb.njit(fastmath=True)
def _bare(correlation: Floats, tolerance: float, sweeps: int) -> Floats:
    n = correlation.shape[0]
    y = np.full(n, 1.0 / np.sqrt(correlation.sum()))
    pull = correlation @ y
    for _ in range(sweeps):
        largest = 0.0
        for i in range(n):
            others = pull[i] - y[i]
            after = (np.sqrt(others * others + 4.0 / n) - others) / 2.0
            step = after - y[i]
            largest = max(largest, abs(step / after))
            y[i] = after
            for j in range(n):
                pull[j] += step * correlation[i, j]
        if largest < tolerance:
            break
    return y


def bare(covariance: Floats) -> Floats:
    """Weights by coordinate descent, nothing checked."""
    scale = np.sqrt(np.diag(covariance))
    weights = _bare(covariance / scale / scale[:, None], 1e-9, 500) / scale
    return weights / weights.sum()


def in_turns(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each call, by turns so that all meet the same load; the first turn is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(REPEATS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def figures(seconds: list[float], residual: float) -> dict[str, float]:
    """Median and least seconds, and the residual."""
    return {
        "median_s": float(f"{statistics.median(seconds):.4g}"),
        "min_s": float(f"{min(seconds):.4g}"),
        "residual": float(f"{residual:.3g}"),
    }


def measure(n: int) -> dict[str, Any]:
    """Solver, bare descent and whole optimiser at one size."""
    history = returns(n)
    covariance = np.cov(history, rowvar=False)
    config = PortfolioConfig(window=DAYS, regime_window=DAYS, correlation_limit=1.0, max_weight=1.0)
    optimizer, names = PortfolioRiskOptimizer(config), [str(i) for i in range(n)]
    allocation = optimizer.optimize_allocation(names, {}, history)
    seconds = in_turns(
        {
            "solver": lambda: risk_budget_weights(covariance),
            "bare": lambda: bare(covariance),
            "optimizer": lambda: optimizer.optimize_allocation(names, {}, history),
        }
    )
    ratios = [s / b for s, b in zip(seconds["solver"], seconds["bare"], strict=True)]
    return {
        "solver": figures(seconds["solver"], budget_residual(risk_budget_weights(covariance), covariance)),
        "bare": figures(seconds["bare"], budget_residual(bare(covariance), covariance)),
        "optimizer": figures(seconds["optimizer"], allocation.residual or np.nan),
        "solver_over_bare": float(f"{statistics.median(ratios):.3g}"),
    }


def peer(name: str, python: str | None) -> dict[str, Any]:
    """Run one contender of the peers' script; says what is missing where it cannot."""
    if not PEERS.is_file():
        return {"skipped": f"{PEERS} is not there"}
    if python is None:
        return {"skipped": f"set PEERS_PYTHON to an interpreter that has {name}"}
    done = subprocess.run([python, str(PEERS), name], capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return dict(json.loads(lines[-1])[name]) if lines else {"failed": done.stderr.strip()[-200:]}


def main() -> None:
    """Measure all, print the table and the JSON line."""
    load = os.getloadavg()[0]
    ours = {n: measure(n) for n in SIZES}
    peers = {
        "skfolio": peer("skfolio", sys.executable),
        "riskfolio": peer("riskfolio", os.environ.get("PEERS_PYTHON")),
    }
    print(f"{'assets':>22}" + "".join(f"{n:>22}" for n in SIZES))
    for name in ("solver", "bare", "optimizer"):
        cells = [f"{ours[n][name]['median_s']:.5f} s  {ours[n][name]['residual']:.0e}" for n in SIZES]
        print(f"{name:>22}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"{'solver over bare':>22}" + "".join(f"{ours[n]['solver_over_bare']:>22.2f}" for n in SIZES))
    for name, found in peers.items():
        rows = [found.get(str(n), {}) for n in SIZES]
        cells = [
            f"{r['seconds']['median']:.5f} s  {r['inequality']:.0e}" if "seconds" in r else "-" for r in rows
        ]
        print(f"{name:>22}" + "".join(f"{cell:>22}" for cell in cells), found.get("skipped", ""))
    print(
        json.dumps(
            {
                "benchmark": "risk_budget",
                "cpus": os.cpu_count(),
                "load_1min": [round(load, 1), round(os.getloadavg()[0], 1)],
                **{str(n): found for n, found in ours.items()},
                **peers,
            }
        )
    )


if __name__ == "__main__":
    main()
