"""Regret of the bandit where the truth is known: engines that pay 1 or 0 with given chances."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.alpha.bandit import BanditConfig
from engine.alpha.bandit_evidence import Evidence, Forgetting, credit, laws
from engine.regimes.names import REGIMES

__all__ = ["play"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def play(
    chances: Floats, config: BanditConfig, *, regimes: Ints | None = None, seed: int = 0
) -> tuple[Ints, Floats]:
    """Let a bandit choose once a round among engines whose chances it does not know.

    Parameters
    ----------
    chances : ndarray, shape (T, E)
        Of each engine to pay 1 in each round.
    config : BanditConfig
        A round is an hour where time is the clock.
    regimes : ndarray of int64, shape (T,), optional
        Index into `REGIMES` as the bandit is told it; always the first if not given.
    seed : int

    Returns
    -------
    chosen : ndarray of int64, shape (T,)
    regret : ndarray, shape (T,)
        Chance of the best engine less that of the chosen one, summed up to each round.

    References
    ----------
    Lai and Robbins 1985 for the least that can be reached where nothing changes.
    """
    chances = np.ascontiguousarray(chances, np.float64)
    told = np.zeros(len(chances), np.int64) if regimes is None else np.asarray(regimes, np.int64)
    if chances.ndim != 2 or told.shape != chances.shape[:1] or not ((chances >= 0) & (chances <= 1)).all():
        raise ValueError(
            f"chances of shape {chances.shape} must be (rounds, engines) within [0, 1], with a regime a round"
        )
    rule = config.compiled
    evidence = Evidence.none(chances.shape[1], len(REGIMES), rule.window)
    chosen = _play(chances, told, rule, evidence, np.random.default_rng(seed))
    return chosen, np.cumsum(chances.max(axis=1) - chances[np.arange(len(chances)), chosen])


@nb.njit(nogil=True, cache=True)
def _play(
    chances: Floats, told: Ints, rule: Forgetting, evidence: Evidence, rng: np.random.Generator
) -> Ints:
    chosen = np.empty(chances.shape[0], np.int64)
    for t in range(chances.shape[0]):
        wins, losses = laws(evidence, rule, told[t], float(t))
        largest = -1.0
        for e in range(chances.shape[1]):
            value = rng.beta(wins[e], losses[e])
            if value > largest:
                chosen[t], largest = e, value
        reward = 1.0 if rng.random() < chances[t, chosen[t]] else 0.0
        credit(evidence, rule, chosen[t], told[t], reward, float(t))
    return chosen
