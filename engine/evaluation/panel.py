"""Long market tables as wide arrays on one regular clock, gaps as NaN."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from engine.errors import DataError

__all__ = ["Panel", "funding_panel", "panel_from_candles", "per_symbol", "weights_panel"]

Floats = NDArray[np.float64]

_STAMP_JITTER = timedelta(minutes=1)


@dataclass(frozen=True)
class Panel:
    """Prices of many symbols on every bar from the first to the last, NaN where a symbol has no bar.

    Parameters
    ----------
    times : ndarray of datetime64[us], shape (bars,)
        Opens of the bars, UTC, evenly spaced.
    symbols : tuple of str
    bar : timedelta
    open, close, volume : ndarray, shape (bars, symbols)
        Volume in base units.
    high, low : ndarray, shape (bars, symbols), optional
        Needed only where stops and targets are followed inside a bar.
    listing : ndarray of int, shape (bars, symbols), optional
        Which asset a ticker stands for: where the number changes, the ticker was listed anew and no position
        or order goes over. Entries of missing bars do not matter. Without it only a gap longer than the
        backtest's `max_gap` ends an asset.
    """

    times: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    bar: timedelta
    open: Floats
    close: Floats
    volume: Floats
    high: Floats | None = None
    low: Floats | None = None
    listing: NDArray[np.int64] | None = None

    def rows_of(self, ts: pl.Series) -> NDArray[np.int64]:
        """Row of each bar open; -1 outside the panel.

        Raises
        ------
        DataError
            If a stamp is not the open of a bar.
        """
        ticks = ts.cast(pl.Datetime("us")).to_physical().to_numpy() - _microseconds(self.times[0])
        step = self.bar // timedelta(microseconds=1)
        if (ticks % step).any():
            row = int(np.argmax(ticks % step != 0))
            raise DataError(f"{ts[row]} is not the open of a {self.bar} bar", row=row + 1, column="ts")
        rows = ticks // step
        return np.where((rows >= 0) & (rows < len(self.times)), rows, -1)

    def columns_of(self, symbol: pl.Series) -> NDArray[np.int64]:
        """Column of each symbol; -1 for a symbol not in the panel."""
        places = pl.Series(range(len(self.symbols)), dtype=pl.Int64)
        return symbol.replace_strict(list(self.symbols), places, default=-1, return_dtype=pl.Int64).to_numpy()


def _microseconds(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[us]").astype(np.int64))


def panel_from_candles(candles: pl.DataFrame, bar: timedelta) -> Panel:
    """Lay candles out on a regular clock.

    Parameters
    ----------
    candles : polars.DataFrame
        Columns ``symbol, ts, open, close, volume``, and where the panel is to have them ``high, low`` and
        ``listing``; any order. ``segment`` of staging.candles may serve as ``listing`` where every outage is
        to end the asset.
    bar : timedelta

    Raises
    ------
    DataError
        If there are no rows, a (symbol, ts) repeats, a stamp is off the clock, or a price is not positive.
    """
    if candles.height == 0:
        raise DataError("no candles")
    if (candles["open"] <= 0).any() or (candles["close"] <= 0).any():
        raise DataError("prices must be positive; leave bad bars out", column="open, close")
    first, last = candles["ts"].min(), candles["ts"].max()
    stamps = pl.datetime_range(first, last, bar, eager=True, time_unit="us")  # type: ignore[call-overload]
    symbols = tuple(sorted(candles["symbol"].unique()))
    shape = (len(stamps), len(symbols))
    empty = np.full(shape, np.nan)
    panel = Panel(stamps.to_numpy(), symbols, bar, empty, empty, empty)
    place = panel.rows_of(candles["ts"]) * len(symbols) + panel.columns_of(candles["symbol"])
    taken = np.zeros(shape[0] * shape[1], dtype=bool)
    taken[place] = True
    if taken.sum() < place.size:
        raise DataError("a symbol has two candles for one bar; remove duplicates first", column="ts")

    def wide(column: str) -> Floats:
        values = np.full(shape, np.nan)
        values.ravel()[place] = candles[column].cast(pl.Float64).to_numpy()
        return values

    listing = np.zeros(shape, dtype=np.int64) if "listing" in candles.columns else None
    if listing is not None:
        listing.ravel()[place] = candles["listing"].cast(pl.Int64).to_numpy()
    return Panel(
        stamps.to_numpy(),
        symbols,
        bar,
        wide("open"),
        wide("close"),
        wide("volume"),
        wide("high") if "high" in candles.columns else None,
        wide("low") if "low" in candles.columns else None,
        listing,
    )


def weights_panel(weights: pl.DataFrame, panel: Panel) -> Floats:
    """Decisions (columns ``symbol, ts, weight``) as an array for `backtest`; NaN where none was made.

    ``ts`` is the open of the bar whose close the decision was made at. Decisions outside the panel are left
    out.
    """
    rows, columns = panel.rows_of(weights["ts"]), panel.columns_of(weights["symbol"])
    inside = (rows >= 0) & (columns >= 0)
    targets = np.full(panel.open.shape, np.nan)
    targets[rows[inside], columns[inside]] = weights["weight"].cast(pl.Float64).to_numpy()[inside]
    return targets


def funding_panel(observations: pl.DataFrame, panel: Panel) -> Floats:
    """Funding that falls due at each bar's open, as a rate on the position carried into it.

    Stamps come at any interval (venues shorten it under stress) and jitter by milliseconds after the hour. A
    stamp within a minute after an open belongs to that open; a later one to the next open. Rates of
    several stamps in one bar add up.

    Parameters
    ----------
    observations : polars.DataFrame
        Columns ``series, symbol, ts, available_at, value``; rows of the series ``funding_rate`` are used, of
        each stamp the latest vintage.

    Returns
    -------
    ndarray, shape (bars, symbols)
        Fractions, positive where longs pay; 0 where nothing falls due.
    """
    rates = (
        observations.filter(pl.col("series") == "funding_rate")
        .drop_nulls("value")
        .sort("available_at")
        .unique(["symbol", "ts"], keep="last", maintain_order=True)
    )
    jitter, step = (duration // timedelta(microseconds=1) for duration in (_STAMP_JITTER, panel.bar))
    ticks = rates["ts"].cast(pl.Datetime("us")).to_physical().to_numpy() - _microseconds(panel.times[0])
    rows = -((jitter - ticks) // step)
    columns = panel.columns_of(rates["symbol"])
    inside = (rows >= 0) & (rows < len(panel.times)) & (columns >= 0)
    due = np.zeros(panel.open.shape)
    np.add.at(due, (rows[inside], columns[inside]), rates["value"].to_numpy()[inside])
    return due


def per_symbol(name: str, values: ArrayLike, symbols: int) -> Floats:
    """Spread a setting over the symbols; ValueError where it is not finite or negative."""
    wide = np.broadcast_to(np.asarray(values, np.float64), (symbols,))
    if not (np.isfinite(wide) & (wide >= 0)).all():
        raise ValueError(f"{name}={values!r} must be finite and not negative")
    return wide
