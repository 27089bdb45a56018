"""What all symbols of a simulated market share, hour by hour: regime, drift, volatility, shock and jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from engine.market.random_streams import stream
from engine.regimes.names import REGIMES, Regime

__all__ = ["REGIME_LAWS", "MarketPath", "Mode", "RegimeLaw", "ar1", "market_path"]

Mode = Literal["regimes", "null"]


class RegimeLaw(NamedTuple):
    """How the market behaves in one regime, per hour.

    ``volatility`` is the median standard deviation of the factor's shock, ``correlation`` that of any two
    symbols' shocks, ``next_regime`` the probabilities of what follows a stay (in the order of `REGIMES`).
    """

    mean_stay: float
    volatility: float
    drift: float
    correlation: float
    jump_rate: float
    jump_mean: float
    jump_sd: float
    next_regime: tuple[float, float, float]


REGIME_LAWS: dict[Regime, RegimeLaw] = {
    "TREND": RegimeLaw(150.0, 0.006, 0.0007, 0.45, 0.0008, 0.0, 0.015, (0.0, 0.75, 0.25)),
    "RANGE": RegimeLaw(200.0, 0.004, 0.0, 0.35, 0.0008, 0.0, 0.015, (0.6, 0.0, 0.4)),
    "PANIC": RegimeLaw(40.0, 0.014, -0.0006, 0.85, 0.02, -0.01, 0.02, (0.3, 0.7, 0.0)),
}

# Most trends lead up: what PANIC takes in a few bars is given back slowly, so that prices do not vanish.
UPWARD_TRENDS = 0.68
TAIL_DEGREES = 5.0
# An hour worse than anything recorded says nothing about the market and everything about one draw.
LARGEST_VOLATILITY = 0.05
LOG_VOLATILITY_AR, LEVERAGE, VOLATILITY_SHOCK = 0.98, -0.03, 0.09
LOG_VOLATILITY_VARIANCE = (LEVERAGE**2 + VOLATILITY_SHOCK**2) / (1.0 - LOG_VOLATILITY_AR**2)
JUMP_EXCITATION, JUMP_DECAY = 0.05, 0.85
STAY_SHAPE = 2.0


@dataclass(frozen=True)
class MarketPath:
    """Arrays of one value per hour.

    ``regime`` indexes `REGIMES`; ``drift_sign`` is -1, 0 or 1; ``drift`` and ``jump`` are simple returns;
    ``state_volatility`` is the regime's volatility times the log-volatility factor, ``volatility`` that times
    the heavy-tailed scale which all symbols share; ``shock`` is the standard normal factor and ``loading``
    what a symbol's shock takes of it; ``factor_return`` is the factor's log return.
    """

    regime: np.ndarray
    drift_sign: np.ndarray
    drift: np.ndarray
    state_volatility: np.ndarray
    volatility: np.ndarray
    shock: np.ndarray
    loading: np.ndarray
    jump: np.ndarray
    factor_return: np.ndarray


def market_path(seed: int, hours: int, mode: Mode) -> MarketPath:
    """Simulate the part of the market that all symbols share.

    Regimes are semi-Markov with gamma stays (Hamilton 1989 for switching); volatility is autoregressive in
    its logarithm and rises after falls (Glosten, Jagannathan & Runkle 1993); one Student scale hits all
    symbols at once; jumps excite further jumps (Hawkes 1971; Ait-Sahalia, Cacho-Diaz & Laeven 2015).

    Parameters
    ----------
    seed : int
    hours : int
        Number of hours; the first ones do not depend on it.
    mode : {"regimes", "null"}
        ``null`` takes away drift and the mean of jumps: every price is then a martingale.
    """
    laws = [REGIME_LAWS[name] for name in REGIMES]
    drifting = mode == "regimes"

    def draws(purpose: str) -> np.random.Generator:
        return stream(seed, "market", purpose)

    regime, drift_sign = _regimes(
        draws("stay").standard_gamma(STAY_SHAPE, hours) / STAY_SHAPE,
        draws("next regime").random(hours + 1),
        draws("direction").random(hours),
        np.array([law.mean_stay for law in laws]),
        np.cumsum([law.next_regime for law in laws], axis=1),
        _long_run_shares(laws),
        UPWARD_TRENDS,
    )
    jumped = _self_exciting(
        draws("jump").random(hours),
        np.array([law.jump_rate for law in laws])[regime],
        JUMP_EXCITATION,
        JUMP_DECAY,
    )
    shock = draws("shock").standard_normal(hours)
    tail = np.sqrt((TAIL_DEGREES - 2.0) / draws("tail").chisquare(TAIL_DEGREES, hours))
    surprise = VOLATILITY_SHOCK * draws("volatility").standard_normal(hours)
    surprise[1:] += LEVERAGE * (tail * shock)[:-1]
    surprise[0] *= np.sqrt(LOG_VOLATILITY_VARIANCE) / VOLATILITY_SHOCK
    log_volatility = ar1(surprise, LOG_VOLATILITY_AR, 0.0)

    jump_mean = np.array([law.jump_mean if drifting else 0.0 for law in laws])[regime]
    jump_sd = np.array([law.jump_sd for law in laws])[regime]
    jump = jumped * (jump_mean + jump_sd * draws("jump size").standard_normal(hours))
    drift_sign = drift_sign if drifting else np.zeros_like(drift_sign)
    drift = drift_sign * np.array([abs(law.drift) for law in laws])[regime]
    state_volatility = np.array([law.volatility for law in laws])[regime] * np.exp(log_volatility)
    volatility = np.minimum(state_volatility * tail, LARGEST_VOLATILITY)
    return MarketPath(
        regime=regime,
        drift_sign=drift_sign,
        drift=drift,
        state_volatility=state_volatility,
        volatility=volatility,
        shock=shock,
        loading=np.sqrt(np.array([law.correlation for law in laws]))[regime],
        jump=jump,
        factor_return=np.log1p(np.clip(drift + volatility * shock + jump, -0.5, 0.5)),
    )


def _long_run_shares(laws: list[RegimeLaw]) -> np.ndarray:
    """Cumulative share of time in each regime, from which the first one is drawn."""
    moves = np.array([law.next_regime for law in laws])
    visits = np.linalg.lstsq(
        np.vstack([moves.T - np.eye(len(laws)), np.ones(len(laws))]),
        np.r_[np.zeros(len(laws)), 1.0],
        rcond=None,
    )[0]
    time = visits * np.array([law.mean_stay for law in laws])
    return np.cumsum(time / time.sum())


@njit(cache=True)
def _pick(cumulative, uniform):  # type: ignore[no-untyped-def]  # pragma: no cover
    choice = 0
    while choice < cumulative.shape[0] - 1 and uniform >= cumulative[choice]:
        choice += 1
    return choice


@njit(cache=True)
def _regimes(stays, moves, directions, mean_stay, next_cumulative, first_cumulative, upward):  # type: ignore[no-untyped-def]  # pragma: no cover
    hours = stays.shape[0]
    regime = np.empty(hours, np.int8)
    drift_sign = np.empty(hours, np.int8)
    current = _pick(first_cumulative, moves[0])
    t = 0
    run = 0
    while t < hours:
        sign = 0
        if current == 0:
            sign = 1 if directions[run] < upward else -1
        elif current == 2:
            sign = -1
        end = min(hours, t + max(1, int(np.ceil(stays[run] * mean_stay[current]))))
        regime[t:end] = current
        drift_sign[t:end] = sign
        t = end
        run += 1
        current = _pick(next_cumulative[current], moves[run])
    return regime, drift_sign


@njit(cache=True)
def _self_exciting(uniforms, base_rate, excitation, decay):  # type: ignore[no-untyped-def]  # pragma: no cover
    jumped = np.zeros(uniforms.shape[0], np.bool_)
    excess = 0.0
    for t in range(uniforms.shape[0]):
        jumped[t] = uniforms[t] < base_rate[t] + excess
        excess = decay * (excess + excitation * jumped[t])
    return jumped


@njit(cache=True)
def ar1(shocks, phi, initial):  # type: ignore[no-untyped-def]  # pragma: no cover
    """First-order autoregression: ``x[t] = phi * x[t - 1] + shocks[t]``, where ``x[-1]`` is ``initial``."""
    path = np.empty(shocks.shape[0])
    level = initial
    for t in range(shocks.shape[0]):
        level = phi * level + shocks[t]
        path[t] = level
    return path
