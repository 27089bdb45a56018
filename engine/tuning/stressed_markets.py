"""Markets that are worse than the one searched: simulated panics, gaps, a shock of costs, late fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_dilation

from engine.evaluation.costs import Costs
from engine.evaluation.splits import Window
from engine.market.candles import CANDLE_COLUMNS
from engine.market.random_streams import stream
from engine.market.simulator import MarketSimulator
from engine.tuning.market_state import CAPITAL, WARMUP, StateTape, state_tape
from engine.tuning.rules import MAX_GAP

__all__ = [
    "CALM",
    "KINDS",
    "MONTH",
    "Stress",
    "check_kinds",
    "delayed",
    "gapped",
    "panic",
    "stressed_markets",
]

Floats = NDArray[np.float64]

HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
CALM = "calm"
_DEARER = 3.0
_GAP, _GAP_EVERY = 0.05, timedelta(days=15)
_PANICS, _SOUGHT, _ABOUT = 8, timedelta(days=360), timedelta(hours=12)
_SYMBOLS, _SIMULATED_FROM = ("BTC/USDT", "ETH/USDT"), datetime(2020, 1, 1)  # noqa: DTZ001  UTC without zone


KINDS: Mapping[str, str] = {
    "dear": "fills cost three times what is expected of them",
    "late": "every entry is filled a bar later",
    "gaps": f"the price opens {_GAP:.0%} away, either way, every {_GAP_EVERY.days} days on average",
    "panic": "the panics of simulated years",
}
"""Kinds of stress and what each means."""


@dataclass(frozen=True, eq=False)
class Stress:
    """A market to hold parameter sets against.

    Parameters
    ----------
    name : str
        One of `KINDS`, or ``calm``.
    tape : StateTape
    costs : Costs
    path : timedelta
        Length of the parts that count as paths of their own.
    """

    name: str
    tape: StateTape
    costs: Costs
    path: timedelta = MONTH


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse kinds of stress that are not known, and none at all.

    Raises
    ------
    ValueError
        Naming those that are known.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds of stress = {list(kinds)} must be some of {', '.join(KINDS)}")


def stressed_markets(
    tape: StateTape,
    window: Window,
    costs: Costs | None = None,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    seed: int = 0,
) -> tuple[Stress, ...]:
    """Return a window as it was, and worse ones.

    Parameters
    ----------
    tape : StateTape
        Reaches back `WARMUP` before the window, so that states are known from its start on.
    window : Window
    costs : Costs, optional
    kinds : sequence of str
        Of `KINDS`.
    seed : int
        Of the simulated paths and of where gaps are.

    Returns
    -------
    tuple of Stress
        ``calm``: the window itself; then of each kind one, but of ``panic`` eight, each a simulated year.

    Raises
    ------
    ValueError
        If a kind is not known, or there is none.
    """
    check_kinds(kinds)
    charged = costs or Costs()
    first = max(window.start - WARMUP - tape.bar, tape.panel.times[0].item())
    whole = tape.between(first, window.end)
    kept = whole.between(window.start, window.end)

    def dear() -> list[Stress]:
        dearer = Costs(*(_DEARER * value for value in vars(charged).values()))
        return [Stress("dear", replace(kept, half_spread=_DEARER * kept.half_spread), dearer)]

    def late() -> list[Stress]:
        return [Stress("late", delayed(kept), charged)]

    def gaps() -> list[Stress]:
        made = gapped(whole, charged, seed=seed).between(window.start, window.end)
        return [Stress("gaps", made, charged)]

    def panics() -> list[Stress]:
        bar, years = max(tape.bar, HOUR), range(seed * _PANICS, (seed + 1) * _PANICS)
        return [
            Stress("panic", panic(bar, charged, seed=year, capital=tape.capital), charged, _SOUGHT + WARMUP)
            for year in years
        ]

    makers: Mapping[str, Callable[[], list[Stress]]] = {
        "dear": dear, "late": late, "gaps": gaps, "panic": panics,
    }  # fmt: skip
    return (Stress(CALM, kept, charged), *(each for kind in kinds for each in makers[kind]()))


def delayed(tape: StateTape) -> StateTape:
    """Return the tape on which each decision is filled a bar later than it is made.

    Each bar has the state of the one before; the way to the mean, which is a return's target, stays that of
    the decision. After an exit the first
    entry may rest on the bar before it. Stops and targets rest at the venue and are not late.
    """
    rows = np.arange(len(tape))
    follows = np.zeros(len(tape), bool)
    follows[1:] = (np.diff(tape.symbol) == 0) & (np.diff(tape.at) == 1)
    before = np.where(follows, rows - 1, rows)

    def earlier(values: Floats) -> Floats:
        return np.where(follows, values[before], np.nan)

    def side(values: NDArray[np.int8]) -> NDArray[np.int8]:
        return np.where(follows, values[before], 0).astype(np.int8)

    return replace(
        tape,
        volatility_percentile=earlier(tape.volatility_percentile),
        breakout_side=side(tape.breakout_side),
        zscore=earlier(tape.zscore),
        mean=earlier(tape.mean / tape.close) * tape.close,
        social_strength=earlier(tape.social_strength),
        social_direction=side(tape.social_direction),
        news_strength=earlier(tape.news_strength),
        news_direction=side(tape.news_direction),
        expected_cost_bps=earlier(tape.expected_cost_bps),
    )


def gapped(
    tape: StateTape,
    costs: Costs | None = None,
    *,
    seed: int = 0,
    gap: float = _GAP,
    every: timedelta = _GAP_EVERY,
) -> StateTape:
    """Return the tape with gaps: at random bars all prices open `gap` away and go on from there.

    All symbols gap together, as they do in a crash. States are computed anew from the prices, and known
    `WARMUP` after the tape's start; where the tape does not know what a fill costs, nothing is entered here
    either.

    Parameters
    ----------
    tape : StateTape
    costs : Costs, optional
        What is expected of a fill.
    seed : int
    gap : float
        Size, a share of the price.
    every : timedelta
        Mean time between two.

    Raises
    ------
    ValueError
        If the gap is not between 0 and 1, or there is more than one a bar.
    """
    if not 0.0 < gap < 1.0:
        raise ValueError(f"gap = {gap} must lie between 0 and 1")
    if every < tape.bar:
        raise ValueError(f"every = {every} must not be shorter than a bar of {tape.bar}")
    panel, rng = tape.panel, stream(seed, "stress", "gaps")
    bars = panel.times.size
    falls = rng.random(bars) < 0.5
    happens = rng.random(bars) < tape.bar / every
    level = np.cumprod(np.where(happens, np.where(falls, 1.0 - gap, 1.0 / (1.0 - gap)), 1.0))
    factor = level[tape.at]
    candles = pl.DataFrame(
        {
            "symbol": pl.Series(tape.symbols, dtype=pl.String).gather(tape.symbol),
            "ts": tape.ts,
            **{name: getattr(tape, name) * factor for name in CANDLE_COLUMNS[2:6]},
            "volume": tape.volume,
        }
    )
    made = state_tape(candles, None, tape.bar, costs, capital=tape.capital)
    columns = [tape.symbols.index(name) for name in made.symbols]
    return replace(
        made,
        funding=tape.funding[np.isin(panel.times, made.panel.times)][:, columns],
        social_strength=tape.social_strength,
        social_direction=tape.social_direction,
        news_strength=tape.news_strength,
        news_direction=tape.news_direction,
        expected_cost_bps=np.where(np.isnan(tape.expected_cost_bps), np.nan, made.expected_cost_bps),
    )


def panic(
    bar: timedelta = HOUR, costs: Costs | None = None, *, seed: int = 0, capital: float = CAPITAL
) -> StateTape:
    """Return the panics of a simulated year of BTC and ETH, half a day about each, and nothing between.

    States are those of the whole year. What lies between is missing, longer than any outage that a position
    is held over.
    """
    bars = (WARMUP + _SOUGHT) // bar
    market = MarketSimulator(_SYMBOLS, bar, seed).simulate(_SIMULATED_FROM, bars)
    tape = state_tape(market.candles, market.observations, bar, costs, capital=capital)
    inside = (market.truth["regime"] == "PANIC").to_numpy() & (np.arange(bars) >= WARMUP // bar)
    about = binary_dilation(inside, iterations=max(_ABOUT // bar, 1))
    shown = binary_closing(np.pad(about, MAX_GAP), np.ones(MAX_GAP + 1))[MAX_GAP:-MAX_GAP]
    return _only(tape, shown)


def _only(tape: StateTape, shown: NDArray[np.bool_]) -> StateTape:
    """Leave out all rows of the panel but those shown."""
    panel, kept = tape.panel, shown[tape.at]
    wide: dict[str, Any] = {
        name: np.where(shown[:, None], getattr(panel, name), np.nan) for name in CANDLE_COLUMNS[2:]
    }
    columns = {
        each.name: getattr(tape, each.name)[kept]
        for each in fields(tape)
        if each.init and each.name not in ("panel", "funding", "capital")
    }
    return replace(tape, panel=replace(panel, **wide), **columns)
