"""Adaptive conformal inference, and its version that tunes its own step.

ACI (Gibbs and Candes 2021): ``alpha_{t+1} = alpha_t + gamma (alpha - err_t)``. DtACI (Gibbs and Candes 2024)
runs one such expert per step gamma, weighs each by the exponential of minus its pinball losses, mixes a share
sigma of the weight evenly so that none dies out, and answers with the weighted mean of the alphas. With one
step it is ACI.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["DTACI_STEPS", "learn", "learning_rate", "mixed_alpha", "sharing_rate"]

Floats = NDArray[np.float64]

DTACI_STEPS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)

# A score that ties with a threshold up to rounding is covered by it on neither side of a comparison.
_ROUNDING = 1e-12


def learning_rate(alpha: float, experts: int, interval: float) -> float:
    """Rate eta of the expert weights for regret over stretches of `interval` outcomes.

    References
    ----------
    Gibbs and Candes (2024), section 3: the rate that minimises the bound on the dynamic regret.
    """
    square_loss = alpha**2 * (1.0 - alpha) ** 3 + alpha**3 * (1.0 - alpha) ** 2
    return float(np.sqrt(3.0 / interval) * np.sqrt((np.log(experts * interval) + 2.0) / square_loss))


def sharing_rate(interval: float) -> float:
    """Share sigma of the weight that is spread over all experts at each outcome."""
    return 1.0 / (2.0 * interval)


@nb.njit(cache=True)
def mixed_alpha(alpha: Floats, weight: Floats) -> float:
    """Weighted mean of the experts' alphas."""
    if alpha.size == 1:
        return alpha[0]
    mean, total = 0.0, 0.0
    for i in range(alpha.size):
        mean += weight[i] * alpha[i]
        total += weight[i]
    return mean / total


@nb.njit(cache=True)
def learn(
    alpha: Floats,
    weight: Floats,
    given: Floats,
    beta: float,
    steps: Floats,
    target: float,
    eta: float,
    sigma: float,
) -> None:
    """Learn one outcome, in place.

    `given` are the experts' alphas when the outcome's decision was made and `beta` the largest alpha that
    would have covered it; an expert missed it if its alpha was not below that.
    """
    experts = alpha.size
    for i in range(experts):
        off = beta - given[i]
        weight[i] *= np.exp(-eta * (target * off - min(0.0, off)))
        alpha[i] += steps[i] * (target - (1.0 if given[i] >= beta - _ROUNDING else 0.0))
    total = 0.0
    for i in range(experts):
        total += weight[i]
    for i in range(experts):
        weight[i] = (1.0 - sigma) * weight[i] / total + sigma / experts
