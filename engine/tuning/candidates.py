"""The bars at which some parameter set could enter, found once per tape and shared by all sets."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numba as nb
import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.evaluation.tracks import Market, market_of
from engine.tuning.market_state import StateTape
from engine.tuning.orders import Orders, boldest
from engine.tuning.rules import BREAKOUT, DEVIATIONS, MAX_GAP, NEWS, REVERT, way_to

__all__ = [
    "EXPECTED",
    "PERCENTILE",
    "STRENGTH",
    "WAY",
    "Candidates",
    "Ground",
    "bar_figures",
    "entry_code",
    "entry_codes",
    "ground_of",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sides = NDArray[np.int8]

# columns of the figures of a bar
STRENGTH, PERCENTILE, EXPECTED, WAY = range(4)


class Candidates(NamedTuple):
    """Bars of one symbol, by time; `sides` has a column per kind of entry, 0 where it cannot go."""

    bar: Ints
    asset: Ints
    figures: Floats
    sides: Sides
    # first candidate at or after each bar of the track
    following: Ints


class Ground(NamedTuple):
    """All that parameter sets share: the market, and of each symbol the candidates and the spread."""

    market: Market
    candidates: list[Candidates]
    half_spread: list[Floats]


@register_jitable
def entry_code(
    strength: float,
    percentile: float,
    cost: float,
    news_side: int,
    breakout_side: int,
    revert_side: int,
    go: float,
    breakout: float,
    revert: float,
    cost_cap: float,
) -> int:
    """Return the kind of entry that a bar's figures let pass: 1 to 3, signed by its side, or 0 for none.

    Numbers alone are passed: arrays would be counted as references at every bar.
    """
    if not cost <= cost_cap:
        return 0
    if news_side != 0 and strength >= go:
        return news_side * (NEWS + 1)
    if breakout_side != 0 and percentile >= breakout:
        return breakout_side * (BREAKOUT + 1)
    if revert_side != 0 and percentile <= revert:
        return revert_side * (REVERT + 1)
    return 0


@nb.njit(nogil=True, cache=True)
def entry_codes(figures: Floats, sides: Sides, orders: Orders) -> NDArray[np.int8]:
    """Return `entry_code` of every set at every row, shape (sets, rows)."""
    found = np.zeros((orders.go.size, len(figures)), np.int8)
    for s in range(orders.go.size):
        go, breakout, revert, cost_cap = (
            orders.go[s],
            orders.breakout[s],
            orders.revert[s],
            orders.cost_cap[s],
        )
        for t in range(len(figures)):
            found[s, t] = entry_code(
                figures[t, STRENGTH], figures[t, PERCENTILE], figures[t, EXPECTED],
                int(sides[t, NEWS]), int(sides[t, BREAKOUT]), int(sides[t, REVERT]),
                go, breakout, revert, cost_cap,
            )  # fmt: skip
    return found


def bar_figures(tape: StateTape) -> tuple[Floats, Sides]:
    """Figures and sides of every row of a tape, in the columns of `Candidates`."""
    strength, news = _prevailing(tape)
    strayed = np.abs(tape.zscore) >= DEVIATIONS
    revert = np.where(strayed, -np.sign(tape.zscore), 0.0)
    way = way_to(tape.mean, tape.close)  # type: ignore[arg-type]
    figures = np.column_stack([strength, tape.volatility_percentile, tape.expected_cost_bps, way])
    return figures, np.column_stack([news, tape.breakout_side, revert]).astype(np.int8)


def _prevailing(tape: StateTape) -> tuple[Floats, Sides]:
    """Strength and direction of the stronger score; no direction where equal ones contradict."""
    social, news = (np.nan_to_num(s, nan=-1.0) for s in (tape.social_strength, tape.news_strength))
    side = np.where(social >= news, tape.social_direction, tape.news_direction)
    contradict = (social == news) & (tape.social_direction != tape.news_direction)
    return np.maximum(social, news), np.where(contradict, 0, side).astype(np.int8)


def ground_of(tape: StateTape, every: timedelta) -> Ground:
    """Lay a tape out; what was laid out before is kept with the tape.

    Raises
    ------
    ValueError
        If `every` is shorter than a bar.
    DataError
        If a bar's prices cannot be.
    """
    if every not in tape.ground:
        tape.ground[every] = _laid_out(tape, every)
    return tape.ground[every]


def _laid_out(tape: StateTape, every: timedelta) -> Ground:
    # What fills cost is asked for at each evaluation; the tracks do not depend on it.
    market = market_of(tape.panel, Costs(), tape.funding, 0.0, 0.0, MAX_GAP, every, "next_open", True)
    figures, sides = bar_figures(tape)
    possible = entry_codes(figures, sides, boldest())[0]
    ground = Ground(market, [], [])
    for i, track in enumerate(market.tracks):
        rows = np.flatnonzero(tape.symbol == i)
        bars = np.flatnonzero((possible[rows] != 0) & track.enterable)
        ground.candidates.append(
            Candidates(
                bars,
                np.searchsorted(track.begin, bars, "right") - 1,
                figures[rows[bars]],
                sides[rows[bars]],
                np.searchsorted(bars, np.arange(rows.size + 1)),
            )
        )
        ground.half_spread.append(tape.half_spread[rows])
    return ground
