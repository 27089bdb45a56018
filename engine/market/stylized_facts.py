"""What any crypto market looks like in figures, to tell a believable simulation from a random walk.

Returns are log returns per bar unless said otherwise. Sources name where a fact was established.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from engine.errors import NotEnoughDataError
from engine.regimes.names import REGIMES

if TYPE_CHECKING:
    from engine.market.simulator import SimulatedMarket

__all__ = [
    "Fact",
    "aggregational_kurtosis",
    "autocorrelation",
    "derivative_facts",
    "drift_ratio",
    "excess_kurtosis",
    "hill_index",
    "index_facts",
    "leverage_correlation",
    "market_facts",
    "pair_correlation",
    "partial_correlation",
    "past_returns",
    "regime_facts",
    "regime_runs",
    "return_facts",
    "threshold_ratio",
]

INF = float("inf")
LEAST_BARS = 1000


@dataclass(frozen=True)
class Fact:
    """One figure beside the range it must lie in."""

    name: str
    value: float
    lower: float = -INF
    upper: float = INF

    @property
    def holds(self) -> bool:
        """Whether the figure lies in its range; NaN does not."""
        return self.lower <= self.value <= self.upper


def autocorrelation(x: np.ndarray, lag: int) -> float:
    """Sample autocorrelation at ``lag`` >= 1 with the biased estimator (Box & Jenkins 1970)."""
    centred = x - x.mean()
    return float(centred[lag:] @ centred[:-lag] / (centred @ centred))


def excess_kurtosis(x: np.ndarray) -> float:
    """Fourth standardised moment less 3: 0 for a normal law."""
    centred = x - x.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3.0)


def aggregational_kurtosis(returns: np.ndarray, bars: int = 24) -> float:
    """Excess kurtosis of non-overlapping ``bars``-bar sums over that of single bars.

    Below 1 where returns grow more normal with the horizon (Cont 2001, aggregational Gaussianity).
    """
    whole = len(returns) // bars * bars
    return excess_kurtosis(returns[:whole].reshape(-1, bars).sum(axis=1)) / excess_kurtosis(returns)


def hill_index(returns: np.ndarray, top: float = 0.02) -> float:
    """Tail index of the largest share ``top`` of absolute returns (Hill 1975): about 3 in markets."""
    ordered = np.sort(np.abs(returns))[::-1]
    k = int(top * len(ordered))
    return float(1.0 / np.log(ordered[:k] / ordered[k]).mean())


def leverage_correlation(returns: np.ndarray, ahead: int = 10) -> float:
    """Correlation of a return with the mean absolute return of the next ``ahead`` bars (Black 1976)."""
    following = np.lib.stride_tricks.sliding_window_view(np.abs(returns)[1:], ahead).mean(axis=1)
    return float(np.corrcoef(returns[: len(following)], following)[0, 1])


def regime_runs(regime: np.ndarray) -> list[tuple[int, int]]:
    """First bar and bar after the last of each stay in one regime."""
    borders = [0, *(np.flatnonzero(regime[1:] != regime[:-1]) + 1).tolist(), len(regime)]
    return list(pairwise(borders))


def pair_correlation(panel: np.ndarray) -> float:
    """Mean correlation over all pairs of columns of a bars x symbols matrix."""
    correlations = np.corrcoef(panel, rowvar=False)
    return float(correlations[np.triu_indices_from(correlations, 1)].mean())


def drift_ratio(returns: np.ndarray, regime: np.ndarray, shortest: int = 60) -> float:
    """Mean of abs(mean) / standard deviation over TREND stays, divided by that over RANGE stays.

    Only stays of at least ``shortest`` bars count: in short ones any mean is noise.
    """

    def drift(name: str) -> float:
        runs = [returns[a:b] for a, b in regime_runs(regime) if regime[a] == name and b - a >= shortest]
        return float(np.mean([abs(run.mean()) / run.std() for run in runs]))

    return drift("TREND") / drift("RANGE")


def past_returns(returns: np.ndarray, bars: int) -> np.ndarray:
    """Sum of the ``bars`` returns before each bar and after the last; NaN where there are fewer."""
    total = np.concatenate([[0.0], np.cumsum(returns)])
    past = np.full(len(total), np.nan)
    past[bars:] = total[bars:] - total[:-bars]
    return past


def partial_correlation(x: np.ndarray, y: np.ndarray, controls: Sequence[np.ndarray]) -> float:
    """Correlation of what is left of x and y when each is regressed on the controls and a constant."""
    design = np.column_stack([np.ones(len(x)), *controls])
    left = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (x, y)]
    return float(np.corrcoef(left[0], left[1])[0, 1])


def threshold_ratio(value: np.ndarray, move: np.ndarray, deviations: float = 3.0) -> float:
    """Mean value where the move exceeds ``deviations`` standard deviations, over the mean elsewhere."""
    large = np.abs(move) > deviations * move.std()
    return float(value[large].mean() / value[~large].mean())


def return_facts(returns: np.ndarray) -> tuple[Fact, ...]:
    """Facts of one series of returns (Cont 2001): no linear memory, clustering, heavy tails, leverage.

    Raises
    ------
    NotEnoughDataError
        If there are fewer than 1000 returns.
    """
    if len(returns) < LEAST_BARS:
        raise NotEnoughDataError(f"{len(returns)} returns; stylized facts need at least {LEAST_BARS}")
    size = np.abs(returns)
    memory = float(np.mean([abs(autocorrelation(returns, lag)) for lag in range(1, 11)]))
    return (
        Fact("mean absolute autocorrelation of returns, lags 1-10", memory, upper=0.05),
        Fact("autocorrelation of absolute returns, lag 1", autocorrelation(size, 1), lower=0.10),
        Fact("autocorrelation of absolute returns, lag 10", autocorrelation(size, 10), lower=0.07),
        Fact("autocorrelation of absolute returns, lag 50", autocorrelation(size, 50), lower=0.02),
        Fact("excess kurtosis", excess_kurtosis(returns), lower=2.0),
        Fact("excess kurtosis of 24-bar sums over that of bars", aggregational_kurtosis(returns), upper=0.80),
        Fact("Hill index of the top 2 %", hill_index(returns), lower=2.0, upper=6.0),
        Fact(
            "correlation of return and absolute returns that follow",
            leverage_correlation(returns),
            upper=-0.01,
        ),
    )


def regime_facts(returns: np.ndarray, panel: np.ndarray, regime: np.ndarray) -> tuple[Fact, ...]:
    """Facts of the regimes (Hamilton 1989; Ang & Chen 2002 for correlation in falls).

    Parameters
    ----------
    returns : ndarray, shape (bars,)
        Of the market factor.
    panel : ndarray, shape (bars, symbols)
        Returns of at least two symbols.
    regime : ndarray of str, shape (bars,)
        Names of `REGIMES`.
    """
    panic, quiet = regime == "PANIC", regime == "RANGE"
    shares = [float((regime == name).mean()) for name in REGIMES]
    correlation = pair_correlation(panel[panic]) - pair_correlation(panel[quiet])
    return (
        Fact("volatility in PANIC over RANGE", float(returns[panic].std() / returns[quiet].std()), lower=2.0),
        Fact("correlation of pairs in PANIC less RANGE", correlation, lower=0.15),
        Fact("drift over volatility of TREND over RANGE stays", drift_ratio(returns, regime), lower=1.3),
        Fact("smallest share of a regime", min(shares), lower=0.03),
        Fact("largest share of a regime", max(shares), upper=0.75),
        Fact("mean stay in a regime, bars", len(regime) / len(regime_runs(regime)), lower=30.0),
    )


def index_facts(index: np.ndarray, at: np.ndarray, returns: np.ndarray) -> tuple[Fact, ...]:
    """Facts of a sentiment index: it follows returns and says nothing more about the next ones.

    Parameters
    ----------
    index : ndarray, shape (days,)
    at : ndarray of int, shape (days,)
        Number of bars that had closed when each value was computed.
    returns : ndarray, shape (bars,)
        Hourly, of the market.
    """
    after = np.append(past_returns(returns, 24)[24:], np.full(24, np.nan))
    past = [past_returns(returns, bars)[at] for bars in (24, 168)]
    known = ~np.isnan(np.column_stack([*past, after[at]])).any(axis=1)
    controls = [column[known] for column in past]
    return (
        Fact(
            "correlation of index and past 24 bars",
            float(np.corrcoef(index[known], controls[0])[0, 1]),
            lower=0.20,
        ),
        Fact(
            "partial correlation of index and next 24 bars given past returns",
            partial_correlation(index[known], after[at][known], controls),
            lower=-0.15,
            upper=0.15,
        ),
    )


def derivative_facts(
    funding: np.ndarray, charged: np.ndarray, liquidated: np.ndarray, move: np.ndarray, returns: np.ndarray
) -> tuple[Fact, ...]:
    """Facts of perpetuals: funding follows returns, liquidations come with large moves.

    Parameters
    ----------
    funding : ndarray, shape (stamps,)
    charged : ndarray of int, shape (stamps,)
        Number of bars that had closed at each stamp.
    liquidated, move : ndarray, shape (periods,)
        USD closed by force in each period, and the return of that period.
    returns : ndarray, shape (bars,)
        Hourly, of the same symbol.
    """
    past = past_returns(returns, 48)[charged]
    known = ~np.isnan(past)
    follows = float(np.corrcoef(funding[known], past[known])[0, 1])
    return (
        Fact("correlation of funding and past 48 bars", follows, lower=0.15),
        Fact("liquidations on 3-sd periods over others", threshold_ratio(liquidated, move), lower=3.0),
    )


def market_facts(market: SimulatedMarket) -> tuple[Fact, ...]:
    """Every fact of an hourly simulated market of at least two symbols, those of one symbol for the first."""
    returns = market.truth["market_return"].to_numpy()
    closes = market.candles.pivot("symbol", index="ts", values="close").drop("ts")
    first = closes.columns[0]
    panel = np.diff(np.log(closes.to_numpy()), axis=0)
    start = market.truth["ts"][0]

    def latest(series: str) -> pl.DataFrame:
        """Last vintage of each period, with the number of bars that had closed at its ts."""
        rows = market.observations.filter(pl.col("series") == series, pl.col("symbol").is_in([first, "*"]))
        closed = (pl.col("ts") - start).dt.total_hours().alias("closed")
        return rows.group_by("ts", maintain_order=True).last().with_columns(closed)

    index, funding = latest("fear_greed"), latest("funding_rate")
    forced = latest("liquidations_long_usd").join(latest("liquidations_short_usd"), on="ts")
    own = np.concatenate([[0.0], panel[:, 0]])
    return (
        *return_facts(returns),
        *regime_facts(returns[1:], panel, market.truth["regime"].to_numpy()[1:]),
        *index_facts(index["value"].to_numpy(), index["closed"].to_numpy(), returns),
        *derivative_facts(
            funding["value"].to_numpy(),
            funding["closed"].to_numpy(),
            (forced["value"] + forced["value_right"]).to_numpy(),
            past_returns(own, 4)[forced["closed"].to_numpy() + 4],
            own,
        ),
    )
