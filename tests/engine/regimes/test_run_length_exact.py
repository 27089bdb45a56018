import itertools
import math

import numpy as np
import pytest

from engine.regimes.run_length import RunLengths, SegmentPrior
from engine.regimes.run_length_exact import run_length_matrix


def evidence(x: np.ndarray, prior: SegmentPrior) -> float:
    """Marginal likelihood of one segment, in closed form from its sums."""
    n, mean = len(x), x.mean()
    kappa, alpha = prior.kappa + n, prior.alpha + n / 2
    beta = (
        prior.beta + 0.5 * ((x - mean) ** 2).sum() + prior.kappa * n * (mean - prior.mean) ** 2 / (2 * kappa)
    )
    return math.exp(
        math.lgamma(alpha)
        - math.lgamma(prior.alpha)
        + prior.alpha * math.log(prior.beta)
        - alpha * math.log(beta)
        + 0.5 * math.log(prior.kappa / kappa)
        - 0.5 * n * math.log(2 * math.pi)
    )


def by_enumeration(x: np.ndarray, prior: SegmentPrior, hazard: float) -> np.ndarray:
    """Posterior of the last segment's length over all ways to cut the series."""
    n = len(x)
    posterior = np.zeros(n + 1)
    for cuts in itertools.product((False, True), repeat=n - 1):
        borders = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        p = hazard ** sum(cuts) * (1 - hazard) ** (n - 1 - sum(cuts))
        for begin, end in itertools.pairwise(borders):
            p *= evidence(x[begin:end], prior)
        posterior[n - borders[-2]] += p
    return posterior / posterior.sum()


@pytest.mark.parametrize(
    "prior", [SegmentPrior(), SegmentPrior(0.3, 0.5, 2.0, 0.7), SegmentPrior(-1, 4, 10, 10)]
)
def test_eight_observations_equal_enumeration_of_all_segmentations(prior: SegmentPrior) -> None:
    x = np.array([0.2, -0.4, 0.1, 2.9, 3.3, 2.6, 3.1, -0.5])
    expected = by_enumeration(x, prior, 0.1)
    assert np.abs(run_length_matrix(x, prior, 0.1)[-1] - expected).max() < 1e-9
    kernel = RunLengths(prior, 0.1)
    kernel.update(x)
    assert np.abs(kernel.posterior(8) - expected).max() < 1e-9


def test_rows_are_distributions_over_what_is_possible() -> None:
    matrix = run_length_matrix(np.random.default_rng(0).normal(size=300), SegmentPrior())
    assert np.abs(matrix.sum(axis=1) - 1.0).max() < 1e-10
    assert np.array_equal(matrix, np.tril(matrix, 1))
    assert (matrix[:, 0] == 0).all()


def test_run_length_zero_says_nothing_but_short_segments_do() -> None:
    x = np.r_[np.random.default_rng(1).normal(size=200), np.random.default_rng(2).normal(8.0, 1.0, 20)]
    hazard, prior = 0.01, SegmentPrior()
    posterior, zero = run_length_matrix(x, prior, hazard), []
    for row in posterior:
        # in the form with a run length of zero, each segment goes on with 1 - H or ends with H
        growth, change = row * (1 - hazard), row * hazard
        zero.append(change.sum() / (growth.sum() + change.sum()))
    assert np.abs(np.array(zero) - hazard).max() < 1e-12
    short = posterior[:, 2:11].sum(axis=1)
    assert short[200:208].max() > 0.95
    assert short[50:200].max() < 0.7


def test_without_a_mask_every_start_is_a_change() -> None:
    posterior = run_length_matrix(np.random.default_rng(3).normal(size=60), SegmentPrior(), 0.01)
    assert posterior[1:9, 2:11].sum(axis=1).min() > 0.9


def test_a_prior_of_another_scale_never_sees_a_change() -> None:
    rng = np.random.default_rng(4)
    x = np.r_[rng.normal(0, 1e-4, 200), rng.normal(0, 4e-4, 60)]
    assert run_length_matrix(x, SegmentPrior())[200:, 2:11].sum(axis=1).max() < 0.1
    assert run_length_matrix(x * 1e4, SegmentPrior())[200:, 2:11].sum(axis=1).max() > 0.7


@pytest.mark.parametrize(("x", "hazard"), [([np.nan], 0.1), ([1.0, np.inf], 0.1), ([1.0], 0.0), ([1.0], 1.0)])
def test_refuses_what_it_cannot_use(x: list[float], hazard: float) -> None:
    with pytest.raises(ValueError, match="must"):
        run_length_matrix(x, SegmentPrior(), hazard)
