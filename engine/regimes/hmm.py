"""Forward and backward pass of a hidden Markov model whose states are a mode and a level, moving apart."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["forward", "smooth"]

# So little is always left to every state: one impossible bar must not rule it out for good.
_LEAST_BELIEF = 1e-12


@njit(cache=True)
def forward(log_density, evidence, first, modes, level_moves):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Filter: P(state at t | bars up to t), each bar one move after the one before.

    Parameters
    ----------
    log_density : ndarray, shape (bars, M * L)
        Of each bar in each state.
    evidence : ndarray, shape (bars, M)
        What else speaks for each mode, as logarithms. It changes beliefs, and so what is predicted of later
        bars, but does not count into the likelihood.
    first : ndarray, shape (M * L,)
        What is believed one move before the first bar.
    modes, level_moves : ndarray, shapes (M, M) and (L, L)
        Transition matrices; modes and levels move independently.

    Returns
    -------
    beliefs : ndarray, shape (bars, M * L)
    log_likelihood : float
    """
    bars = log_density.shape[0]
    m_count, l_count = modes.shape[0], level_moves.shape[0]
    beliefs = np.empty_like(log_density)
    belief, moved = first.copy(), np.empty((m_count, l_count))
    log_likelihood = 0.0
    for t in range(bars):
        for m in range(m_count):
            for v in range(l_count):
                moved[m, v] = 0.0
                for k in range(m_count):
                    moved[m, v] += belief[k * l_count + v] * modes[k, m]
        top = log_density[t].max()
        total = 0.0
        for m in range(m_count):
            for v in range(l_count):
                predicted = 0.0
                for k in range(l_count):
                    predicted += moved[m, k] * level_moves[k, v]
                state = m * l_count + v
                belief[state] = predicted * math.exp(log_density[t, state] - top)
                total += belief[state]
        log_likelihood += math.log(total) + top
        top, total = evidence[t].max(), 0.0
        for m in range(m_count):
            factor = math.exp(evidence[t, m] - top)
            for v in range(l_count):
                belief[m * l_count + v] *= factor
                total += belief[m * l_count + v]
        for state in range(m_count * l_count):
            belief[state] = max(belief[state] / total, _LEAST_BELIEF)
            beliefs[t, state] = belief[state]
    return beliefs, log_likelihood


@njit(cache=True)
def smooth(log_density, beliefs, modes, level_moves):  # type: ignore[no-untyped-def]  # pragma: no cover
    """P(state at t | all bars) and the expected moves between modes: the backward pass, for fits alone.

    Parameters
    ----------
    log_density, beliefs : ndarray, shape (bars, M * L)
        As `forward` takes and returns them.
    modes, level_moves : ndarray, shapes (M, M) and (L, L)

    Returns
    -------
    posterior : ndarray, shape (bars, M * L)
    moves : ndarray, shape (M, M)
    """
    bars, states = log_density.shape
    m_count, l_count = modes.shape[0], level_moves.shape[0]
    posterior, moves = beliefs.copy(), np.zeros((m_count, m_count))
    ahead = np.ones(states)
    spread = np.empty((m_count, l_count))
    for t in range(bars - 2, -1, -1):
        top = log_density[t + 1].max()
        for state in range(states):
            ahead[state] *= math.exp(log_density[t + 1, state] - top)
        for m in range(m_count):
            for v in range(l_count):
                spread[m, v] = 0.0
                for k in range(l_count):
                    spread[m, v] += level_moves[v, k] * ahead[m * l_count + k]
        largest = total = 0.0
        for m in range(m_count):
            for v in range(l_count):
                state = m * l_count + v
                ahead[state] = 0.0
                for k in range(m_count):
                    ahead[state] += modes[m, k] * spread[k, v]
                largest = max(largest, ahead[state])
                posterior[t, state] = beliefs[t, state] * ahead[state]
                total += posterior[t, state]
        for m in range(m_count):
            for k in range(m_count):
                joint = 0.0
                for v in range(l_count):
                    joint += beliefs[t, m * l_count + v] * spread[k, v]
                moves[m, k] += modes[m, k] * joint / total
        for state in range(states):
            ahead[state] /= largest
            posterior[t, state] /= total
    return posterior, moves
