"""What choosing by the bandit earned beside simpler ways to choose among the same signals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.alpha.bandit import AlphaEngineBandit, BanditConfig
from engine.alpha.bandit_walk import BanditWalk, walk
from engine.alpha.coordinator import TRADES
from engine.alpha.trade_outcomes import TradeOutcomes
from engine.errors import NotEnoughDataError
from engine.evaluation.metrics import paired_intervals, performance

__all__ = ["BanditComparison", "compare", "strongest"]

Floats = NDArray[np.float64]

_SHOWN = ("annual_return", "volatility", "sharpe", "max_drawdown")
BANDIT, ALWAYS_IN, UNIFORM, STRONGEST, EQUAL = "bandit", "always in", "uniform", "strongest", "equal weight"


@dataclass(frozen=True)
class BanditComparison:
    """Ways to choose, over the same bars.

    Parameters
    ----------
    walk : BanditWalk
        Of the bandit.
    daily : polars.DataFrame
        ``day`` and one column of net returns per way: ``bandit``, the same ``always in`` a trade, ``uniform``
        choice among the signals, the ``strongest`` signal, ``equal weight`` of all engines each traded alone,
        and ``only NAME`` for each of those.
    figures : polars.DataFrame
        ``policy, total, turnover`` (sums over the days) and annualised ``annual_return, volatility, sharpe,
        max_drawdown``; by total, largest first.
    differences : polars.DataFrame
        ``policy, metric, value, low, high``: the bandit less each other way, annualised, with intervals of
        paired bootstrap draws of days.
    regret : polars.DataFrame
        ``day, regret``: what the best single engine, known only afterwards, had earned by then beyond the
        bandit.
    best_engine : str
        That engine.
    """

    walk: BanditWalk
    daily: pl.DataFrame
    figures: pl.DataFrame
    differences: pl.DataFrame
    regret: pl.DataFrame
    best_engine: str


def strongest(outcomes: TradeOutcomes) -> NDArray[np.bool_]:
    """Mark the signal of each row that the coordinator follows without a bandit, shape (N, E)."""
    score = np.where(outcomes.available, np.abs(outcomes.strength) * outcomes.confidence, -1.0)
    return np.arange(score.shape[1]) == score.argmax(axis=1)[:, None]


def compare(
    outcomes: TradeOutcomes, config: BanditConfig | None = None, *, seed: int = 0, draws: int = 999
) -> BanditComparison:
    """Walk once with each way to choose.

    The best single engine is chosen with hindsight on the very days it is judged by: a bar that nobody could
    have known to take, not a strategy.

    Parameters
    ----------
    outcomes : TradeOutcomes
    config : BanditConfig, optional
        `TRADES` if not given.
    seed : int
        Of the bandit, the uniform choice and the bootstrap.
    draws : int
        Of the bootstrap.

    Raises
    ------
    NotEnoughDataError
        If there are fewer than two days.
    """

    def bandit() -> AlphaEngineBandit:
        return AlphaEngineBandit(outcomes.engines, config or TRADES, seed=seed)

    def fixed(followed: NDArray[np.bool_]) -> BanditWalk:
        return walk(outcomes.followed(followed), bandit(), learning=False, stand_aside=False)

    own = walk(outcomes, bandit())
    engine = np.arange(len(outcomes.engines))
    alone = {
        f"only {name}": fixed(np.broadcast_to(engine == e, outcomes.strength.shape))
        for e, name in enumerate(outcomes.engines)
    }
    walks = {
        BANDIT: own,
        ALWAYS_IN: walk(outcomes, bandit(), stand_aside=False),
        UNIFORM: walk(outcomes, bandit(), learning=False, stand_aside=False),
        STRONGEST: fixed(strongest(outcomes)),
        **alone,
    }
    if own.daily.height < 2:
        raise NotEnoughDataError(f"{own.daily.height} day of returns; at least two are needed to compare")
    table = {
        column: pl.DataFrame({policy: walked.daily[column] for policy, walked in walks.items()}).with_columns(
            pl.mean_horizontal(*alone).alias(EQUAL)
        )
        for column in ("net_return", "turnover")
    }
    returns = {policy: table["net_return"][policy].to_numpy() for policy in table["net_return"].columns}
    best = max(alone, key=lambda policy: float(returns[policy].sum()))
    return BanditComparison(
        walk=own,
        daily=table["net_return"].insert_column(0, own.daily["day"]),
        figures=_figures(returns, table["turnover"]),
        differences=_differences(returns, seed, draws),
        regret=pl.DataFrame({"day": own.daily["day"], "regret": np.cumsum(returns[best] - returns[BANDIT])}),
        best_engine=best.removeprefix("only "),
    )


def _figures(returns: dict[str, Floats], turnover: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for policy, stream in returns.items():
        sums = {"total": float(stream.sum()), "turnover": float(turnover[policy].sum())}
        found = performance(stream)
        rows.append({"policy": policy, **sums, **{metric: found[metric] for metric in _SHOWN}})
    return pl.DataFrame(rows).sort("total", descending=True).with_columns(pl.col("sharpe").fill_nan(None))


def _differences(returns: dict[str, Floats], seed: int, draws: int) -> pl.DataFrame:
    own = returns[BANDIT]
    return pl.concat(
        paired_intervals(own, other, draws=draws, seed=seed)
        .filter(pl.col("metric").is_in(_SHOWN))
        .select(pl.lit(policy).alias("policy"), "metric", "value", "low", "high")
        for policy, other in returns.items()
        if policy != BANDIT
    )
