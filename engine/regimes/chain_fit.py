"""Fit of the regime chain by expectation maximisation, with the definition of the regimes as its prior."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.regimes.chain import FitSettings, RegimeChain, prior_chain, regime_probabilities
from engine.regimes.emission_fit import fitted_law
from engine.regimes.emissions import MODES, Definition, log_densities
from engine.regimes.hmm import forward, smooth
from engine.regimes.names import REGIMES

__all__ = ["fit_chain"]

Floats = NDArray[np.float64]

PANIC = REGIMES.index("PANIC")


def fit_chain(
    sums: Floats, settings: FitSettings, bar_hours: float = 1.0, previous: RegimeChain | None = None
) -> RegimeChain:
    """Fit by EM with the definition as prior, for each spread of the level; the likeliest fit is kept.

    The definition names the states before the data do, and the drift of RANGE is zero by construction, so
    states cannot trade names. A degenerate fit (a regime nearly empty, a PANIC that is not the most violent,
    or numbers that are not finite) is not used: the fit begins anew from the definition; should that
    degenerate too, the previous model stays in force or, without one, the definition itself.

    Parameters
    ----------
    sums : ndarray, shape (bars, 8)
        From `bar_sums`, of consecutive bars.
    settings : FitSettings
    bar_hours : float
        Length of a bar.
    previous : RegimeChain, optional
        Where to start from instead of the definition.
    """
    definition = prior_chain(settings, bar_hours)
    return (
        (previous and _likeliest(sums, previous, settings, bar_hours, settings.refit_iterations))
        or _likeliest(sums, definition, settings, bar_hours, settings.iterations)
        or previous
        or definition
    )


def _likeliest(
    sums: Floats, start: RegimeChain, settings: FitSettings, bar_hours: float, steps: int
) -> RegimeChain | None:
    """Fit with each spread of the level, from one start; None where every fit degenerated."""
    definition = settings.definition.per_bar(bar_hours)
    prior = prior_chain(settings, bar_hours)
    counts = settings.stay_weight * settings.stays_in_bars(bar_hours)[:, None] * prior.modes
    best, likeliest = None, -math.inf
    for spread in settings.spreads:
        begin = RegimeChain(start.modes, start.law, prior.persistence, spread)
        likelihood, fitted = _expectation_maximisation(sums, begin, counts, definition, settings, steps)
        if likelihood > likeliest and _usable(sums, fitted, settings):
            best, likeliest = fitted, likelihood
    return best


def _expectation_maximisation(
    sums: Floats,
    chain: RegimeChain,
    counts: Floats,
    definition: Definition,
    settings: FitSettings,
    steps: int,
) -> tuple[float, RegimeChain]:
    """Log-likelihood and model; ``counts`` are pseudo-counts of the moves between modes."""
    silent = np.zeros((len(sums), len(MODES)))
    before = -math.inf
    for _ in range(steps):
        density = log_densities(sums, chain.law, chain.levels)
        level_moves = chain.level_moves
        beliefs, likelihood = forward(density, silent, chain.state_shares, chain.modes, level_moves)
        if likelihood - before < settings.tolerance * len(sums):
            break
        before = likelihood
        posterior, moves = smooth(density, beliefs, chain.modes, level_moves)
        moves += counts
        law = fitted_law(
            sums, posterior.reshape(len(sums), len(MODES), -1), chain.law, chain.levels, definition
        )
        chain = RegimeChain(moves / moves.sum(axis=1, keepdims=True), law, chain.persistence, chain.spread)
    return before, chain


def _usable(sums: Floats, chain: RegimeChain, settings: FitSettings) -> bool:
    law = chain.law
    numbers = np.concatenate([chain.modes.ravel(), law.drift, law.memory, law.variance, law.correlation])
    if not np.isfinite(numbers).all():
        return False
    others = np.delete(law.variance, PANIC)
    if law.variance[PANIC] < settings.panic_ratio * others.max():
        return False
    density = log_densities(sums, law, chain.levels)
    silent = np.zeros((len(sums), len(MODES)))
    beliefs, _ = forward(density, silent, chain.state_shares, chain.modes, chain.level_moves)
    return bool(regime_probabilities(beliefs).mean(axis=0).min() >= settings.smallest_share)
