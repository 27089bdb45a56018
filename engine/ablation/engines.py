"""The bandit over all engines, the agent among them, as hourly positions."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.alpha.bandit import AlphaEngineBandit
from engine.alpha.bandit_walk import walk
from engine.alpha.coordinator import TRADES, default_engines
from engine.alpha.trade_outcomes import TradeOutcomes

__all__ = ["followed"]

Floats = NDArray[np.float64]


def followed(
    rows: pl.DataFrame, position: Floats, confidence: Floats, *, cost: float, seed: int
) -> tuple[Floats, Floats]:
    """Hold what the engine that the bandit chose wants, for that engine's horizon.

    The bandit starts without evidence on the first bar and learns from the trades that it made.

    Parameters
    ----------
    rows : DataFrame
        Bars after the agent's training, sorted by symbol and ts, with what engines may look at.
    position, confidence : ndarray, shape (N,)
        Of the agent.
    cost : float
        Of a fill, a fraction of its value.
    seed : int
        Of the bandit's draws.

    Returns
    -------
    position, confidence : ndarray, shape (N,)
        Strength of the trade held on each bar with its sign, and what the engine stated when it was entered;
        0 and NaN where nobody is followed.
    """
    # What a position taken on a bar will pay stands on the bar itself.
    later = pl.col("funding").shift(-2).over("symbol", "segment").fill_null(0.0)
    asked = rows.with_columns(
        later, agent_position=pl.Series(position), agent_confidence=pl.Series(confidence)
    )
    outcomes = TradeOutcomes.from_frame(asked, default_engines(), cost=cost)
    bandit = AlphaEngineBandit(outcomes.engines, TRADES, seed=seed)
    trades = walk(outcomes, bandit).trades.join(
        rows.select("symbol", "ts").with_row_index("row"), on=["symbol", "ts"], how="left"
    )
    held, stated = np.zeros(rows.height), np.full(rows.height, np.nan)
    for row, name in trades.select("row", "engine").iter_rows():
        engine = outcomes.engines.index(name)
        # Row t earns from the open of t+1 to that of t+2: the last row held is two before the exit's.
        span = slice(row, int(outcomes.exit[row, engine]) - 1)
        held[span], stated[span] = outcomes.strength[row, engine], outcomes.confidence[row, engine]
    return held, stated
