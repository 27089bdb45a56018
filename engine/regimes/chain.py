"""The hidden Markov chain of the regimes, and the definition that its fits start from.

A state is a mode (a trend that leads up, one that leads down, range, panic) together with a level of
log-volatility. Modes move by a transition matrix that is fitted. The level is the clustering of volatility
inside a regime, a stationary first-order autoregression on a grid (Rouwenhorst 1995), independent of the
modes: without it every burst of volatility would be taken for a change of regime. What tells the two apart is
how long they last, so the memory of the level is set and not fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.regimes.emissions import MODE_REGIME, MODES, Definition, ReturnLaw
from engine.regimes.names import REGIMES

__all__ = ["LEVELS", "FitSettings", "RegimeChain", "prior_chain", "regime_probabilities"]

Floats = NDArray[np.float64]

LEVELS = 5
# What follows a stay in each mode, a priori.
_NEXT = np.array(
    [[0.0, 0.05, 0.7, 0.25], [0.05, 0.0, 0.7, 0.25], [0.35, 0.35, 0.0, 0.3], [0.2, 0.2, 0.6, 0.0]]
)


@dataclass(frozen=True)
class FitSettings:
    """How the model is fitted. Times are in hours, whatever the bar.

    Parameters
    ----------
    definition : Definition
        What the regimes mean; its drifts are per hour.
    stays : tuple of float
        Prior mean stay in each of `MODES`.
    stay_weight : float
        Stays in each mode that the prior of the transitions is worth.
    level_memory : float
        Half-life of the level of volatility.
    spreads : tuple of float
        Standard deviations of the level to choose from; the likeliest fit is kept.
    iterations, refit_iterations : int
        Most EM steps of a first fit and of one that starts from the previous model.
    tolerance : float
        EM stops when the log-likelihood gains less than this per bar.
    smallest_share : float
        A fit in which a regime has a smaller share of the bars is degenerate.
    panic_ratio : float
        So is one in which the variance of PANIC is less than this multiple of another regime's.
    """

    definition: Definition = field(default_factory=Definition)
    stays: tuple[float, float, float, float] = (120.0, 120.0, 150.0, 50.0)
    stay_weight: float = 50.0
    level_memory: float = 34.0
    spreads: tuple[float, ...] = (0.0, 0.45)
    iterations: int = 60
    refit_iterations: int = 8
    tolerance: float = 1e-4
    smallest_share: float = 0.002
    panic_ratio: float = 1.5

    def stays_in_bars(self, bar_hours: float) -> Floats:
        """Prior mean stays; one of less than two bars could not be told from noise."""
        return np.maximum(np.array(self.stays) / bar_hours, 2.0)


@dataclass(frozen=True)
class RegimeChain:
    """A fitted model.

    Parameters
    ----------
    modes : ndarray, shape (4, 4)
        Probability per bar of moving from one of `MODES` to another.
    law : ReturnLaw
        Distribution of the returns.
    persistence, spread : float
        Autoregression and standard deviation of the level of log-volatility.
    fallback : bool
        Whether the data gave no usable fit and this is the definition alone.
    """

    modes: Floats
    law: ReturnLaw
    persistence: float
    spread: float
    fallback: bool = False

    @property
    def levels(self) -> Floats:
        """Grid of log-volatility, shape (L,): `LEVELS` of them, or one where the level has no spread."""
        if self.spread == 0.0:
            return np.zeros(1)
        return np.linspace(-1.0, 1.0, LEVELS) * math.sqrt(LEVELS - 1.0) * self.spread

    @property
    def level_moves(self) -> Floats:
        """Transition matrix of the level per bar, by the recursion of Rouwenhorst (1995)."""
        if self.spread == 0.0:
            return np.ones((1, 1))
        p = 0.5 * (1.0 + self.persistence)
        moves = np.array([[p, 1.0 - p], [1.0 - p, p]])
        for n in range(3, LEVELS + 1):
            wider = np.zeros((n, n))
            wider[:-1, :-1] += p * moves
            wider[:-1, 1:] += (1.0 - p) * moves
            wider[1:, :-1] += (1.0 - p) * moves
            wider[1:, 1:] += p * moves
            wider[1:-1] /= 2.0
            moves = wider
        return moves

    @property
    def mode_shares(self) -> Floats:
        """Long-run share of each mode, shape (4,)."""
        system = np.vstack([self.modes.T - np.eye(len(MODES)), np.ones(len(MODES))])
        shares = np.linalg.lstsq(system, np.r_[np.zeros(len(MODES)), 1.0], rcond=None)[0].clip(1e-6)
        return np.asarray(shares / shares.sum())

    @property
    def level_shares(self) -> Floats:
        """Long-run share of each level, shape (L,)."""
        last = len(self.levels) - 1
        return np.array([math.comb(last, k) for k in range(last + 1)]) / 2.0**last

    @property
    def state_shares(self) -> Floats:
        """Long-run share of each state, shape (4 * L,): what is believed before anything was seen."""
        return np.outer(self.mode_shares, self.level_shares).ravel()

    def carried(self, states: Floats) -> Floats:
        """Belief of another chain in the states of this one; a level that it did not know is as usual."""
        if states.size == len(MODES) * len(self.levels):
            return states
        return np.outer(states.reshape(len(MODES), -1).sum(axis=1), self.level_shares).ravel()

    @property
    def stationary(self) -> Floats:
        """Long-run share of each regime, shape (3,)."""
        return regime_probabilities(self.state_shares[None, :])[0]

    @property
    def transition(self) -> Floats:
        """Probability per bar of moving from one regime to another in the long run, shape (3, 3)."""
        flows = np.zeros((len(REGIMES), len(REGIMES)))
        np.add.at(flows, (MODE_REGIME[:, None], MODE_REGIME[None, :]), self.mode_shares[:, None] * self.modes)
        return np.asarray(flows / flows.sum(axis=1, keepdims=True))


def regime_probabilities(states: Floats) -> Floats:
    """Sum probabilities of states, shape (n, 4 * L), to those of the regimes, shape (n, 3)."""
    modes = states.reshape(len(states), len(MODES), -1).sum(axis=2)
    regimes = np.stack([modes[:, k == MODE_REGIME].sum(axis=1) for k in range(len(REGIMES))], axis=1)
    return np.asarray(regimes / regimes.sum(axis=1, keepdims=True))


def prior_chain(settings: FitSettings, bar_hours: float = 1.0, spread: float | None = None) -> RegimeChain:
    """Make a model of the definition alone.

    Parameters
    ----------
    settings : FitSettings
    bar_hours : float
        Length of a bar.
    spread : float, optional
        Of the level; by default the last of the settings.
    """
    stays = settings.stays_in_bars(bar_hours)
    modes = _NEXT / stays[:, None]
    np.fill_diagonal(modes, 1.0 - 1.0 / stays)
    return RegimeChain(
        modes,
        ReturnLaw.defined(settings.definition.per_bar(bar_hours)),
        persistence=0.5 ** (bar_hours / settings.level_memory),
        spread=settings.spreads[-1] if spread is None else spread,
        fallback=True,
    )
