"""A regime-switching crypto market with ground truth, or one without any exploitable structure.

The recipe is frozen: it changes only together with `VERSION`, which belongs in every result obtained on it. A
series that is added draws from streams of its own and leaves all others as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args

import numpy as np
import polars as pl

from engine.market.activity_series import commits, exchange_flows, fear_greed, news_score, social_score
from engine.market.candles import CANDLE_COLUMNS, resample
from engine.market.derivative_series import (
    funding,
    liquidation_prints,
    liquidations,
    long_short_ratio,
    open_interest,
)
from engine.market.price_path import SYMBOL_PATTERN, USUAL_VOLATILITY, PricePath, price_path, symbol_traits
from engine.market.regime_path import MarketPath, Mode, market_path
from engine.market.side_series import Block, Clock, Tape, observations_frame
from engine.regimes.names import REGIMES

__all__ = ["VERSION", "MarketSimulator", "Mode", "SimulatedMarket"]

VERSION = "1"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class SimulatedMarket:
    """What a simulation made.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, open, high, low, close, volume``; sorted by symbol and ts, without gaps.
    observations : DataFrame
        ``series, symbol, ts, available_at, value, source`` with every vintage that is known by the close of
        the last bar; sorted by series, symbol, ts and available_at.
    truth : DataFrame
        ``ts, regime, drift_sign, jump, market_return``: the market's regime, -1, 0 or 1, whether it jumped,
        and the log return of the common factor. Never a feature.
    version : str
        Version of the generator.
    """

    candles: pl.DataFrame
    observations: pl.DataFrame
    truth: pl.DataFrame
    version: str = VERSION


class MarketSimulator:
    """Simulate candles, alternative data and their ground truth.

    The market's path depends on the seed alone and a symbol's on seed and name, whichever others are asked
    for. The first n bars, and all observations known by then, do not depend on the number of bars asked for.
    The path is the same from whichever ``start`` it is anchored at; only calendar series shift.

    The recipe is that of an hourly bar. Longer bars are aggregated from the same hourly path and change no
    observation.

    Parameters
    ----------
    symbols : sequence of str
        ``XXX/USDT``, two to twelve capital letters or digits before the slash. Well-known ones start near
        prices they once had; any other gets traits drawn from its name.
    bar : timedelta
        One hour or a multiple of it that divides a day.
    seed : int
        Not negative.
    mode : {"regimes", "null"}
        ``null`` keeps volatility, correlation and their regimes, but no return can be predicted: there is
        neither drift nor a mean of jumps, so each price is a martingale and side series say nothing about its
        future.

    Raises
    ------
    ValueError
        If a parameter is outside of the above; it is named with its value.
    """

    def __init__(
        self, symbols: Sequence[str], bar: timedelta = HOUR, seed: int = 7, mode: Mode = "regimes"
    ) -> None:
        if isinstance(symbols, str) or not symbols:
            raise ValueError(
                f"symbols = {symbols!r} must be a list of at least one symbol such as 'BTC/USDT'"
            )
        for symbol in symbols:
            if SYMBOL_PATTERN.fullmatch(symbol) is None:
                raise ValueError(
                    f"symbol {symbol!r} cannot be simulated; write it as XXX/USDT with two to twelve capital "
                    "letters or digits before the slash, such as 'BTC/USDT'"
                )
        if len(set(symbols)) != len(symbols):
            raise ValueError(f"symbols = {list(symbols)} repeat; name each once")
        if bar < HOUR or bar % HOUR or DAY % bar:
            raise ValueError(
                f"bar = {bar} cannot be simulated; the recipe is hourly, so ask for 1h or a multiple of it "
                "that divides a day (2h, 3h, 4h, 6h, 8h, 12h, 1d)"
            )
        if seed < 0:
            raise ValueError(f"seed = {seed} must not be negative")
        if mode not in get_args(Mode):
            raise ValueError(f"mode = {mode!r} must be one of {get_args(Mode)}")
        self.symbols, self.bar, self.seed, self.mode = tuple(sorted(symbols)), bar, seed, mode

    def simulate(self, start: datetime, bars: int) -> SimulatedMarket:
        """Simulate ``bars`` bars, the first of which opens at ``start``.

        Parameters
        ----------
        start : datetime
            UTC (without a zone it counts as UTC), a whole multiple of the bar since midnight.
        bars : int
            At least 1.

        Raises
        ------
        ValueError
            If ``start`` is not the open of a bar or ``bars`` is less than 1.
        """
        start = start.astimezone(UTC).replace(tzinfo=None) if start.tzinfo else start
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        if (start - midnight) % self.bar:
            raise ValueError(
                f"start = {start} is not the open of a bar of {self.bar}; bars are counted from midnight"
            )
        if bars < 1:
            raise ValueError(f"bars = {bars} must be at least 1")
        clock = Clock.since(start, bars * (self.bar // HOUR))
        market = market_path(self.seed, clock.hours, self.mode)
        blocks = fear_greed(self.seed, Tape.of(market.factor_return, USUAL_VOLATILITY), clock)
        paths: dict[str, PricePath] = {}
        for symbol in self.symbols:
            paths[symbol] = price_path(self.seed, symbol, market)
            blocks += self._side_series(symbol, paths[symbol], market, clock)
        return SimulatedMarket(
            candles=self._candles(paths, clock),
            observations=observations_frame(blocks, clock.end, f"simulator {VERSION}"),
            truth=self._truth(market, clock),
        )

    def _side_series(self, symbol: str, prices: PricePath, market: MarketPath, clock: Clock) -> list[Block]:
        traits = symbol_traits(self.seed, symbol)
        tape = Tape.of(prices.log_return, USUAL_VOLATILITY * traits.volatility)
        forced, liquidated = liquidations(self.seed, symbol, traits, tape, clock)
        return [
            *funding(self.seed, symbol, traits, tape, clock),
            *forced,
            *liquidation_prints(self.seed, symbol, traits, tape, clock),
            *open_interest(self.seed, symbol, traits, prices, tape, liquidated, clock),
            *long_short_ratio(self.seed, symbol, tape, clock),
            *exchange_flows(self.seed, symbol, prices, market, tape, clock),
            *commits(self.seed, symbol, tape, clock),
            *social_score(self.seed, symbol, tape, clock),
            *news_score(self.seed, symbol, tape, clock),
        ]

    def _candles(self, paths: dict[str, PricePath], clock: Clock) -> pl.DataFrame:
        names = pl.Series(list(paths), dtype=pl.String)
        hourly = pl.DataFrame(
            {
                "symbol": names.gather(np.repeat(np.arange(len(paths)), clock.hours)),
                "ts": pl.Series(np.tile(clock.opens, len(paths))).cast(pl.Datetime("us")),
                **{
                    column: np.concatenate([getattr(path, column) for path in paths.values()])
                    for column in CANDLE_COLUMNS[2:]
                },
            }
        )
        return hourly if self.bar == HOUR else resample(hourly, HOUR, self.bar)

    def _truth(self, market: MarketPath, clock: Clock) -> pl.DataFrame:
        """Truth of each bar: the regime and drift of its last hour, any jump, the sum of returns."""
        hours = self.bar // HOUR
        regimes = pl.Series(REGIMES, dtype=pl.String)
        return pl.DataFrame(
            {
                "ts": pl.Series(clock.opens[::hours]).cast(pl.Datetime("us")),
                "regime": regimes.gather(market.regime[hours - 1 :: hours].astype(np.int64)),
                "drift_sign": market.drift_sign[hours - 1 :: hours].astype(np.int64),
                "jump": (market.jump != 0.0).reshape(-1, hours).any(axis=1),
                "market_return": market.factor_return.reshape(-1, hours).sum(axis=1),
            }
        )
