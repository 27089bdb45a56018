"""Run-length posterior with every run length kept, in logarithms: slow, plain, what the kernel is held to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

from engine.regimes.run_length import SegmentPrior

__all__ = ["run_length_matrix"]


def run_length_matrix(
    observations: ArrayLike, prior: SegmentPrior, hazard: float = 1.0 / 250.0
) -> NDArray[np.float64]:
    """Posterior of the run length after each observation.

    Time and memory grow with the square of the series: meant for pictures of some thousand bars, and tests.

    Parameters
    ----------
    observations : array_like, shape (n,)
        Finite.
    prior : SegmentPrior
    hazard : float
        Probability per observation that a new segment begins with it.

    Returns
    -------
    ndarray, shape (n, n + 1)
        ``[t, j]`` is the probability that the current segment has j observations, the one at t included.
        Each row sums to 1; column 0 is zero.

    Raises
    ------
    ValueError
        If an observation is not finite or the hazard is not a probability.

    References
    ----------
    Adams and MacKay (2007), Bayesian online changepoint detection.
    """
    x = np.asarray(observations, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("observations must be finite; leave missing ones out")
    if not 0.0 < hazard < 1.0:
        raise ValueError(f"hazard={hazard} must lie in (0, 1)")
    joint = np.zeros(0)
    kappa, alpha, mean, beta = (np.array([v]) for v in (prior.kappa, prior.alpha, prior.mean, prior.beta))
    matrix = np.zeros((x.size, x.size + 1))
    for t, value in enumerate(x):
        # Entry 0 is the prior: the segment that may begin here. Entry j has seen j observations.
        spread = beta * (kappa + 1.0) / kappa
        log_density = (
            gammaln(alpha + 0.5)
            - gammaln(alpha)
            - 0.5 * np.log(2.0 * np.pi * spread)
            - (alpha + 0.5) * np.log1p((value - mean) ** 2 / (2.0 * spread))
        )
        begins = log_density[0] + (np.log(hazard) if t else 0.0)
        joint = np.append(begins, joint + log_density[1:] + np.log1p(-hazard))
        joint -= logsumexp(joint)
        matrix[t, 1 : t + 2] = np.exp(joint)
        beta = np.append(prior.beta, beta + kappa * (value - mean) ** 2 / (2.0 * (kappa + 1.0)))
        mean = np.append(prior.mean, (kappa * mean + value) / (kappa + 1.0))
        kappa = np.append(prior.kappa, kappa + 1.0)
        alpha = np.append(prior.alpha, alpha + 0.5)
    return matrix
