"""What the system does to the positions that were decided: guard, sentiment, and shares of the risk."""

from __future__ import annotations

from datetime import date

import numba as nb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.ablation.setup import BAR
from engine.portfolio.allocation import PortfolioConfig
from engine.portfolio.daily_closes import daily_closes
from engine.portfolio.gate_profiles import PROFILES
from engine.portfolio.optimizer import PortfolioRiskOptimizer
from engine.portfolio.position_sizer import SizerConfig
from engine.portfolio.sentiment import SentimentBounds, fear_greed_factor

__all__ = ["change_point_guard", "equal_shares", "fear_greed_share", "risk_shares", "sentiment_gate"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def change_point_guard(rows: pl.DataFrame) -> Floats:
    """Share of a position that the change-point detector leaves on each bar: all, half or none."""
    left = {"hold": 1.0, "reduce": SizerConfig().reduce_factor, "exit": 0.0}
    return rows["action"].replace_strict(left, return_dtype=pl.Float64).to_numpy()


def fear_greed_share(rows: pl.DataFrame) -> Floats:
    """Share of a position that the Fear & Greed index leaves on each bar, least at its extremes."""
    floor = SizerConfig().sentiment_floor
    return np.array([fear_greed_factor(value, floor=floor) for value in rows["fear_greed"]])


def sentiment_gate(rows: pl.DataFrame, wanted: Floats, profile: str) -> Floats:
    """Positions of a system that opens and adds only while the sentiment gate is open.

    While it is closed a position may shrink and be closed, not grow nor turn.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, fear_greed`` of N bars, sorted by symbol and ts.
    wanted : ndarray, shape (N,)
    profile : str
        One of `engine.portfolio.gate_profiles.PROFILES`.
    """
    first = np.r_[True, rows["symbol"].to_numpy()[1:] != rows["symbol"].to_numpy()[:-1]]
    is_open = _open(rows["fear_greed"].to_list(), first, PROFILES[profile].fear_greed)
    return _entries_while_open(wanted, is_open, first)


def _open(index: list[float | None], first: Bools, bounds: SentimentBounds) -> Bools:
    opened, was_open = np.empty(len(index), bool), False
    for row, value in enumerate(index):
        was_open = bounds.opens(value, was_open and not first[row])
        opened[row] = was_open
    return opened


@nb.njit(cache=True)
def _entries_while_open(wanted: Floats, is_open: Bools, first: Bools) -> Floats:
    held = np.empty_like(wanted)
    before = 0.0
    for row in range(wanted.size):
        if first[row]:
            before = 0.0
        now = wanted[row]
        if not is_open[row]:
            now = np.sign(now) * min(abs(now), abs(before)) if now * before > 0.0 else 0.0
        held[row] = before = now
    return held


def equal_shares(rows: pl.DataFrame) -> Floats:
    """Give every symbol the same share of the account."""
    return np.full(rows.height, 1.0 / rows["symbol"].n_unique())


def risk_shares(rows: pl.DataFrame, history: pl.DataFrame) -> Floats:
    """Shares of the account that carry equal risk, decided once a day from the days before.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, ts`` of N bars.
    history : DataFrame
        ``symbol, ts, close`` of them and of the months before.

    Returns
    -------
    ndarray, shape (N,)
        Shares of a day sum to 1 where every symbol has a history.
    """
    closes = daily_closes(history, BAR)
    symbols = [name for name in closes.columns if name != "day"]
    returns = closes.select(pl.col(name) / pl.col(name).shift(1) - 1.0 for name in symbols).to_numpy()
    ended = closes["day"].to_list()
    # Every symbol may have its share: which are alike is not this improvement's question, nor is cash.
    optimizer = PortfolioRiskOptimizer(PortfolioConfig(correlation_limit=1.0, max_weight=1.0))
    weights: dict[str, float] = {}
    by_day: dict[date, dict[str, float]] = {}
    for day in rows["ts"].dt.truncate("1d").unique().sort():
        known = sum(1 for moment in ended if moment <= day)
        weights = optimizer.optimize_allocation(symbols, weights, returns[:known]).weights
        by_day[day] = weights
    days = rows["ts"].dt.truncate("1d")
    return np.array([by_day[day][symbol] for day, symbol in zip(days, rows["symbol"], strict=True)])
