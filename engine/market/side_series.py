"""What simulated side series have in common: calendar, past returns, publication, revision, one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from engine.market.regime_path import ar1

__all__ = ["HOUR", "Block", "Clock", "Revisions", "Tape", "observations_frame", "publish"]

HOUR = 3_600_000_000
MINUTE = HOUR // 60
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (moments in frames are UTC without a zone)
SCALE_DECAY = 0.99


@dataclass(frozen=True)
class Clock:
    """Hours since the epoch at which the first bar opens, and the number of hourly bars."""

    first_hour: int
    hours: int

    @classmethod
    def since(cls, start: datetime, hours: int) -> Clock:
        """Clock of ``hours`` bars whose first opens at ``start`` (UTC without zone, a whole hour)."""
        return cls(int((start - EPOCH).total_seconds()) // 3600, hours)

    @property
    def opens(self) -> np.ndarray:
        """Open of each bar in microseconds since the epoch."""
        return (self.first_hour + np.arange(self.hours, dtype=np.int64)) * HOUR

    @property
    def end(self) -> int:
        """Close of the last bar in microseconds since the epoch."""
        return (self.first_hour + self.hours) * HOUR

    def last_bars(self, length: int) -> np.ndarray:
        """Index of the last bar of each whole period of ``length`` hours (periods since the epoch)."""
        first = -self.first_hour % length
        return np.arange(first + length - 1, self.hours, length)

    def period_starts(self, length: int) -> np.ndarray:
        """Start of each whole period of ``length`` hours in microseconds since the epoch."""
        return (self.first_hour + 1 + self.last_bars(length) - length) * HOUR

    def whole_periods(self, hourly: np.ndarray, length: int) -> np.ndarray:
        """Hourly values as one row for each whole period of ``length`` hours."""
        first = -self.first_hour % length
        count = len(self.last_bars(length))
        return hourly[first : first + count * length].reshape(count, length)


@dataclass(frozen=True)
class Tape:
    """Past prices as side series see them: everything at index t is known at the close of bar t."""

    log_return: np.ndarray
    log_price: np.ndarray
    scale: np.ndarray
    scale_before: np.ndarray

    @classmethod
    def of(cls, log_return: np.ndarray, usual_volatility: float) -> Tape:
        """Accumulate returns; ``scale`` is their exponentially weighted standard deviation."""
        squares = (1.0 - SCALE_DECAY) * log_return**2
        scale = np.sqrt(ar1(squares, SCALE_DECAY, usual_volatility**2))
        before = np.concatenate([[usual_volatility], scale[:-1]])
        return cls(log_return, np.cumsum(log_return), scale, before)

    def momentum(self, hours: int) -> np.ndarray:
        """Return over the past ``hours`` bars in standard deviations."""
        past = self.log_price.copy()
        past[hours:] -= self.log_price[:-hours]
        return past / (self.scale * np.sqrt(hours))


class Block(NamedTuple):
    """Observations of one series and symbol, sorted by ts and available_at (microseconds since the epoch)."""

    series: str
    symbol: str
    ts: np.ndarray
    available_at: np.ndarray
    value: np.ndarray


class Revisions(NamedTuple):
    """How a source revises what it published.

    ``share`` of the values are revised, each at most ``most`` times and ``mean_delay`` hours apart; what is
    published before the final value is off by a factor of log standard deviation ``spread``, and
    ``incomplete`` of the revised ones came out unfinished first: far too small, mended within a day.
    """

    share: float
    most: int
    mean_delay: float
    spread: float
    incomplete: float


def publish(
    first_known: np.ndarray, revisions: Revisions, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw when each value is published and revised, and by what factor each vintage differs from the last.

    Returns
    -------
    row : ndarray
        Index of the value that each vintage belongs to, ascending.
    available_at : ndarray
        Microseconds since the epoch, ascending in each row.
    factor : ndarray
        Vintage over final value; 1 in each row's last vintage.
    """
    draws = random.random((len(first_known), 3 + 2 * revisions.most))
    revised = draws[:, 0] < revisions.share
    # Each further revision is half as likely as the one before.
    further = np.floor(-np.log2(1.0 - draws[:, 1])).astype(np.int64)
    count = np.where(revised, 1 + np.minimum(further, revisions.most - 1), 0)
    incomplete = revised & (draws[:, 2] < revisions.incomplete)
    delay = 1.0 - revisions.mean_delay * np.log1p(-draws[:, 3 : 3 + revisions.most])
    delay[:, 0] = np.where(incomplete, 1.0 + 23.0 * draws[:, 3], delay[:, 0])
    offset = np.cumsum((delay * HOUR).astype(np.int64), axis=1)
    available_at = first_known[:, None] + np.hstack([np.zeros((len(first_known), 1), np.int64), offset])
    # Uniform on an interval of unit variance: revisions have no tails.
    noise = np.sqrt(12.0) * (draws[:, 3 + revisions.most :] - 0.5)
    factor = np.hstack([np.exp(revisions.spread * noise), np.ones((len(first_known), 1))])
    factor[:, 0] = np.where(incomplete, 10.0 ** (-2.5 * draws[:, 3 + revisions.most]), factor[:, 0])
    vintage = np.arange(revisions.most + 1)
    factor[vintage == count[:, None]] = 1.0
    kept = vintage <= count[:, None]
    return np.nonzero(kept)[0], available_at[kept], factor[kept]


def observations_frame(blocks: Sequence[Block], end: int, source: str) -> pl.DataFrame:
    """One frame of what is known by ``end``, sorted by series, symbol, ts and available_at."""
    known = []
    for block in sorted(blocks, key=lambda block: (block.series, block.symbol)):
        kept = block.available_at <= end
        known.append(Block(block.series, block.symbol, *(column[kept] for column in block[2:])))
    which = np.repeat(np.arange(len(known)), [len(block.ts) for block in known])
    series = pl.Series([block.series for block in known], dtype=pl.String)
    symbol = pl.Series([block.symbol for block in known], dtype=pl.String)
    return pl.DataFrame(
        {
            "series": series.gather(which),
            "symbol": symbol.gather(which),
            "ts": pl.Series(np.concatenate([block.ts for block in known])).cast(pl.Datetime("us")),
            "available_at": pl.Series(np.concatenate([b.available_at for b in known])).cast(
                pl.Datetime("us")
            ),
            "value": np.concatenate([block.value for block in known]),
        }
    ).with_columns(pl.lit(source).alias("source"))
