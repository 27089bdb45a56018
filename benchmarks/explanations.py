"""Shapley values of a network's chosen output beside shap's GradientExplainer, at equal samples.

Run from the project root: ``python -m benchmarks.explanations``; prints a table and one line of JSON.

The network is 50-128-64-3, the background 100 rows, 200 samples for each decision, the output explained the
largest of each decision. Cost is linear in decisions: ours explains 2,000 and the peer 50 of them, by turns
in one process with the same number of threads, which is torch's own choice unless OMP_NUM_THREADS sets it.

- ``speedup``: ratio of decisions per second, its median and range over the turns
- ``speedup_cpu``: the same for seconds of processor time, which other work on the machine disturbs less
- ``value_error``: root mean square difference from values of 40,000 samples, over their root mean square
- ``sum_error``: root mean square of output less base less the sum of values, over the outputs' deviation
- ``disagreement``: root mean square difference of the two in the peer's own standard errors; 1 where nothing
  but the peer's sampling keeps them apart
"""

from __future__ import annotations

import json
import os
import statistics
import time
import warnings

import numpy as np
import shap
import torch
from torch import Tensor, nn

from engine.agents.explanations import Explanation, ExplanationConfig, explain

FEATURES, SAMPLES, BACKGROUND = 50, 200, 100
OURS, THEIRS, TURNS = 2_000, 50, 5
REFERENCE_SAMPLES = 40_000


def network_and_rows() -> tuple[nn.Module, Tensor, Tensor]:
    """Untrained network, rows to explain, background."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 3)
    )
    rows = torch.randn(OURS + BACKGROUND, FEATURES, generator=torch.Generator().manual_seed(41))
    return network.eval(), rows[:OURS], rows[OURS:]


def ours(network: nn.Module, x: Tensor, background: Tensor, samples: int = SAMPLES) -> Explanation:
    """Values of each decision's largest output."""
    config = ExplanationConfig(samples=samples, most_background=BACKGROUND)
    with torch.no_grad():
        chosen = network(x).argmax(1)
    return explain(network, x, background, column=chosen, config=config)


def theirs(network: nn.Module, x: Tensor, background: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by the peer, with its standard errors."""
    explainer = shap.GradientExplainer(network, background)
    values, variances, _ = explainer.shap_values(
        x, nsamples=SAMPLES, ranked_outputs=1, rseed=0, return_variances=True
    )
    # What it calls the variance of a mean is that of the samples over the root of their number.
    return np.asarray(values)[..., 0], np.sqrt(np.asarray(variances)[0] / np.sqrt(SAMPLES))


def clocks() -> np.ndarray:
    """Seconds of the wall and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def root_mean_square(values: np.ndarray) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def main() -> None:
    """Time both by turns, then compare their values."""
    warnings.filterwarnings("ignore")
    network, x, background = network_and_rows()
    few = x[:THEIRS]
    rate: dict[str, list[float]] = {"ours": [], "GradientExplainer": []}
    speedup, speedup_cpu = [], []
    for turn in range(TURNS + 1):
        start = clocks()
        ours(network, x, background)
        between = clocks()
        values, error = theirs(network, few, background)
        if turn:
            own, peer = between - start, clocks() - between
            rate["ours"].append(OURS / own[0])
            rate["GradientExplainer"].append(THEIRS / peer[0])
            ratio = OURS / THEIRS * peer / own
            speedup.append(ratio[0])
            speedup_cpu.append(ratio[1])
    found = ours(network, few, background)
    reference = ours(network, few, background, REFERENCE_SAMPLES).values
    deviation, size = float(found.output.std()), root_mean_square(reference)
    by_whom = {"ours": found.values, "GradientExplainer": values}
    report = {
        "decisions_per_second": {name: round(statistics.median(rates), 1) for name, rates in rate.items()},
        "speedup": [round(f(speedup), 1) for f in (min, statistics.median, max)],
        "speedup_cpu": [round(f(speedup_cpu), 1) for f in (min, statistics.median, max)],
        "value_error": {k: round(root_mean_square(v - reference) / size, 4) for k, v in by_whom.items()},
        "sum_error": {
            k: round(root_mean_square(found.output - found.base - v.sum(1)) / deviation, 4)
            for k, v in by_whom.items()
        },
        "disagreement": round(root_mean_square((found.values - values) / error), 3),
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    for name, figure in report.items():
        print(f"{name:22} {figure}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
