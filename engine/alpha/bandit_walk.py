"""A chronological walk over a universe in which the bandit chooses whose trade is made.

At each bar and for each symbol without an open trade the engines with a signal draw, and the one chosen is
held for its horizon. Its result is credited at the first bar that opens at or after the trade's exit, to the
regime of the entry; no other engine learns from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.alpha.bandit import AlphaEngineBandit, reward_of
from engine.alpha.bandit_evidence import Evidence, Forgetting, credit, laws, with_interval
from engine.alpha.coordinator import BREAK_EVEN
from engine.alpha.trade_outcomes import TradeOutcomes
from engine.regimes.names import REGIMES

__all__ = ["BanditWalk", "walk"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BUSY, _OUT = -2, -1


@dataclass(frozen=True)
class BanditWalk:
    """What happened in a walk.

    Parameters
    ----------
    choices : polars.DataFrame
        ``symbol, ts, regime, engine, drawn, available``: one row per symbol and bar at which an engine had a
        signal and none was followed yet. `engine` is null where the bandit stayed out, `drawn` the largest
        draw, `available` the number of engines that drew.
    trades : polars.DataFrame
        ``symbol, ts`` (bar of the decision), ``regime, engine, entry_ts, exit_ts, direction, gross, funding,
        cost, net`` (fractions of the value at entry), ``reward`` and ``whole``; a trade cut short by a hole
        or by the end of the data has no reward.
    posteriors : polars.DataFrame
        ``ts, engine, regime, wins, losses, mean, low, high``.
    daily : polars.DataFrame
        ``day, net_return, turnover``: mean over the symbols, each trading one unit of value.
    """

    choices: pl.DataFrame
    trades: pl.DataFrame
    posteriors: pl.DataFrame
    daily: pl.DataFrame


def walk(
    outcomes: TradeOutcomes,
    bandit: AlphaEngineBandit,
    *,
    learning: bool = True,
    stand_aside: bool = True,
    snapshot_bars: int = 24,
) -> BanditWalk:
    """Walk through the bars in order of time; the bandit learns in place.

    Parameters
    ----------
    outcomes : TradeOutcomes
    bandit : AlphaEngineBandit
        Its engines are those of `outcomes`.
    learning : bool
        Without it nothing is credited: a bandit without evidence then chooses uniformly.
    stand_aside : bool
        Stay out where the largest draw falls short of breaking even, as the coordinator does.
    snapshot_bars : int
        Bars between two rows of the posteriors.

    Raises
    ------
    ValueError
        If bandit and outcomes have other engines, or `snapshot_bars` is below 1.
    """
    if bandit.engines != outcomes.engines:
        raise ValueError(
            f"the bandit knows {bandit.engines}, the outcomes are of {outcomes.engines}; "
            "give both the same engines"
        )
    if snapshot_bars < 1:
        raise ValueError(f"snapshot_bars={snapshot_bars} must be at least 1")
    times, tick = np.unique(outcomes.ts, return_inverse=True)
    row_at = np.full((times.size, len(outcomes.symbols)), -1, np.int64)
    row_at[tick, outcomes.symbol] = np.arange(outcomes.open.size)
    hours = (times - np.datetime64("1970-01-01", "us")) / np.timedelta64(3600, "s")
    taught = outcomes.whole & learning & outcomes.available
    with np.errstate(invalid="ignore", divide="ignore"):
        rewards = np.where(taught, reward_of(outcomes.net, outcomes.risk, bandit.config.bound), np.nan)
    asked = times[::snapshot_bars]
    snapshots = np.empty((asked.size, len(outcomes.engines), len(REGIMES), 2))
    chosen = np.full(outcomes.open.size, _BUSY, np.int64)
    drawn = np.full(outcomes.open.size, np.nan)
    _walk(
        row_at,
        tick,
        hours,
        outcomes.regime.astype(np.int64),
        outcomes.available,
        outcomes.exit,
        outcomes.free,
        rewards,
        BREAK_EVEN if stand_aside else 0.0,
        snapshot_bars,
        bandit.rule,
        bandit.evidence,
        bandit.rng,
        chosen,
        drawn,
        snapshots,
    )
    return BanditWalk(
        _choices_frame(outcomes, chosen, drawn),
        _trades_frame(outcomes, chosen, rewards),
        _posteriors_frame(outcomes.engines, asked, snapshots),
        _daily_returns(outcomes, chosen),
    )


@nb.njit(nogil=True, cache=True)
def _walk(
    row_at: Ints,
    tick: Ints,
    hours: Floats,
    regime: Ints,
    available: NDArray[np.bool_],
    exit_row: Ints,
    free_row: Ints,
    reward: Floats,
    least: float,
    every: int,
    rule: Forgetting,
    evidence: Evidence,
    rng: np.random.Generator,
    chosen: Ints,
    drawn: Floats,
    snapshots: Floats,
) -> None:
    symbols, engines = row_at.shape[1], available.shape[1]
    # A trade may be decided on the bar before the last one's exit, when that one's result is still unknown:
    # two per symbol wait for their outcome at most.
    waiting = np.full((symbols, 2), -1, np.int64)
    busy_until = np.full(symbols, -1, np.int64)
    trades = np.zeros(symbols, np.int64)
    for t in range(row_at.shape[0]):
        for s in range(symbols):
            for slot in range(2):
                row = waiting[s, slot]
                if row >= 0 and tick[exit_row[row, chosen[row]]] <= t:
                    waiting[s, slot] = -1
                    result = reward[row, chosen[row]]
                    if not np.isnan(result):
                        credit(evidence, rule, chosen[row], regime[row], result, hours[t])
        if t % every == 0:
            for r in range(snapshots.shape[2]):
                wins, losses = laws(evidence, rule, r, hours[t])
                snapshots[t // every, :, r, 0], snapshots[t // every, :, r, 1] = wins, losses
        for s in range(symbols):
            row = row_at[t, s]
            if row < 0 or row + 1 < busy_until[s]:
                continue
            if not available[row].any():
                continue
            wins, losses = laws(evidence, rule, regime[row], hours[t])
            best, largest = _OUT, -1.0
            for e in range(engines):
                if available[row, e]:
                    value = rng.beta(wins[e], losses[e])
                    if value > largest:
                        best, largest = e, value
            drawn[row] = largest
            chosen[row] = best if largest > least else _OUT
            if chosen[row] >= 0:
                waiting[s, trades[s] % 2] = row
                trades[s] += 1
                busy_until[s] = free_row[row, best]


def _choices_frame(outcomes: TradeOutcomes, chosen: Ints, drawn: Floats) -> pl.DataFrame:
    rows = np.flatnonzero(chosen != _BUSY)
    engine = chosen[rows]
    return pl.DataFrame(
        _keys(outcomes, rows)
        | {
            "engine": _names(outcomes.engines, engine),
            "drawn": drawn[rows],
            "available": outcomes.available[rows].sum(axis=1),
        }
    )


def _trades_frame(outcomes: TradeOutcomes, chosen: Ints, rewards: Floats) -> pl.DataFrame:
    rows = _filled_rows(outcomes, chosen)
    trade = (rows, chosen[rows])
    return pl.DataFrame(
        _keys(outcomes, rows)
        | {
            "engine": _names(outcomes.engines, chosen[rows]),
            "entry_ts": outcomes.ts[rows + 1],
            "exit_ts": outcomes.ts[outcomes.exit[trade]],
            "direction": np.sign(outcomes.strength[trade]).astype(np.int64),
            "gross": outcomes.gross[trade],
            "funding": outcomes.paid[trade],
            "cost": outcomes.fees[trade],
            "net": outcomes.net[trade],
            "reward": pl.Series(rewards[trade]).fill_nan(None),
            "whole": outcomes.whole[trade],
        }
    )


def _posteriors_frame(
    engines: tuple[str, ...], times: NDArray[np.datetime64], snapshots: Floats
) -> pl.DataFrame:
    moments, names, regimes = np.indices(snapshots.shape[:3]).reshape(3, -1)
    frame = pl.DataFrame(
        {
            "ts": times[moments],
            "engine": _names(engines, names),
            "regime": _names(REGIMES, regimes),
            "wins": snapshots[..., 0].ravel(),
            "losses": snapshots[..., 1].ravel(),
        }
    )
    return with_interval(frame)


def _daily_returns(outcomes: TradeOutcomes, chosen: Ints) -> pl.DataFrame:
    """Spread the trades chosen over the days they were held in, marked to the opens.

    A bar counts to the day of the open that it is earned from.
    """
    rows = _filled_rows(outcomes, chosen)
    trade = (rows, chosen[rows])
    bars = outcomes.exit[trade] - rows - 1
    # Row t of a trade earns from the open of t+1 to that of t+2.
    held = np.repeat(rows - (np.cumsum(bars) - bars), bars) + np.arange(bars.sum())
    side = np.repeat(np.sign(outcomes.strength[trade]), bars)
    entry = np.repeat(outcomes.open[rows + 1], bars)
    earned = np.zeros(outcomes.open.size)
    move = (outcomes.open[held + 2] - outcomes.open[held + 1]) / entry
    np.add.at(earned, held, side * (move - outcomes.funding[held]))
    fills = np.zeros(outcomes.open.size)
    last = outcomes.exit[trade] - 2
    np.add.at(fills, rows, 1.0)
    np.add.at(fills, last, outcomes.open[last + 2] / outcomes.open[rows + 1])
    following = np.minimum(np.arange(outcomes.open.size) + 1, outcomes.open.size - 1)
    frame = pl.DataFrame(
        {"day": outcomes.ts[following], "net_return": earned - outcomes.cost * fills, "turnover": fills}
    )
    symbols = len(outcomes.symbols)
    return (
        frame.group_by(pl.col("day").dt.date())
        .agg(pl.col("net_return", "turnover").sum() / symbols)
        .sort("day")
        .upsample("day", every="1d")
        .with_columns(pl.col("net_return", "turnover").fill_null(0.0))
    )


def _filled_rows(outcomes: TradeOutcomes, chosen: Ints) -> Ints:
    rows = np.flatnonzero(chosen >= 0)
    return rows[outcomes.filled[rows, chosen[rows]]]


def _keys(outcomes: TradeOutcomes, rows: Ints) -> dict[str, object]:
    return {
        "symbol": _names(outcomes.symbols, outcomes.symbol[rows]),
        "ts": outcomes.ts[rows],
        "regime": _names(REGIMES, outcomes.regime[rows].astype(np.int64)),
    }


def _names(names: tuple[str, ...], numbers: Ints) -> pl.Series:
    """Names by number; null where negative."""
    picked = pl.Series(names, dtype=pl.String).gather(np.maximum(numbers, 0))
    return pl.select(pl.when(pl.Series(numbers >= 0)).then(picked)).to_series()
