"""Where episodes start: which bars can host one, and how often each does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.agents.tape import UNKNOWN_REGIME, MarketTape
from engine.errors import NotEnoughDataError
from engine.regimes.names import REGIMES, Regime

__all__ = ["regime_start_weights", "start_distribution", "startable"]


def startable(tape: MarketTape, bars: int) -> NDArray[np.bool_]:
    """Rows with at least so many decisions ahead in their run, shape (N,)."""
    return tape.decisions_left >= bars


def start_distribution(tape: MarketTape, bars: int, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Probability of each row to be the first of an episode, shape (N,).

    Proportional to the weights, equal ones by default, over rows with `bars` decisions ahead; 0 on others.

    Raises
    ------
    ValueError
        If the weights have another length than the tape, or one is negative or not finite.
    NotEnoughDataError
        If no row of positive weight has enough decisions ahead.
    """
    weight = np.ones(len(tape)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != (len(tape),):
        raise ValueError(f"start_weights has shape {weight.shape}, expected one per row: {(len(tape),)}")
    wrong = ~(np.isfinite(weight) & (weight >= 0.0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"start_weights[{row}]={weight[row]} must be finite and not negative")
    weight = np.where(startable(tape, bars), weight, 0.0)
    if not weight.any():
        raise NotEnoughDataError(
            f"no row of positive start weight has {bars} decisions ahead, and no row at all more than "
            f"{tape.decisions_left.max(initial=0)}: give longer runs, or ask for fewer with least_bars"
        )
    return weight / weight.sum()


def regime_start_weights(
    regime: ArrayLike,
    shares: Mapping[Regime, float],
    eligible: ArrayLike | None = None,
    unknown: float = 0.0,
) -> NDArray[np.float64]:
    """Weight of each row, such that episodes start in the regimes in given shares.

    Parameters
    ----------
    regime : array_like of int, shape (N,)
        Index into `REGIMES`, `UNKNOWN_REGIME` where it is not known.
    shares : mapping of regime to float
        Relative shares, which need not sum to 1; a regime that is not named has none.
    eligible : array_like of bool, shape (N,), optional
        Rows that can host an episode (`startable`), all by default. Those of one regime are equally likely.
    unknown : float
        Relative share of the rows of unknown regime. By default no episode starts on one.

    Returns
    -------
    ndarray, shape (N,)
        Sums to 1.

    Raises
    ------
    ValueError
        If a regime is not one of `REGIMES`, or the shares are negative, not finite or all zero.
    NotEnoughDataError
        If a regime of positive share has no eligible row.
    """
    if strange := [name for name in shares if name not in REGIMES]:
        raise ValueError(f"shares are given for {strange}, known are {REGIMES}")
    wanted = {REGIMES.index(name): share for name, share in shares.items()} | {UNKNOWN_REGIME: unknown}
    share = np.array(list(wanted.values()), dtype=np.float64)
    if not (np.isfinite(share) & (share >= 0.0)).all() or not share.any():
        raise ValueError(
            f"shares={dict(shares)} and unknown={unknown} must be finite, not negative, not all 0"
        )
    codes = np.asarray(regime)
    usable = np.ones(codes.shape, dtype=bool) if eligible is None else np.asarray(eligible, dtype=bool)
    weights = np.zeros(codes.shape)
    for code, part in zip(wanted, share / share.sum(), strict=True):
        if part == 0.0:
            continue
        rows = (codes == code) & usable
        if not rows.any():
            name = "a bar of unknown regime" if code == UNKNOWN_REGIME else REGIMES[code]
            raise NotEnoughDataError(
                f"{part:.1%} of the episodes are to start in {name}, but none of its "
                f"{int((codes == code).sum())} rows can host one"
            )
        weights[rows] = part / rows.sum()
    return weights
