"""Bars of several symbols on one row axis: all that an agent's environment needs to know of the market."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError
from engine.features.scaling import Scaler
from engine.regimes.names import REGIME_COLUMNS, REGIMES

__all__ = ["UNKNOWN_REGIME", "MarketTape"]

UNKNOWN_REGIME = -1
"""Regime of a row whose filtered probabilities are missing."""

_SOURCE = "tape"


@dataclass(frozen=True, eq=False)
class MarketTape:
    """N bars, those of one symbol after another, cut into runs of consecutive bars.

    Row t speaks of a decision made when bar t closes: it is filled at the open of bar t+1 and earns from
    there to the open of bar t+2. What a decision may know of (`x`, `scale`, `p_regime`, `mark`) ends with
    bar t; what it leads to (`growth`, `funding`) begins at the open of bar t+1.

    Parameters
    ----------
    symbols, features : tuple[str, ...]
        Names of the symbols that `symbol` counts through and of the F columns of `x`.
    symbol : int16 array, shape (N,)
    ts : datetime64[us] array, shape (N,)
        Open of the bar, UTC.
    run : int32 array, shape (N,)
        Stretch of consecutive bars of one symbol, 0, 1, 2, ... along the rows.
    x : float32 array, shape (N, F)
        Scaled features, 0 where one is missing.
    growth : float64 array, shape (N,)
        ``open[t+2] / open[t+1] - 1``, NaN in the last two bars of a run.
    funding : float64 array, shape (N,)
        Sum of the rates that a long position pays in (open of t+1, open of t+2].
    scale : float64 array, shape (N,)
        Expected standard deviation of one bar's return, known at the close of bar t.
    p_regime : float32 array, shape (N, 3)
        Filtered probabilities in the order of `REGIMES`, equal ones where they are missing.
    regime : int8 array, shape (N,)
        The filtered regime, counted through `REGIMES`; `UNKNOWN_REGIME` where it is missing.
    decisions_left : int32 array, shape (N,)
        Decisions that can be made one after another from this row on, itself included; 0 where it cannot
        host one.
    synthetic : bool array, shape (N,)
    mark : float64 array, shape (N,), optional
        ``close[t] / open[t] - 1``, by which open profit is marked; zeros, that is marking at the open of
        bar t, where it is not given.

    Raises
    ------
    DataError
        If an array has another length than the others, a feature or known return is not finite or a scale
        not positive; naming row, symbol and ts.
    """

    symbols: tuple[str, ...]
    features: tuple[str, ...]
    symbol: NDArray[np.int16]
    ts: NDArray[np.datetime64]
    run: NDArray[np.int32]
    x: NDArray[np.float32]
    growth: NDArray[np.float64]
    funding: NDArray[np.float64]
    scale: NDArray[np.float64]
    p_regime: NDArray[np.float32]
    regime: NDArray[np.int8]
    decisions_left: NDArray[np.int32]
    synthetic: NDArray[np.bool_]
    mark: NDArray[np.float64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.mark is None:
            object.__setattr__(self, "mark", np.zeros(len(self)))
        wide = {"x": (len(self.features),), "p_regime": (len(REGIMES),)}
        for name in _ARRAYS:
            shape = (len(self), *wide.get(name, ()))
            if (found := np.shape(getattr(self, name))) != shape:
                raise DataError(f"shape {found}, expected {shape}", source=_SOURCE, column=name)
        refuse = partial(_refuse, symbols=self.symbols, symbol=self.symbol, ts=self.ts)
        for column, feature in enumerate(self.features):
            refuse(~np.isfinite(self.x[:, column]), feature, self.x[:, column], "must be finite")
        refuse(~_is_positive(self.scale), "scale", self.scale, "must be finite and positive")
        for name in ("funding", "mark"):
            refuse(~np.isfinite(getattr(self, name)), name, getattr(self, name), "must be finite")
        unknown = (self.decisions_left > 0) & ~np.isfinite(self.growth)
        refuse(unknown, "growth", self.growth, "must be finite where decisions are left")

    def __len__(self) -> int:
        return len(self.ts)

    @classmethod
    def from_frame(
        cls, rows: pl.DataFrame, features: Sequence[str], scaler: Scaler | None = None
    ) -> MarketTape:
        """Lay the rows of a frame out as a tape.

        A run breaks at another symbol, another segment, and where a bar does not follow its predecessor by
        one bar's length, which is the smallest step in time of the frame.

        Parameters
        ----------
        rows : polars.DataFrame
            Columns ``symbol, ts, segment, open, volatility`` (which becomes `scale`), ``p_trend, p_range,
            p_panic`` and the features; optionally ``close`` (for `mark`), ``funding`` (rate due at this bar's
            open on a long position, null where none is due) and ``synthetic``. The rows of a symbol's segment
            stand together, in order of time.
        features : sequence of str
            Columns of `x`. A missing value (null; with a scaler also one that is not finite) becomes 0.
        scaler : Scaler, optional
            Scales the features; without it they are taken as they are.

        Raises
        ------
        DataError
            If a column is missing, a segment's rows do not stand together in order of time, a price or
            volatility is not positive, a feature is not finite, or probabilities do not sum to 1.
        """
        needed = ("symbol", "ts", "segment", "open", "volatility", *REGIME_COLUMNS, *features)
        for column in needed:
            if column not in rows.columns:
                raise DataError(f"missing; the frame has {rows.columns}", source=_SOURCE, column=column)
        if scaler is not None and (unscaled := [name for name in features if name not in scaler.columns]):
            raise DataError(f"the scaler does not know {unscaled}", source=_SOURCE, column=unscaled[0])
        names = rows["symbol"].cast(pl.String)
        symbols = tuple(names.unique(maintain_order=True).to_list())
        symbol = names.replace_strict(symbols, range(len(symbols)), return_dtype=pl.Int16).to_numpy()
        ts = rows["ts"].cast(pl.Datetime("us")).to_numpy()
        refuse = partial(_refuse, symbols=symbols, symbol=symbol, ts=ts)
        run = _runs(rows, refuse)
        scaled = rows if scaler is None else scaler.transform(rows)
        x = scaled.select(pl.col(features).cast(pl.Float32).fill_null(0.0))
        nothing = pl.repeat(0.0, len(rows), eager=True)
        due = _floats(rows.get_column("funding", default=nothing).fill_null(0.0))
        opens = _floats(rows["open"])
        closes = _floats(rows.get_column("close", default=rows["open"]))
        for column, prices in (("open", opens), ("close", closes)):
            refuse(~_is_positive(prices), column, prices, "must be finite and positive")
        p = np.column_stack([_floats(rows[column]) for column in REGIME_COLUMNS])
        unknown = np.isnan(p).any(axis=1)
        wrong = ~unknown & ((p < 0.0).any(axis=1) | ~np.isclose(p.sum(axis=1), 1.0, atol=1e-3))
        refuse(wrong, REGIME_COLUMNS[0], p, f"{REGIME_COLUMNS} must be probabilities that sum to 1")
        p[unknown] = 1.0 / len(REGIMES)
        return cls(
            symbols=symbols,
            features=tuple(features),
            symbol=symbol,
            ts=ts,
            run=run,
            x=x.to_numpy().reshape(len(rows), len(features)),
            growth=_ahead(opens, run, 2) / _ahead(opens, run, 1) - 1.0,
            funding=np.where(np.isnan(later := _ahead(due, run, 2)), 0.0, later),
            scale=_floats(rows["volatility"]),
            p_regime=p.astype(np.float32),
            regime=np.where(unknown, UNKNOWN_REGIME, p.argmax(axis=1)).astype(np.int8),
            decisions_left=_decisions_left(run),
            synthetic=rows.get_column("synthetic", default=nothing).cast(pl.Boolean).to_numpy(),
            mark=closes / opens - 1.0,
        )

    def between(self, start: datetime, end: datetime) -> MarketTape:
        """Rows that open in ``[start, end)``, with nothing left of what happens after.

        A decision whose fill or whose return reaches past the window cannot be made in it: the last two bars
        of a run inside the window host none, and no episode leaves the window.
        """
        inside = (self.ts >= np.datetime64(start, "us")) & (self.ts < np.datetime64(end, "us"))
        cut: dict[str, Any] = {name: getattr(self, name)[inside] for name in _ARRAYS}
        cut["run"] = _numbered(np.diff(cut["run"]) != 0, len(cut["run"]))
        return replace(self, **cut)._within_runs()

    def episodes(self, bars: int) -> MarketTape:
        """Cut every run into runs of so many bars: accounts that begin flat on each are judged side by side.

        Raises
        ------
        ValueError
            If there are fewer than three bars to an episode, which a single decision takes.
        """
        if bars < 3:
            raise ValueError(f"bars = {bars} must be at least 3")
        place = np.arange(len(self)) - np.searchsorted(self.run, self.run, side="left")
        breaks = (np.diff(self.run) != 0) | (place[1:] % bars == 0)
        return replace(self, run=_numbered(breaks, len(self)))._within_runs()

    def _within_runs(self) -> MarketTape:
        """Allow no decision whose return reaches beyond its run, and forget such returns."""
        left = _decisions_left(self.run)
        growth, funding = np.where(left == 0, np.nan, self.growth), np.where(left == 0, 0.0, self.funding)
        return replace(self, decisions_left=left, growth=growth, funding=funding)

    def of_symbol(self, symbol: str) -> MarketTape:
        """Rows of one symbol; runs stay whole.

        Raises
        ------
        ValueError
            If the tape has no such symbol.
        """
        if symbol not in self.symbols:
            raise ValueError(f"symbol = {symbol!r} is not one of {self.symbols}")
        mine = self.symbol == self.symbols.index(symbol)
        part: dict[str, Any] = {name: getattr(self, name)[mine] for name in _ARRAYS}
        part["symbol"] = np.zeros_like(part["symbol"])
        part["run"] = _numbered(np.diff(part["run"]) != 0, len(part["run"]))
        return replace(self, symbols=(symbol,), **part)

    def join(self, other: MarketTape) -> MarketTape:
        """Rows of this tape, then those of another with the same features; no run reaches across.

        Raises
        ------
        ValueError
            If the features differ.
        """
        if self.features != other.features:
            raise ValueError(
                f"features differ: {self.features} and {other.features}; build both with the same"
            )
        symbols = (*self.symbols, *(name for name in other.symbols if name not in self.symbols))
        code = np.array([symbols.index(name) for name in other.symbols], dtype=np.int16)
        after = self.run[-1] + 1 if len(self) else 0
        second = {name: getattr(other, name) for name in _ARRAYS}
        second |= {"symbol": code[other.symbol], "run": (other.run + after).astype(np.int32)}
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), second[name]]) for name in _ARRAYS
        }
        return replace(self, symbols=symbols, **joined)


_ARRAYS = tuple(field.name for field in fields(MarketTape) if field.name not in ("symbols", "features"))


def _numbered(breaks: NDArray[np.bool_], rows: int) -> NDArray[np.int32]:
    """Count the stretches between breaks; `breaks` says for each row but the first whether one begins."""
    return np.cumsum(np.r_[False, breaks][:rows], dtype=np.int32)


def _runs(rows: pl.DataFrame, refuse: Callable[..., None]) -> NDArray[np.int32]:
    """Count the stretches of consecutive bars; DataError where a segment's rows are not in order."""
    segment = pl.struct("symbol", "segment")
    block = rows.select(segment.rle_id()).to_series().to_numpy().astype(np.int64)
    if rows.select(segment.n_unique()).item() != len(np.unique(block)):
        raise DataError("rows of a segment are apart; sort by symbol, segment, ts", source=_SOURCE)
    ts = rows["ts"].cast(pl.Datetime("us")).to_physical().to_numpy()
    step, inside = np.diff(ts), np.diff(block) == 0
    backward = np.r_[False, inside & (step <= 0)][: len(rows)]
    refuse(backward, "ts", rows["ts"].to_list(), "must be later than the bar before in its segment")
    bar = step[inside].min(initial=np.iinfo(np.int64).max)
    return _numbered(~inside | (step != bar), len(rows))


def _decisions_left(run: NDArray[np.int32]) -> NDArray[np.int32]:
    """Bars from each row to the end of its run, less the two that fill the last decision and earn for it."""
    end = np.searchsorted(run, run, side="right")
    return np.maximum(end - np.arange(len(run)) - 2, 0).astype(np.int32)


def _ahead(values: NDArray[np.float64], run: NDArray[np.int32], bars: int) -> NDArray[np.float64]:
    """Values so many bars later in the same run, NaN where the run is over."""
    later = np.full(len(values), np.nan)
    later[:-bars] = np.where(run[bars:] == run[:-bars], values[bars:], np.nan)
    return later


def _floats(column: pl.Series) -> NDArray[np.float64]:
    """Return the values as a fresh array, NaN for null."""
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy(writable=True)


def _is_positive(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.isfinite(values) & (values > 0.0)


def _refuse(
    wrong: NDArray[np.bool_],
    column: str,
    values: Sequence[Any] | NDArray[Any],
    rule: str,
    *,
    symbols: tuple[str, ...],
    symbol: NDArray[np.int16],
    ts: NDArray[np.datetime64],
) -> None:
    """Raise DataError with the first row that is wrong, if one is."""
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{values[row]} on {symbols[symbol[row]]} at {ts[row]}, {rule} ({wrong.sum()} such rows)",
            source=_SOURCE,
            row=row + 1,
            column=column,
        )
