"""A Gaussian hidden Markov model with one named state per regime, and its filter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from hmmlearn.hmm import GaussianHMM
from numba import njit
from threadpoolctl import threadpool_limits

from engine.regimes.names import REGIMES

__all__ = ["FitSettings", "RegimeChain", "filter_chain", "fit_chain"]

STATES = len(REGIMES)
TREND, RANGE, PANIC = (REGIMES.index(name) for name in ("TREND", "RANGE", "PANIC"))


@dataclass(frozen=True)
class FitSettings:
    """How the model is fitted.

    Parameters
    ----------
    thinning : int
        Bars per independent piece of evidence. Observations average over windows, so neighbouring bars tell
        nearly the same twice: the model is fitted on every `thinning`-th bar, and each bar counts for
        ``1 / thinning`` of its likelihood when filtering.
    anchor_weight : float
        Weight of the anchors (the regimes' definition) relative to a state's fair share of the data.
    stickiness, moves : float
        Pseudo-counts on remaining in a state and on each move, so that no move becomes impossible.
    spreads : tuple of float
        Starts of the first fit, as multiples of the anchors; the likeliest fit is kept.
    iterations, refit_iterations : int
        Most EM steps of a first fit and of one that starts from the previous model.
    tolerance : float
        EM stops when the log-likelihood gains less than this per row.
    smallest_share : float
        A fit in which a state has a smaller share of the rows is degenerate.
    """

    thinning: int = 4
    anchor_weight: float = 1.0
    stickiness: float = 50.0
    moves: float = 2.0
    spreads: tuple[float, ...] = (1.0, 0.6, 1.4)
    iterations: int = 40
    refit_iterations: int = 10
    tolerance: float = 1e-5
    smallest_share: float = 0.002


@dataclass(frozen=True)
class RegimeChain:
    """States in the order of `REGIMES`.

    ``transition[i, j]`` is the probability per bar of moving from i to j; ``means`` [3, d] and
    ``covariances`` [3, d, d] describe the standardised observations; ``fallback`` says that the data gave no
    usable fit.
    """

    transition: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    fallback: bool = False

    @property
    def stationary(self) -> np.ndarray:
        """Long-run share of each regime: what is believed before anything was seen."""
        system = np.vstack([self.transition.T - np.eye(STATES), np.ones(STATES)])
        shares = np.linalg.lstsq(system, np.r_[np.zeros(STATES), 1.0], rcond=None)[0].clip(1e-6)
        return shares / shares.sum()


def anchored_chain(anchors: np.ndarray) -> RegimeChain:
    """Make a model of the definition alone: anchors with unit covariance, stays of 50 bars on average."""
    stay = 0.98
    transition = np.full((STATES, STATES), (1.0 - stay) / (STATES - 1))
    np.fill_diagonal(transition, stay)
    return RegimeChain(transition, anchors, np.tile(np.eye(anchors.shape[1]), (STATES, 1, 1)), fallback=True)


def fit_chain(
    rows: np.ndarray,
    lengths: list[int],
    anchors: np.ndarray,
    settings: FitSettings,
    previous: RegimeChain | None = None,
) -> RegimeChain:
    """Fit by EM, the means held near the anchors (maximum a posteriori), over several unbroken sequences.

    The anchors give each state its name before the data do, so that refits agree on which state is which.
    Should data pull the states past each other all the same, they are named again by `named_order`.
    A degenerate fit (a state nearly empty, or numbers that are not finite) is not used: the previous model
    stays in force or, without one, the anchors themselves.

    Parameters
    ----------
    rows : ndarray [n, d]
        Standardised observations, every `thinning`-th bar, without NaN.
    lengths : list of int
        Length of each sequence.
    anchors : ndarray [3, d]
        Prior means in standard deviations.
    settings : FitSettings
        Strength of the prior and number of steps.
    previous : RegimeChain, optional
        Where to start from instead of the anchors.
    """
    starts = [_thinned(previous, settings.thinning)] if previous else []
    if not starts:
        anchored = anchored_chain(anchors)
        starts = [
            RegimeChain(anchored.transition, spread * anchors, anchored.covariances)
            for spread in settings.spreads
        ]
    steps = settings.refit_iterations if previous else settings.iterations
    fits = [_expectation_maximisation(rows, lengths, anchors, settings, start, steps) for start in starts]
    usable = [fit for fit in fits if fit is not None]
    if not usable:
        return previous or anchored_chain(anchors)
    best = max(usable, key=lambda fit: fit[0])[1]
    # To first order, one bar makes a thinning-th of the moves between fitted rows; this is a valid transition
    # matrix for any fit, where the matrix root need not be.
    transition = np.eye(STATES) + (best.transition - np.eye(STATES)) / settings.thinning
    return RegimeChain(transition, best.means, best.covariances)


def _thinned(chain: RegimeChain, thinning: int) -> RegimeChain:
    return RegimeChain(np.linalg.matrix_power(chain.transition, thinning), chain.means, chain.covariances)


def _expectation_maximisation(
    rows: np.ndarray,
    lengths: list[int],
    anchors: np.ndarray,
    settings: FitSettings,
    start: RegimeChain,
    steps: int,
) -> tuple[float, RegimeChain] | None:
    """Log-likelihood per row and the model, or None where it degenerated."""
    model = GaussianHMM(
        STATES,
        "full",
        n_iter=steps,
        tol=settings.tolerance * len(rows),
        implementation="scaling",
        min_covar=1e-2,
        means_prior=anchors,
        means_weight=settings.anchor_weight * len(rows) / STATES,
        transmat_prior=1.0 + settings.moves + settings.stickiness * np.eye(STATES),
        init_params="",
        params="tmc",
    )
    model.startprob_ = np.full(STATES, 1.0 / STATES)
    model.transmat_, model.means_, model.covars_ = start.transition, start.means, start.covariances
    try:
        # Products this small only lose time in several threads, and their rounding would depend on how many.
        with _quiet("hmmlearn"), threadpool_limits(limits=1, user_api="blas"):
            model.fit(rows, lengths)
            likelihood, posterior = model.score_samples(rows, lengths)
    except (ValueError, np.linalg.LinAlgError):
        return None
    order = named_order(model.means_, anchors)
    fitted = RegimeChain(model.transmat_[np.ix_(order, order)], model.means_[order], model.covars_[order])
    numbers = np.concatenate([fitted.transition.ravel(), fitted.means.ravel(), fitted.covariances.ravel()])
    if not np.isfinite(numbers).all() or posterior.mean(axis=0).min() < settings.smallest_share:
        return None
    return likelihood / len(rows), fitted


def named_order(means: np.ndarray, anchors: np.ndarray) -> list[int]:
    """Find TREND, RANGE and PANIC: PANIC is furthest along its anchor, TREND of the rest along its own."""
    panic = int(np.argmax(means @ anchors[PANIC]))
    rest = [state for state in range(STATES) if state != panic]
    trend = max(rest, key=lambda state: float(means[state] @ (anchors[TREND] - anchors[RANGE])))
    (quiet,) = (state for state in rest if state != trend)
    return [trend, quiet, panic]


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Hush a logger: the library monitors the likelihood without the prior and warns of good steps."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def filter_chain(
    chain: RegimeChain,
    rows: np.ndarray,
    begins: np.ndarray,
    first: np.ndarray,
    steps: np.ndarray,
    weight: float,
) -> np.ndarray:
    """P(regime at t | observations up to t), row by row: the forward pass, which the fitting library lacks.

    Parameters
    ----------
    chain : RegimeChain
        The model.
    rows : ndarray [n, d]
        Standardised observations, sequences one after the other. A row with a NaN is no evidence: its
        probabilities are those predicted from the row before.
    begins : ndarray [n] of bool
        Where a sequence begins: what was believed before it is then the row of `first`.
    first : ndarray [n, 3]
        Read only where a sequence begins.
    steps : ndarray [n] of int
        Bars since the last belief: 1 without a gap.
    weight : float
        Power of each row's likelihood.

    Returns
    -------
    ndarray [n, 3]
        Each row sums to one.
    """
    precision = np.linalg.inv(chain.covariances)
    log_norm = -0.5 * np.linalg.slogdet(chain.covariances)[1]
    return _forward(rows, begins, first, steps, chain.transition, chain.means, precision, log_norm, weight)


# After this many bars without data nothing is left of what was known.
_LONGEST_GAP = 5_000
_LEAST_BELIEF = 1e-12


@njit(cache=True)
def _forward(rows, begins, first, steps, transition, means, precision, log_norm, weight):  # type: ignore[no-untyped-def]  # pragma: no cover
    n, d = rows.shape
    states = means.shape[0]
    beliefs = np.empty((n, states))
    belief, moved, evidence = np.empty(states), np.empty(states), np.empty(states)
    for t in range(n):
        if begins[t]:
            for k in range(states):
                belief[k] = first[t, k]
        for _ in range(min(steps[t], _LONGEST_GAP)):
            for j in range(states):
                moved[j] = 0.0
                for i in range(states):
                    moved[j] += belief[i] * transition[i, j]
            for j in range(states):
                belief[j] = moved[j]
        known = True
        for u in range(d):
            known = known and np.isfinite(rows[t, u])
        if known:
            largest = -np.inf
            for k in range(states):
                distance = 0.0
                for u in range(d):
                    for v in range(d):
                        distance += (
                            (rows[t, u] - means[k, u]) * precision[k, u, v] * (rows[t, v] - means[k, v])
                        )
                evidence[k] = weight * (log_norm[k] - 0.5 * distance)
                largest = max(largest, evidence[k])
            for k in range(states):
                belief[k] = max(belief[k] * np.exp(evidence[k] - largest), _LEAST_BELIEF)
        total = 0.0
        for k in range(states):
            total += belief[k]
        for k in range(states):
            belief[k] /= total
            beliefs[t, k] = belief[k]
    return beliefs
