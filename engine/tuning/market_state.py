"""What the live algorithm sees of a market at the close of a bar, and that of many bars as columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel, panel_from_candles
from engine.market.candles import CANDLE_COLUMNS
from engine.tuning.price_columns import DAY, MONTH, of_rows, price_columns
from engine.tuning.published_columns import funding_on, leanings, side_of
from engine.tuning.rules import CHANNEL

if TYPE_CHECKING:
    from engine.tuning.candidates import Ground

__all__ = ["CAPITAL", "DAY", "WARMUP", "MarketState", "StateTape", "state_tape"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WARMUP = MONTH + CHANNEL
"""Bars since this long before a bar, and one more, determine its state."""
CAPITAL = 50_000.0
"""Quote units of a symbol's account where none are given; they set its orders beside the volume of a bar."""


@dataclass(frozen=True)
class MarketState:
    """One symbol as it stands at the close of a bar; a figure that is not known is NaN, a side 0.

    Parameters
    ----------
    symbol : str
    ts : datetime
        Open of the bar, UTC.
    close : float
    volatility_percentile : float
        Where the volatility of the past day stands among those of the past 30 days, 0 to 100.
    breakout_side : int
        1 where the close lies above the highs of the past 48 hours, -1 below their lows, else 0.
    zscore : float
        Standard deviations of the close from the mean of the closes of the 48 hours before.
    mean : float
        That mean.
    social_strength, news_strength : float
        0 where favourable and unfavourable items balance, 1 where all are of one kind.
    social_direction, news_direction : int
        1 where favourable items prevail, -1 where unfavourable ones do.
    expected_cost_bps : float
        Of a fill of the account's usual order, basis points of its value.
    """

    symbol: str
    ts: datetime
    close: float
    volatility_percentile: float = np.nan
    breakout_side: int = 0
    zscore: float = np.nan
    mean: float = np.nan
    social_strength: float = np.nan
    social_direction: int = 0
    news_strength: float = np.nan
    news_direction: int = 0
    expected_cost_bps: float = np.nan


@dataclass(frozen=True, eq=False)
class StateTape:
    """The states of all bars of several symbols, and the market that decisions on them are filled in.

    Columns have one row per bar that is there, by symbol and then time; `MarketState` says what they are.

    Parameters
    ----------
    panel : Panel
        Prices on a regular clock.
    funding : ndarray, shape (times, symbols)
        Rate due at each open of the panel on the position carried in.
    symbol : ndarray of int, shape (rows,)
        Column of the panel.
    at : ndarray of int, shape (rows,)
        Row of the panel.
    volatility_percentile, zscore, mean, social_strength, news_strength, expected_cost_bps : ndarray, (rows,)
    breakout_side, social_direction, news_direction : ndarray of int8, shape (rows,)
    half_spread : ndarray, shape (rows,)
        As measured on past bars, a fraction of the price; 0 where nothing certain was.
    capital : float
        Quote units of each symbol's account.
    ground : dict
        What `engine.tuning.candidates` has laid out of the tape, by length of period.
    """

    panel: Panel
    funding: Floats
    symbol: Ints
    at: Ints
    volatility_percentile: Floats
    breakout_side: NDArray[np.int8]
    zscore: Floats
    mean: Floats
    social_strength: Floats
    social_direction: NDArray[np.int8]
    news_strength: Floats
    news_direction: NDArray[np.int8]
    expected_cost_bps: Floats
    half_spread: Floats
    capital: float
    ground: dict[timedelta, Ground] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return self.at.size

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the symbols."""
        return self.panel.symbols

    @property
    def bar(self) -> timedelta:
        """Length of a bar."""
        return self.panel.bar

    @cached_property
    def ts(self) -> NDArray[np.datetime64]:
        """Open of each row's bar."""
        return self.panel.times[self.at]

    @cached_property
    def open(self) -> Floats:
        """Opens, one per row."""
        return of_rows(self.panel, "open", self.symbol, self.at)

    @cached_property
    def high(self) -> Floats:
        """Highs, one per row."""
        return of_rows(self.panel, "high", self.symbol, self.at)

    @cached_property
    def low(self) -> Floats:
        """Lows, one per row."""
        return of_rows(self.panel, "low", self.symbol, self.at)

    @cached_property
    def close(self) -> Floats:
        """Closes, one per row."""
        return of_rows(self.panel, "close", self.symbol, self.at)

    @cached_property
    def volume(self) -> Floats:
        """Volumes in base units, one per row."""
        return of_rows(self.panel, "volume", self.symbol, self.at)

    def rows_of(self, symbol: str) -> Ints:
        """Rows of one symbol, by time.

        Raises
        ------
        ValueError
            If the tape does not hold it.
        """
        if symbol not in self.symbols:
            raise ValueError(f"{symbol!r} is not on the tape; it holds {', '.join(self.symbols)}")
        return np.flatnonzero(self.symbol == self.symbols.index(symbol))

    def state(self, row: int) -> MarketState:
        """Return the state of one row."""
        return MarketState(
            symbol=self.symbols[self.symbol[row]],
            ts=self.ts[row].item(),
            close=float(self.close[row]),
            volatility_percentile=float(self.volatility_percentile[row]),
            breakout_side=int(self.breakout_side[row]),
            zscore=float(self.zscore[row]),
            mean=float(self.mean[row]),
            social_strength=float(self.social_strength[row]),
            social_direction=int(self.social_direction[row]),
            news_strength=float(self.news_strength[row]),
            news_direction=int(self.news_direction[row]),
            expected_cost_bps=float(self.expected_cost_bps[row]),
        )

    def between(self, start: datetime, end: datetime) -> StateTape:
        """Return the bars that open in [start, end), their states as they are.

        Raises
        ------
        NotEnoughDataError
            If there are none.
        """
        times = self.panel.times
        first, stop = (
            int(i) for i in np.searchsorted(times, [np.datetime64(start, "us"), np.datetime64(end, "us")])
        )
        kept = (self.at >= first) & (self.at < stop)
        if not kept.any():
            raise NotEnoughDataError(f"no bar opens in [{start}, {end}); there are {times[0]} to {times[-1]}")
        return self._cut(kept, slice(first, stop))

    def of(self, symbol: str) -> StateTape:
        """Return one symbol alone.

        Raises
        ------
        ValueError
            If the tape does not hold it.
        """
        kept = np.zeros(len(self), bool)
        kept[self.rows_of(symbol)] = True
        return self._cut(kept, slice(None), self.symbols.index(symbol))

    def _cut(self, kept: NDArray[np.bool_], times: slice, column: int | None = None) -> StateTape:
        columns = slice(None) if column is None else slice(column, column + 1)
        cut = times, columns
        panel = self.panel
        wide = {name: getattr(panel, name)[cut] for name in CANDLE_COLUMNS[2:]}
        return replace(
            self,
            panel=Panel(panel.times[times], panel.symbols[columns], panel.bar, **wide),
            funding=self.funding[cut],
            symbol=self.symbol[kept] - (column or 0),
            at=self.at[kept] - (times.start or 0),
            **{name: getattr(self, name)[kept] for name in _COLUMNS},
        )


_COLUMNS = (
    "volatility_percentile", "breakout_side", "zscore", "mean", "social_strength", "social_direction",
    "news_strength", "news_direction", "expected_cost_bps", "half_spread",
)  # fmt: skip


def state_tape(
    candles: pl.DataFrame,
    observations: pl.DataFrame | None,
    bar: timedelta,
    costs: Costs | None = None,
    *,
    funding: pl.DataFrame | None = None,
    capital: float = CAPITAL,
) -> StateTape:
    """Make the states of bars, each from what was known at its close.

    Nothing is computed across a gap of the channel's 48 hours. The windows of volatility (30 days), spread
    (30 days) and volume (a day) reach over outages and need half of their bars; they begin anew after more
    than `MAX_GAP` missing bars, when the symbol may stand for another asset.

    Parameters
    ----------
    candles : polars.DataFrame
        ``symbol, ts, open, high, low, close, volume``; `WARMUP` before the first bar that matters.
    observations : polars.DataFrame or None
        Either observations with vintages (``series, symbol, ts, available_at, value``) or rows of features
        (``symbol, ts, social_score, news_score``), which were joined as of each bar's close. None where
        there are none.
    bar : timedelta
        Length of a bar, which divides 48 hours.
    costs : Costs, optional
        What the algorithm expects of a fill.
    funding : polars.DataFrame, optional
        Observations of the series ``funding_rate``; by default those among `observations`.
    capital : float
        Quote units of each symbol's account.

    Raises
    ------
    ValueError
        If the bar or the capital is out of range.
    DataError
        If candles or observations cannot be read.
    """
    if bar <= timedelta(0) or CHANNEL % bar or bar > DAY:
        raise ValueError(f"bar = {bar} must divide the channel of {CHANNEL} and be at most a day")
    if not 0.0 < capital < np.inf:
        raise ValueError(f"capital = {capital} must be positive and finite")
    for column in CANDLE_COLUMNS:
        if column not in candles.columns:
            raise DataError(f"missing; the frame has {candles.columns}", source="candles", column=column)
    panel = panel_from_candles(candles.select(CANDLE_COLUMNS), bar)
    symbol, at = (index.astype(np.int64) for index in np.nonzero(np.isfinite(panel.open).T))
    vintages = observations is not None and "series" in observations.columns
    if funding is None and vintages:
        funding = observations
    social, news = leanings(panel, symbol, at, observations, bar)
    return StateTape(
        panel=panel,
        funding=np.zeros(panel.open.shape) if funding is None else funding_on(funding, panel),
        symbol=symbol,
        at=at,
        social_strength=np.abs(social),
        social_direction=side_of(social),
        news_strength=np.abs(news),
        news_direction=side_of(news),
        capital=float(capital),
        **price_columns(panel, symbol, at, costs or Costs(), capital),
    )
