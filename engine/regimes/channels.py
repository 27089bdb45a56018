"""What speaks for a regime beside returns: funding and liquidations as evidence, Fear & Greed as a tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.regimes.chain import RegimeChain, regime_probabilities
from engine.regimes.emissions import MODE_REGIME, log_densities
from engine.regimes.hmm import forward, smooth
from engine.regimes.names import REGIMES

__all__ = ["ChannelLaw", "channel_evidence", "fear_greed_shift", "fit_channels", "tilted"]

Floats = NDArray[np.float64]

WEIGHTS = (0.05, 0.1, 0.25, 0.5, 1.0)
PANIC = REGIMES.index("PANIC")


@dataclass(frozen=True)
class ChannelLaw:
    """Normal law of a channel in each regime, arrays [3], and the power that its likelihood is raised to."""

    mean: Floats
    spread: Floats
    weight: float


def fit_channels(values: Floats, sums: Floats, chain: RegimeChain) -> list[ChannelLaw]:
    """Learn what each channel looks like in each regime, and how far it may be believed.

    The regimes are those that returns speak for. Slow channels repeat themselves and returns, so their
    likelihood is tempered: the weight is the one whose filter predicts the *returns* of the same window best,
    one bar ahead. A channel that gains less than its six parameters cost (Akaike 1974) has weight 0.

    Parameters
    ----------
    values : ndarray, shape (bars, channels)
        Standardised; NaN where unknown.
    sums : ndarray, shape (bars, 8)
        From `bar_sums`.
    chain : RegimeChain
        Fitted to `sums`.
    """
    density, level_moves = log_densities(sums, chain.law, chain.levels), chain.level_moves
    evidence = np.zeros((len(sums), len(MODE_REGIME)))
    beliefs, likelihood = forward(density, evidence, chain.state_shares, chain.modes, level_moves)
    share = regime_probabilities(smooth(density, beliefs, chain.modes, level_moves)[0])
    laws = []
    for column in values.T:
        law = _law(column, share)
        single = channel_evidence(column[:, None], [law])
        best = (likelihood + 2.0 * len(REGIMES), 0.0)
        for weight in WEIGHTS if single.any() else ():
            _, gained = forward(
                density, evidence + weight * single, chain.state_shares, chain.modes, level_moves
            )
            best = max(best, (gained, weight))
        laws.append(ChannelLaw(law.mean, law.spread, best[1]))
        if best[1]:
            likelihood, evidence = best[0], evidence + best[1] * single
    return laws


def _law(column: Floats, share: Floats) -> ChannelLaw:
    """Mean and spread in each regime, drawn towards the common law of standardised values."""
    known = np.isfinite(column)
    x, weight = np.where(known, column, 0.0), share * known[:, None]
    prior = 0.01 * len(column)
    total = weight.sum(axis=0) + prior
    mean = (weight.T @ x) / total
    square = (weight * (x[:, None] - mean) ** 2).sum(axis=0) + prior * (1.0 + mean**2)
    return ChannelLaw(mean, np.sqrt(square / total), 1.0)


def channel_evidence(values: Floats, laws: list[ChannelLaw]) -> Floats:
    """Log evidence of the channels for each mode, shape (bars, 4); 0 where a channel is unknown."""
    evidence = np.zeros((len(values), len(MODE_REGIME)))
    for column, law in zip(values.T, laws, strict=True):
        known = np.isfinite(column)
        distance = (np.where(known, column, 0.0)[:, None] - law.mean) / law.spread
        density = np.where(known[:, None], -0.5 * distance**2 - np.log(law.spread), 0.0)
        evidence += law.weight * density[:, MODE_REGIME]
    return evidence


def fear_greed_shift(index: Floats, limit: float) -> Floats:
    """Shift of the log-odds of PANIC, linear in the index: fear raises it up to `limit`, greed lowers it.

    There is no cliff at the borders of the index's classes, 50 shifts nothing, and neither does an index that
    is unknown or outside of 0..100.
    """
    known = np.isfinite(index) & (index >= 0.0) & (index <= 100.0)
    return limit * (50.0 - np.where(known, index, 50.0)) / 50.0


def tilted(probabilities: Floats, shift: Floats) -> Floats:
    """Probabilities [n, 3] with the log-odds of PANIC shifted by [n]; the odds of the others keep."""
    tilt = np.ones_like(probabilities)
    tilt[:, PANIC] = np.exp(shift)
    shifted = probabilities * tilt
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
