"""How much of a backtest's success is owed to having tried often: deflated Sharpe ratio and PBO."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import kurtosis as sample_kurtosis
from scipy.stats import skew as sample_skew

from engine.errors import NotEnoughDataError

__all__ = [
    "BacktestOverfitting",
    "deflated_sharpe",
    "deflated_sharpe_of",
    "expected_maximum_sharpe",
    "probabilistic_sharpe",
    "probability_of_backtest_overfitting",
]

Floats = NDArray[np.float64]

_MOST_BLOCKS = 20


def probabilistic_sharpe(
    sharpe: float, benchmark: float, periods: int, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the true Sharpe ratio is above a benchmark, for returns that are not normal.

    Parameters
    ----------
    sharpe, benchmark : float
        Per period, not annualised.
    periods : int
        Length of the track record, independent periods.
    skew, kurtosis : float
        Of the returns; the kurtosis of a normal variable is 3.

    Raises
    ------
    ValueError
        If there are fewer than 2 periods or no returns can have these moments.

    References
    ----------
    Bailey and Lopez de Prado (2012).
    """
    variance = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if periods < 2 or not variance > 0.0 or kurtosis < 1.0 + skew**2 - 1e-9:
        raise ValueError(
            f"periods={periods} must be at least 2, and kurtosis={kurtosis} at least 1 + skew^2 = "
            f"{1.0 + skew**2} (3 for the normal, not the excess)"
        )
    return float(ndtr((sharpe - benchmark) * np.sqrt((periods - 1.0) / variance)))


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Sharpe ratio that the luckiest of many trials without skill is expected to show.

    Parameters
    ----------
    trials : int
        Independent trials, at least 1; counting correlated ones in full is the careful side.
    variance : float
        Of the trials' Sharpe ratios, per period.

    Raises
    ------
    ValueError
        If a figure is out of range.
    """
    if trials < 1 or not variance >= 0.0:
        raise ValueError(f"trials={trials} must be at least 1 and variance={variance} not negative")
    if trials == 1:
        return 0.0
    share = np.euler_gamma
    quantile = (1.0 - share) * ndtri(1.0 - 1.0 / trials) + share * ndtri(1.0 - 1.0 / (trials * np.e))
    return float(np.sqrt(variance) * quantile)


def deflated_sharpe(
    sharpe: float,
    periods: int,
    trials: int,
    variance: float,
    skew: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """Probability that a Sharpe ratio, found as the best of many trials, is above what luck would show.

    Parameters are those of `probabilistic_sharpe` and `expected_maximum_sharpe`; the ledger of attempts
    counts the trials, failed ones too, and pools the variance (`engine.evaluation.attempts.trials`).

    References
    ----------
    Bailey and Lopez de Prado (2014), "The deflated Sharpe ratio".
    """
    luck = expected_maximum_sharpe(trials, variance)
    return probabilistic_sharpe(sharpe, luck, periods, skew, kurtosis)


def deflated_sharpe_of(returns: Floats, trials: int, variance: float) -> float:
    """Deflated Sharpe ratio of a stream of returns, shape (T,), with its own moments.

    Raises
    ------
    ValueError
        If the returns are not finite or do not vary.
    """
    stream = np.asarray(returns, np.float64)
    if stream.ndim != 1 or stream.size < 2 or not np.isfinite(stream).all() or not stream.std() > 0.0:
        raise ValueError(f"finite returns that vary are needed, got shape {stream.shape}")
    return deflated_sharpe(
        float(stream.mean() / stream.std()),
        stream.size,
        trials,
        variance,
        float(sample_skew(stream)),
        float(sample_kurtosis(stream, fisher=False)),
    )


@dataclass(frozen=True, eq=False)
class BacktestOverfitting:
    """Outcome of combinatorially symmetric cross-validation, one entry per way to halve the blocks.

    Parameters
    ----------
    probability : float
        PBO: share of halvings after which the best in sample is not above the median out of sample.
    relative_rank : ndarray
        Out-of-sample rank of the best in sample over N + 1; near 1 is good.
    chosen : ndarray of int
        Column that was the best in sample.
    in_sample, out_of_sample : ndarray
        Its Sharpe ratios per period.
    """

    probability: float
    relative_rank: Floats
    chosen: NDArray[np.int64]
    in_sample: Floats
    out_of_sample: Floats

    @property
    def probability_of_loss(self) -> float:
        """Share of halvings after which the best in sample loses out of sample."""
        return float((self.out_of_sample < 0.0).mean())


def probability_of_backtest_overfitting(returns: Floats, blocks: int = 16) -> BacktestOverfitting:
    """Probability of backtest overfitting (PBO) by combinatorially symmetric cross-validation (CSCV).

    It judges the *selection*, not a candidate: does the best of these on one half of time stay above the
    median on the other? It says nothing when all candidates are alike (about one half, as for noise), and
    takes returns as they are: with the mean of each column over the full sample taken out, the best half of a
    column is matched by a bad one and PBO is 1.

    Parameters
    ----------
    returns : ndarray, shape (T, N)
        Net returns per period of every candidate that was tried.
    blocks : int
        Stretches of time to halve, even, 4 to 20.

    Raises
    ------
    NotEnoughDataError
        If a block would hold fewer than 2 periods.
    ValueError
        If there are fewer than two different candidates, a return is not finite, or `blocks` is out of range.

    References
    ----------
    Bailey, Borwein, Lopez de Prado and Zhu (2017).
    """
    table = np.asarray(returns, np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(f"finite returns of at least 2 candidates are needed, got shape {table.shape}")
    if (table == table[:, :1]).all():
        raise ValueError("all candidates are the same: there is nothing to select, and PBO says nothing")
    if blocks % 2 or not 4 <= blocks <= _MOST_BLOCKS:
        raise ValueError(f"blocks={blocks} must be even and lie between 4 and {_MOST_BLOCKS}")
    if table.shape[0] < 2 * blocks:
        raise NotEnoughDataError(f"{table.shape[0]} periods; {blocks} blocks need {2 * blocks}")

    parts = np.array_split(table, blocks)
    length = np.array([len(part) for part in parts], np.float64)
    sums = np.stack([part.sum(axis=0) for part in parts])
    squares = np.stack([(part**2).sum(axis=0) for part in parts])
    halves = np.array(list(combinations(range(blocks), blocks // 2)))
    inside = np.zeros((len(halves), blocks))
    np.put_along_axis(inside, halves, 1.0, axis=1)

    def sharpe(chosen: Floats) -> Floats:
        count = (chosen @ length)[:, None]
        mean = chosen @ sums / count
        deviation = np.sqrt(np.maximum(chosen @ squares / count - mean**2, 0.0))
        return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0.0)

    before, after = sharpe(inside), sharpe(1.0 - inside)
    best = before.argmax(axis=1)
    theirs = np.take_along_axis(after, best[:, None], axis=1)
    ties = (after == theirs).sum(axis=1)
    rank = (after < theirs).sum(axis=1) + (ties + 1) / 2.0
    relative = rank / (table.shape[1] + 1.0)
    return BacktestOverfitting(
        probability=float((relative <= 0.5).mean()),
        relative_rank=relative,
        chosen=best,
        in_sample=np.take_along_axis(before, best[:, None], axis=1)[:, 0],
        out_of_sample=theirs[:, 0],
    )
