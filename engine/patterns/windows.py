"""The last thirty bars of each bar, as views of one array: nothing spans a gap or depends on the price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.catalogue import CATALOGUE
from engine.features.scaling import Scaler, scalable

__all__ = ["CANDLE_CHANNELS", "LENGTH", "PatternWindows", "fit_scaler", "price_free"]

LENGTH = 30
"""Bars of a window."""

CANDLE_CHANNELS = tuple(range(CATALOGUE.columns.index("hour_sin")))
"""Positions of the features made of candles, which the catalogue lists first.

A pattern is what the market did. The clock and the ages of publications are the same for all symbols: an
encoder that sees them recognises a moment by its date.
"""

# The only feature whose level has the unit of prices in it, and a memory long against its own day.
_PRICED, _WEEK = "amihud_24", 168
_KNOWN_SHARE = 0.5

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def price_free(rows: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Measure illiquidity against its own past week, so that no feature depends on the level of the price.

    All other features of the catalogue are returns, ratios, ranks or counts already. The mean is over the
    last 168 bars without a gap, of which half must be known.

    Parameters
    ----------
    rows : pl.DataFrame
        ``symbol, ts`` and unscaled features, sorted by symbol and ts.
    bar : timedelta
        Length of a bar.
    """
    if _PRICED not in rows.columns:
        return rows
    stretch = pl.Series("stretch", _runs(rows["symbol"].rle_id().to_numpy(), _moments(rows), bar))
    usual = pl.col(_PRICED).rolling_mean(_WEEK, min_samples=_WEEK // 2).over("stretch")
    return rows.with_columns(stretch).with_columns((pl.col(_PRICED) - usual).alias(_PRICED)).drop("stretch")


def fit_scaler(rows: pl.DataFrame, window: Window, bar: timedelta) -> Scaler:
    """Fit the scaler of the channels on the training window alone; see `price_free` and `Scaler.fit`.

    A published series that has no values in the window has no channel.
    """
    count = len(CANDLE_CHANNELS)
    candle, published = CATALOGUE.columns[:count], CATALOGUE.columns[count:]
    return Scaler.fit(price_free(rows, bar), (*candle, *scalable(rows, published, window)), window)


@dataclass(frozen=True, eq=False)
class PatternWindows:
    """Scaled bars of several symbols, and the rows at which a whole window ends.

    A window is the 30 bars up to and including its row, all in one run without a gap, each with at least half
    of its features known. Memory is that of the bars: `views` repeats none, `batch` copies what it is asked.

    Parameters
    ----------
    symbols : tuple[str, ...]
    symbol : ndarray of int, shape (N,)
        Index into `symbols`.
    ts : ndarray of datetime64[us], shape (N,)
        Open of each bar, increasing within a symbol.
    x : ndarray of float32, shape (N, F)
        Scaled features; what is missing is 0.
    bar : timedelta
    known : ndarray of bool, shape (N,), optional
        Bars with at least half of their features; all unless given.

    Raises
    ------
    DataError
        If rows are out of order, repeat, or hold a value that is not finite.
    """

    symbols: tuple[str, ...]
    symbol: NDArray[np.int16]
    ts: NDArray[np.datetime64]
    x: Floats
    bar: timedelta
    known: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        blocks = self.symbol[np.diff(self.symbol, prepend=-1) != 0]
        if len(np.unique(blocks)) != len(blocks):
            raise DataError("symbols alternate; sort by symbol and ts", source="windows", column="symbol")
        backwards = (self.symbol[1:] == self.symbol[:-1]) & (self.ts[1:] <= self.ts[:-1])
        if backwards.any():
            row = int(backwards.argmax()) + 2
            raise DataError("repeats or precedes the row before it", source="windows", row=row, column="ts")
        finite = np.isfinite(self.x).all(axis=1)
        if not finite.all():
            row = int((~finite).argmax()) + 1
            raise DataError("a feature is not finite; set what is missing to 0", source="windows", row=row)

    @classmethod
    def from_frame(cls, rows: pl.DataFrame, scaler: Scaler, bar: timedelta) -> PatternWindows:
        """Scale unscaled features.

        Parameters
        ----------
        rows : pl.DataFrame
            ``symbol, ts`` and the scaler's columns, sorted by symbol and ts.
        scaler : Scaler
            From `fit_scaler`.
        bar : timedelta

        Raises
        ------
        DataError
            If a column is missing or rows are out of order.
        """
        scaled = scaler.transform(price_free(rows, bar)).select(scaler.columns)
        names = rows["symbol"].unique(maintain_order=True)
        known = scaled.select(pl.sum_horizontal(pl.all().is_not_null()) >= _KNOWN_SHARE * scaled.width)
        return cls(
            symbols=tuple(names),
            symbol=rows["symbol"].replace_strict(names, range(len(names)), return_dtype=pl.Int16).to_numpy(),
            ts=_moments(rows),
            x=np.ascontiguousarray(scaled.fill_null(0.0).cast(pl.Float32).to_numpy()),
            bar=bar,
            known=known.to_series().to_numpy(),
        )

    @cached_property
    def run(self) -> Integers:
        """Number of the stretch of consecutive bars of one symbol that each row is in, shape (N,)."""
        return _runs(self.symbol, self.ts, self.bar)

    @cached_property
    def ends(self) -> Integers:
        """Rows at which a window ends, increasing."""
        good = np.ones(len(self.run), bool) if self.known is None else self.known
        unknown = np.concatenate([[0], np.cumsum(~good)])
        last = np.arange(LENGTH - 1, len(self.run))
        first = last - (LENGTH - 1)
        return last[(self.run[first] == self.run[last]) & (unknown[first] == unknown[last + 1])]

    @property
    def views(self) -> Floats:
        """Every 30 consecutive rows as a read-only view, shape (N - 29, 30, F); item i ends at row i + 29."""
        view = np.lib.stride_tricks.sliding_window_view(self.x, LENGTH, axis=0)
        return view.transpose(0, 2, 1)

    def batch(self, ends: Integers) -> Floats:
        """Copy the windows that end at the rows given, shape (len(ends), 30, F)."""
        return self.views[ends - (LENGTH - 1)]

    def every(self, stride: int) -> Integers:
        """Find the ends on bars whose number since 1970 is a multiple of `stride`, the same for all symbols.

        Raises
        ------
        ValueError
            If the stride is under 1.
        """
        if stride < 1:
            raise ValueError(f"stride = {stride}: give at least 1 bar")
        number = self.ts[self.ends].astype(np.int64) // (self.bar // timedelta(microseconds=1))
        return self.ends[number % stride == 0]


def _moments(rows: pl.DataFrame) -> NDArray[np.datetime64]:
    return rows["ts"].cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")


def _runs(symbol: NDArray[np.integer], ts: NDArray[np.datetime64], bar: timedelta) -> Integers:
    new = (symbol[1:] != symbol[:-1]) | (np.diff(ts) != np.timedelta64(bar))
    return np.concatenate([np.zeros(min(len(ts), 1), np.int64), np.cumsum(new)])
