"""Windows of candles that open in PANIC, in a form in which any real numbers are valid candles.

A window is taken without the gaps between a close and the next open: each bar opens where the last one
closed, its high and low are Wilder's (1978) true high and low. On a venue that never closes a gap is a tick
or nothing, which no model of continuous numbers can learn and no strategy can trade.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.window_generator import Floats

__all__ = [
    "CHANNELS",
    "WINDOW_COLUMNS",
    "PanicWindows",
    "as_delivered",
    "decode",
    "encode",
    "panic_windows",
    "window_frame",
]

CHANNELS = ("log_return", "upper_wick", "lower_wick", "log_volume")
_CANDLE = ("open", "high", "low", "close", "volume")
WINDOW_COLUMNS = ("window", "step", "symbol", "ts", *_CANDLE, "synthetic")

# A wick of a hundredth of a usual bar is a tick or two. The logarithm is taken above it, so that a bar
# without a wick has a finite coordinate, and every coordinate below that one means no wick.
_SMALLEST_WICK = 0.01
# Beyond every bar ever recorded, and small enough that no price overflows.
_LARGEST_LOG = 20.0
_LARGEST_LOG_PRICE = 600.0


def encode(candles: Floats, before: Floats, scale: Floats, level: Floats) -> Floats:
    """Candles of windows as unconstrained numbers.

    Parameters
    ----------
    candles : ndarray, shape (n, length, 5)
        Open, high, low, close, volume; the open is not used (see the module).
    before : ndarray, shape (n,)
        Close of the bar before each window.
    scale, level : ndarray, shape (n,)
        Usual size of a bar's log return and usual volume before each window: the units of the numbers.

    Returns
    -------
    ndarray, shape (n, length, 4)
        In the order of `CHANNELS`: return over scale, logarithms of upper and lower wick over scale,
        logarithm of volume over level.
    """
    high, low, close, volume = (candles[:, :, k] for k in range(1, 5))
    opened = np.concatenate([before[:, None], close[:, :-1]], axis=1)
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    size = scale[:, None]
    upper = np.log(np.maximum(high, top) / top) / size
    lower = np.log(bottom / np.minimum(low, bottom)) / size
    return np.stack(
        [
            np.log(close / opened) / size,
            np.log(upper + _SMALLEST_WICK),
            np.log(lower + _SMALLEST_WICK),
            np.log(volume / level[:, None]),
        ],
        axis=2,
    )


def decode(values: Floats, before: Floats, scale: Floats, level: Floats) -> Floats:
    """Candles of any finite numbers: inverse of `encode` on what it returns.

    Returns
    -------
    ndarray, shape (n, length, 5)
        Open, high, low, close, volume, all positive and finite, with ``low <= open, close <= high`` and each
        open the close before it.
    """
    size = scale[:, None]

    def wick(coordinate: Floats) -> Floats:
        over = np.exp(np.clip(coordinate, -_LARGEST_LOG, _LARGEST_LOG)) - _SMALLEST_WICK
        return np.clip(size * np.maximum(over, 0.0), 0.0, _LARGEST_LOG)

    moves = np.clip(size * np.clip(values[:, :, 0], -1e9, 1e9), -_LARGEST_LOG, _LARGEST_LOG)
    path = np.clip(np.cumsum(moves, axis=1), -_LARGEST_LOG_PRICE, _LARGEST_LOG_PRICE)
    close = before[:, None] * np.exp(path)
    opened = np.concatenate([before[:, None], close[:, :-1]], axis=1)
    high = np.maximum(opened, close) * np.exp(wick(values[:, :, 1]))
    low = np.minimum(opened, close) * np.exp(-wick(values[:, :, 2]))
    volume = level[:, None] * np.exp(np.clip(values[:, :, 3], -_LARGEST_LOG, _LARGEST_LOG))
    return np.stack([opened, high, low, close, volume], axis=2)


def as_delivered(values: Floats) -> Floats:
    """Coordinates of the candles that values decode to: every one that means no wick is the same.

    Judge these rather than what a generator returns, because candles are what is used.
    """
    delivered = values.copy()
    delivered[:, :, 1:3] = np.maximum(delivered[:, :, 1:3], np.log(_SMALLEST_WICK))
    return delivered


@dataclass(frozen=True, eq=False)
class PanicWindows:
    """Windows of equal length, with what is needed to turn them into candles and to keep them apart.

    Parameters
    ----------
    values : ndarray, shape (n, length, 4)
        See `encode`.
    scale, level, before : ndarray, shape (n,)
        Usual bar and usual volume before the window, and the close of the bar before it.
    symbol : ndarray of str, shape (n,)
    opens : ndarray of datetime64[us], shape (n,)
        Open of the first bar.
    episode : ndarray of int, shape (n,)
        Windows of all symbols in one stretch of market time share a number: they tell of the same events and
        must not be on both sides of a split.
    bar : timedelta
    """

    values: Floats
    scale: Floats
    level: Floats
    before: Floats
    symbol: NDArray[np.str_]
    opens: NDArray[np.datetime64]
    episode: NDArray[np.int64]
    bar: timedelta = field(default=timedelta(hours=1))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def known_at(self) -> datetime | None:
        """When the last bar of the latest window had closed; None where there is no window."""
        if not len(self):
            return None
        latest: datetime = self.opens.max().astype("datetime64[us]").item()
        return latest + self.values.shape[1] * self.bar

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> PanicWindows:
        """Return these windows alone."""
        parts = ("values", "scale", "level", "before", "symbol", "opens", "episode")
        return replace(self, **{name: getattr(self, name)[rows] for name in parts})

    def frame(self) -> pl.DataFrame:
        """Return the windows as `window_frame` has them, marked as real, with their symbols and times."""
        length = self.values.shape[1]
        ts = self.opens[:, None] + np.arange(length) * np.timedelta64(self.bar)
        return window_frame(self.values, self.scale, synthetic=False).with_columns(
            symbol=pl.Series(np.repeat(self.symbol, length), dtype=pl.String),
            ts=pl.Series(ts.ravel().astype("datetime64[us]")),
        )


def window_frame(values: Floats, scale: Floats, *, synthetic: bool) -> pl.DataFrame:
    """Candles of windows, a row for each bar.

    Prices are in units of the close before the window and volumes in units of the usual one, for real windows
    and synthetic ones alike: the level would tell them apart and teach a model nothing.

    Parameters
    ----------
    values : ndarray, shape (n, length, 4)
    scale : ndarray, shape (n,)
        Usual size of a log return before each window.
    synthetic : bool
        The flag of all rows.

    Returns
    -------
    DataFrame
        `WINDOW_COLUMNS`, sorted by window and step, both from 0; symbol and ts are null.
    """
    n, length = values.shape[:2]
    candles = decode(values, np.ones(n), scale, np.ones(n)).reshape(n * length, len(_CANDLE))
    return pl.DataFrame(
        {
            "window": np.repeat(np.arange(n), length),
            "step": np.tile(np.arange(length), n),
            "symbol": pl.Series([None] * (n * length), dtype=pl.String),
            "ts": pl.Series([None] * (n * length), dtype=pl.Datetime("us")),
            **{name: candles[:, k] for k, name in enumerate(_CANDLE)},
            "synthetic": np.full(n * length, synthetic),
        }
    )


def panic_windows(
    candles: pl.DataFrame,
    regimes: pl.DataFrame,
    cut: datetime,
    *,
    bar: timedelta = timedelta(hours=1),
    embargo: timedelta = timedelta(0),
    length: int = 30,
    stride: int | None = None,
    least_share: float = 0.5,
    memory: int = 168,
) -> PanicWindows:
    """Windows that open in PANIC, are in PANIC for most of their bars, and lie before a cut.

    A window opens after a bar whose filtered regime is PANIC. It lies, with that bar, in one segment, and
    every bar of it was traded. How much PANIC it contains is known only when it is over: good enough for
    training, but take windows that a forecast is tested on with `least_share` 0, which looks at nothing
    inside of them.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, high, low, close, volume, segment, log_return``, sorted by symbol and ts.
    regimes : DataFrame
        ``symbol, ts, regime``, filtered; a null regime is no PANIC.
    cut : datetime
        UTC. Nothing from ``cut - embargo`` on is looked at.
    bar, embargo : timedelta
        Length of a bar, and the distance kept from the cut.
    length, stride : int
        Bars of a window, and from one to the next of a symbol; by default they do not overlap.
    least_share : float
        Of the bars of a window whose filtered regime is PANIC, from 0 to 1.
    memory : int
        Half-life, in bars, of the usual return and volume that a window is measured in.

    Raises
    ------
    NotEnoughDataError
        If there is no such window.
    ValueError
        If a length is not positive or the share not from 0 to 1.
    DataError
        If candles are out of order.
    """
    stride = length if stride is None else stride
    if min(length, stride, memory) < 1 or embargo < timedelta(0):
        raise ValueError(
            f"length {length}, stride {stride} and memory {memory} must be at least 1, embargo {embargo} "
            "not negative"
        )
    if not 0.0 <= least_share <= 1.0:
        raise ValueError(f"least_share = {least_share} must lie between 0 and 1")
    rows = _known(candles, regimes, cut - embargo - bar, memory)
    first = _window_rows(rows, length, stride, least_share)
    if not first.size:
        raise NotEnoughDataError(
            f"no window of {length} traded bars opens in PANIC and ends before {cut - embargo}"
        )
    inside = first[:, None] + np.arange(length)
    ohlcv = np.stack([rows[name].to_numpy() for name in _CANDLE], axis=1)[inside]
    scale, level, before = (rows[name].to_numpy()[first] for name in ("scale", "level", "before"))
    opens = rows["ts"].to_numpy()[first].astype("datetime64[us]")
    return PanicWindows(
        values=encode(ohlcv, before, scale, level),
        scale=scale,
        level=level,
        before=before,
        symbol=rows["symbol"].to_numpy()[first].astype(str),
        opens=opens,
        episode=_episodes(opens, length * np.timedelta64(bar)),
        bar=bar,
    )


def _known(candles: pl.DataFrame, regimes: pl.DataFrame, last: datetime, memory: int) -> pl.DataFrame:
    """Bars up to `last` with what was usual before each, and whether PANIC was known when it opened."""
    same = pl.col("symbol") == pl.col("symbol").shift(1)
    disorder = candles.select(
        (same & (pl.col("ts") <= pl.col("ts").shift(1))).fill_null(value=False).alias("x")
    )
    if disorder["x"].any():
        row = int(disorder["x"].arg_max() or 0)
        raise DataError(
            "repeats or precedes the row before it; sort by symbol and ts", row=row + 1, column="ts"
        )
    traded = pl.when(pl.col("volume") > 0).then("volume")

    def usual(values: pl.Expr) -> pl.Expr:
        average = values.ewm_mean(half_life=memory, ignore_nulls=True, min_samples=max(memory // 2, 1))
        return average.forward_fill().shift(1).over("symbol")

    follows = (pl.col("segment") == pl.col("segment").shift(1)).over("symbol")
    return (
        candles.filter(pl.col("ts") <= last)
        .join(
            regimes.select("symbol", "ts", "regime"), on=["symbol", "ts"], how="left", maintain_order="left"
        )
        .with_columns(
            scale=usual(pl.col("log_return") ** 2).sqrt(),
            level=usual(traded.log()).exp(),
            before=pl.col("close").shift(1).over("symbol"),
            opens_in_panic=follows & (pl.col("regime").shift(1).over("symbol") == "PANIC"),
        )
    )


def _window_rows(rows: pl.DataFrame, length: int, stride: int, least_share: float) -> NDArray[np.int64]:
    """Row of the first bar of each window, `stride` apart at least within a symbol."""
    panic = (pl.col("regime") == "PANIC").fill_null(value=False).cast(pl.Float64)
    may_open = rows.select(
        (pl.col("opens_in_panic") & (pl.col("scale") > 0) & pl.col("level").is_finite())
        & (pl.col("segment") == pl.col("segment").shift(1 - length)).over("symbol")
        & (panic.rolling_mean(length).shift(1 - length) >= least_share - 1e-9).over("symbol")
        & ((pl.col("volume") > 0).cast(pl.Int64).rolling_sum(length).shift(1 - length) == length).over(
            "symbol"
        )
    ).to_series()
    number = rows["symbol"].rle_id().to_numpy()
    chosen: list[int] = []
    for row in np.flatnonzero(may_open.fill_null(value=False).to_numpy()).tolist():
        if not chosen or number[row] != number[chosen[-1]] or row - chosen[-1] >= stride:
            chosen.append(row)
    return np.asarray(chosen, np.int64)


def _episodes(opens: NDArray[np.datetime64], span: np.timedelta64) -> NDArray[np.int64]:
    """Give windows of all symbols the same number where no pause of the market separates them."""
    order = np.argsort(opens, kind="stable")
    later = np.diff(opens[order]) > span
    episode = np.empty(len(opens), np.int64)
    episode[order] = np.concatenate([[0], np.cumsum(later)])
    return episode
