"""What positions on a tape earned, bar by bar and day by day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.agents.environment import EnvironmentConfig
from engine.agents.tape import MarketTape

__all__ = ["Outcomes", "daily_returns", "outcomes", "positions_before"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """Of one account per run, shape (N,) each; 0 where a row cannot host a decision.

    Parameters
    ----------
    net : ndarray
        Return after costs and funding, a fraction of equity.
    reward : ndarray
        The same as agents are rewarded: over the bar's scale, less the price of risk.
    turnover : ndarray
        Absolute change of position; entering a run's first position counts.
    """

    net: Floats
    reward: Floats
    turnover: Floats


def outcomes(tape: MarketTape, positions: Floats, config: EnvironmentConfig) -> Outcomes:
    """Settle the positions held on each row of a tape by the rules of the environment.

    Parameters
    ----------
    tape : MarketTape
    positions : ndarray, shape (N,)
        Exposure decided on each row, a fraction of equity.
    config : EnvironmentConfig
        For the cost of trading and the price of risk.
    """
    hosts = tape.decisions_left > 0
    turnover = np.where(hosts, np.abs(positions - positions_before(tape, positions)), 0.0)
    earned = np.where(hosts, positions * (np.where(hosts, tape.growth, 0.0) - tape.funding), 0.0)
    net = earned - config.cost * turnover
    scaled = net / tape.scale
    return Outcomes(net, scaled - 0.5 * config.risk_aversion * scaled**2, turnover)


def positions_before(tape: MarketTape, positions: Floats) -> Floats:
    """Position held when each row is decided, shape (N,): that of the row before, flat at a run's first."""
    before = np.zeros(len(tape))
    before[1:] = np.where(tape.run[1:] == tape.run[:-1], positions[:-1], 0.0)
    return before


def daily_returns(tape: MarketTape, values: Floats) -> pl.DataFrame:
    """Sum over a day of the mean over symbols that could decide: an account spread evenly over them.

    Returns
    -------
    DataFrame
        ``day, value``, sorted; UTC days of the decision bar.
    """
    hosts = tape.decisions_left > 0
    rows = pl.DataFrame({"ts": tape.ts[hosts], "value": values[hosts]})
    by_bar = rows.group_by("ts").agg(pl.col("value").mean())
    return by_bar.group_by(pl.col("ts").dt.truncate("1d").alias("day")).agg(pl.col("value").sum()).sort("day")
