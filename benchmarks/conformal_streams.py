"""The simulated data of `benchmarks.conformal`, which this library and its peers are both given."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS, LEVEL = 100_000, 0.9
FIT, CALIBRATION, TEST = slice(0, 40_000), slice(40_000, 70_000), slice(70_000, ROWS)
START, CHANGE, END = 600, 1_600, 2_600


def grouped(seed: int = 29) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten features, an outcome, and its group: 80, 15 and 5 % of rows with noise 1, 2 and 4."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, 10))
    group = rng.choice(3, ROWS, p=[0.80, 0.15, 0.05])
    x[:, 9] = group
    signal = x[:, 0] + np.sin(2 * x[:, 1]) + 0.5 * x[:, 2] * x[:, 3]
    return x, signal + np.array([1.0, 2.0, 4.0])[group] * rng.standard_normal(ROWS), group


def group_quality(lower: Any, upper: Any, y: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """Coverage over all and of the worst group, and the mean width."""
    covered = (y >= lower) & (y <= upper)
    return {
        "coverage": round(float(covered.mean()), 4),
        "worst_group": round(min(float(covered[group == k].mean()) for k in range(3)), 4),
        "mean_width": round(float(np.mean(upper - lower)), 3),
    }


def drifting(seed: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """Five features and an outcome whose noise doubles its variance at `CHANGE`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((END, 5))
    deviation = np.where(np.arange(END) < CHANGE, 1.0, np.sqrt(2.0))
    return x, x[:, 0] + np.sin(x[:, 1]) + deviation * rng.standard_normal(END)


def drift_quality(lower: Any, upper: Any, y: np.ndarray) -> dict[str, float]:
    """Coverage before the change and after it; unbounded intervals count as 50 wide."""
    covered = ((y >= lower) & (y <= upper)).astype(float)
    width = np.minimum(upper - lower, 50.0)
    after = CHANGE - START
    return {
        "before": round(float(covered[:after].mean()), 4),
        "first_50_after": round(float(covered[after : after + 50].mean()), 4),
        "first_300_after": round(float(covered[after : after + 300].mean()), 4),
        "after": round(float(covered[after:].mean()), 4),
        "worst_200_after": round(float(np.convolve(covered[after:], np.ones(200) / 200, "valid").min()), 3),
        "width_before": round(float(width[:after].mean()), 3),
        "width_after": round(float(width[after:].mean()), 3),
    }
