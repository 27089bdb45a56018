"""The tabular option-critic: values over options, what arrival is worth, and when an option should end.

Sources: Bacon, Harb and Precup (2017), Harb, Bacon, Klissarov and Precup (2018) for the deliberation cost.
The functions are compiled, so that an experiment can run in a compiled loop of its own.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "draw",
    "end_probability",
    "intra_option_step",
    "sarsa_step",
    "softmax",
    "termination_step",
    "upon_arrival",
    "value_over_options",
]

Floats = NDArray[np.float64]


@nb.njit(cache=True)
def value_over_options(q: Floats, epsilon: float) -> float:
    """V(s), the mean of Q(s, .) under the epsilon-greedy policy over options.

    Not the maximum: an option that ends is followed by what the policy takes, its explorations included.
    """
    return (1.0 - epsilon) * q.max() + epsilon * q.mean()


@nb.njit(cache=True)
def upon_arrival(q: float, v: float, beta: float) -> float:
    """U(w, s) = (1 - beta) Q(s, w) + beta V(s), the worth of arriving in s with option w in force."""
    return (1.0 - beta) * q + beta * v


@nb.njit(cache=True)
def end_probability(logit: float) -> float:
    """beta, the probability that an option ends."""
    return 1.0 / (1.0 + math.exp(-logit))


@nb.njit(cache=True)
def termination_step(logit: float, q: float, v: float, cost: float, rate: float) -> float:
    """Return the logit of an end after a step down the gradient rate * beta (1 - beta) (Q - V + cost)."""
    beta = end_probability(logit)
    return logit - rate * beta * (1.0 - beta) * (q - v + cost)


@nb.njit(cache=True)
def softmax(logits: Floats, temperature: float) -> Floats:
    """Probabilities proportional to exp(logit / temperature)."""
    p = np.exp((logits - logits.max()) / temperature)
    return p / p.sum()


@nb.njit(cache=True)
def intra_option_step(logits: Floats, action: int, advantage: float, temperature: float, rate: float) -> None:
    """Move an option's action logits, in place, up the gradient of log pi(action) times the advantage."""
    logits -= rate * advantage / temperature * softmax(logits, temperature)
    logits[action] += rate * advantage / temperature


@nb.njit(cache=True)
def draw(p: Floats, uniform: float) -> int:
    """Turn a uniform number into an index drawn with probabilities p."""
    return min(int(np.searchsorted(np.cumsum(p), uniform, side="right")), len(p) - 1)


@nb.njit(cache=True)
def sarsa_step(
    q: Floats, traces: Floats, state: int, option: int, delta: float, decay: float, rate: float
) -> None:
    """Credit an error to what was done lately, in place: Sarsa(lambda) with replacing traces.

    With decay 0 only the last state learns, from the value of the next: wrong where several situations look
    the same and the option in force is what tells them apart.

    Parameters
    ----------
    q, traces : ndarray of float64, shape (states, options)
    state, option : int
        Last acted in, and the option that acted.
    delta : float
        r + gamma Q(s', w') - Q(s, w).
    decay : float
        gamma * lambda.
    rate : float
    """
    traces *= decay
    traces[state] = 0.0
    traces[state, option] = 1.0
    q += rate * delta * traces
