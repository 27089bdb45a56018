"""What the trade of every engine at every bar would come to: entry at the next open, held for its horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.alpha.signals import AlphaEngine, regime_numbers
from engine.errors import DataError, NotEnoughDataError

__all__ = ["TradeOutcomes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NEEDED = ("symbol", "ts", "segment", "open", "regime", "volatility")


@dataclass(frozen=True)
class TradeOutcomes:
    """N bars of several symbols, in rows by symbol and time, and the trades of E engines decided on them.

    A trade decided on bar t is of one unit's value at the open of t+1, long or short, and is closed at the
    open of t+1+horizon. It never spans a hole: where its stretch of bars ends first, it is closed at the last
    open there, and where that is its entry already, it is not filled. The end of the data is treated alike,
    so that nothing about a decision depends on what comes later.

    Parameters
    ----------
    symbols, engines : tuple of str
    symbol : ndarray of int64, shape (N,)
    ts : ndarray of datetime64[us], shape (N,)
        Opens of the bars.
    open, funding : ndarray, shape (N,)
        Prices; rate that a long pays in (open of t+1, open of t+2].
    regime : ndarray of int8, shape (N,)
        Filtered; -1 unknown.
    strength, confidence : ndarray, shape (N, E)
        Of the signals; 0 where there is none.
    horizon : ndarray of int64, shape (E,)
        Bars.
    last : ndarray of int64, shape (N,)
        Last row of the unbroken stretch that a row lies in.
    risk : ndarray, shape (N, E)
        Standard deviation of the return over the horizon, as expected at the decision; not finite or not
        positive where unknown.
    cost : float
        Fraction of the value of each fill.
    """

    symbols: tuple[str, ...]
    engines: tuple[str, ...]
    symbol: Ints
    ts: NDArray[np.datetime64]
    open: Floats
    funding: Floats
    regime: NDArray[np.int8]
    strength: Floats
    confidence: Floats
    horizon: Ints
    last: Ints
    risk: Floats
    cost: float

    @classmethod
    def from_frame(
        cls, rows: pl.DataFrame, engines: Sequence[AlphaEngine], *, cost: float = 6e-4
    ) -> TradeOutcomes:
        """Ask the engines about every bar and lay out their trades.

        Parameters
        ----------
        rows : polars.DataFrame
            ``symbol, ts, segment, open, regime`` (filtered, null where unknown), ``volatility`` (expected
            standard deviation of one bar's return, known at t), optionally ``funding`` (as above, else 0),
            and the engines' inputs; sorted by symbol and ts.
        engines : sequence of AlphaEngine
        cost : float
            Fee and half spread, fraction of the value of each fill.

        Raises
        ------
        DataError
            If a column is missing, rows are not sorted, or a price is not positive.
        NotEnoughDataError
            If there are no rows.
        """
        if missing := [name for name in _NEEDED if name not in rows.columns]:
            raise DataError(f"missing; the walk needs {', '.join(_NEEDED)}", column=missing[0])
        if rows.is_empty():
            raise NotEnoughDataError("no bars to walk over")
        if not 0.0 <= cost < 1.0:
            raise ValueError(f"cost={cost} must be a fraction in [0, 1)")
        symbols = tuple(rows["symbol"].unique().sort())
        symbol = rows["symbol"].replace_strict(
            list(symbols), list(range(len(symbols))), return_dtype=pl.Int64
        ).to_numpy()  # fmt: skip
        ts = rows["ts"].cast(pl.Datetime("us")).to_numpy()
        same = np.diff(symbol) == 0
        bad = np.flatnonzero((np.diff(symbol) < 0) | (same & (np.diff(ts) <= np.timedelta64(0, "us"))))
        if bad.size:
            raise DataError("rows must be sorted by symbol and ts, each once", row=int(bad[0]) + 2)
        price = rows["open"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        if not (price > 0.0).all():
            raise DataError(
                "a price that is not positive", row=int(np.argmin(price > 0.0)) + 1, column="open"
            )
        judged = [engine.strengths(rows) for engine in engines]
        horizon = np.array([engine.horizon for engine in engines], np.int64)
        scale = rows["volatility"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        return cls(
            symbols=symbols,
            engines=tuple(engine.name for engine in engines),
            symbol=symbol,
            ts=ts,
            open=price,
            funding=_funding(rows),
            regime=regime_numbers(rows["regime"]),
            strength=np.column_stack([strength for strength, _ in judged]),
            confidence=np.column_stack([confidence for _, confidence in judged]),
            horizon=horizon,
            last=_last_rows(symbol, rows["segment"].to_numpy()),
            risk=scale[:, None] * np.sqrt(horizon),
            cost=cost,
        )

    @cached_property
    def available(self) -> NDArray[np.bool_]:
        """Whether an engine has a signal that may be followed: regime and risk are known; shape (N, E)."""
        known = (self.regime[:, None] >= 0) & np.isfinite(self.risk) & (self.risk > 0.0)
        return (self.strength != 0.0) & known

    @cached_property
    def exit(self) -> Ints:
        """Row at whose open each trade is closed, shape (N, E)."""
        return np.minimum(self._entry + self.horizon, self.last[:, None])

    @cached_property
    def free(self) -> Ints:
        """Row at whose open the symbol is free again, shape (N, E).

        The exit as planned, or the second row of the next stretch, whose first may decide. Not the exit as it
        came to be: nobody knows at a bar that the next one will be missing.
        """
        return np.minimum(self._entry + self.horizon, self.last[:, None] + 2)

    @cached_property
    def gross(self) -> Floats:
        """Return of each trade before funding and cost; 0 where it is not filled; shape (N, E)."""
        return self._side * (self._growth - 1.0)

    @cached_property
    def paid(self) -> Floats:
        """Funding that each trade pays, on its value at entry; negative where it receives; shape (N, E)."""
        due = np.append(0.0, np.cumsum(self.funding))
        start = np.arange(self.open.size)[:, None]
        return self._side * (due[np.maximum(self.exit - 1, start)] - due[start])

    @cached_property
    def fees(self) -> Floats:
        """Cost of both fills, on the value at entry; shape (N, E)."""
        return np.where(self.filled, self.cost * (1.0 + self._growth), 0.0)

    @cached_property
    def net(self) -> Floats:
        """Return of each trade after funding and cost, fraction of its value at entry; shape (N, E)."""
        return self.gross - self.paid - self.fees

    @cached_property
    def filled(self) -> NDArray[np.bool_]:
        """Whether a trade has an open to enter at and a later one to leave at; shape (N, E)."""
        return (self.strength != 0.0) & (self.exit > self._entry)

    @cached_property
    def whole(self) -> NDArray[np.bool_]:
        """Whether a trade lasted for its horizon; one that was cut short is no evidence; shape (N, E)."""
        return self.filled & (self.exit == self._entry + self.horizon)

    def followed(self, policy: NDArray[np.bool_]) -> TradeOutcomes:
        """Return the same with some signals alone.

        Parameters
        ----------
        policy : ndarray of bool, shape (N, E)
            The signals that stay.
        """
        return replace(self, strength=np.where(policy, self.strength, 0.0))

    @property
    def _entry(self) -> Ints:
        return np.arange(1, self.open.size + 1)[:, None]

    @cached_property
    def _side(self) -> Floats:
        return np.where(self.filled, np.sign(self.strength), 0.0)

    @cached_property
    def _growth(self) -> Floats:
        """Price at exit over price at entry."""
        entry = np.minimum(self._entry, self.open.size - 1)
        return self.open[self.exit] / self.open[entry]


def _funding(rows: pl.DataFrame) -> Floats:
    if "funding" not in rows.columns:
        return np.zeros(rows.height)
    rates = rows["funding"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    if not np.isfinite(rates).all():
        raise DataError(
            "funding unknown; a position cannot be accounted for without it",
            row=int(np.argmin(np.isfinite(rates))) + 1,
            column="funding",
        )
    return rates


def _last_rows(symbol: Ints, segment: NDArray) -> Ints:
    ends = np.flatnonzero((np.diff(symbol) != 0) | (np.diff(segment) != 0))
    last = np.append(ends, symbol.size - 1)
    return last[np.searchsorted(last, np.arange(symbol.size))]
