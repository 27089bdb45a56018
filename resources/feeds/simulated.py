"""The embedded source: a simulated market, for a machine without data and for scoring the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.alternative.series import MARKET_WIDE, SERIES, TABLES

if TYPE_CHECKING:
    import polars as pl

    from engine.market.finding import Reading
    from engine.market.simulator import Mode, SimulatedMarket

__all__ = ["SimulatedFeed"]


@dataclass(frozen=True)
class SimulatedFeed:
    """A simulated market as a source of candles, alternative data and its own truth.

    A symbol's data depend neither on ``end`` nor on other symbols, so a later ``end`` only adds to them.

    Parameters
    ----------
    symbols : tuple of str
        Symbols that are simulated together, once in a process. Any other ``XXX/USDT`` can be asked for and is
        then simulated by itself.
    bar : timedelta
        One hour or a multiple of it that divides a day.
    seed : int
        Not negative.
    start, end : datetime
        Open of the first bar, and the moment by which the last bar has closed; UTC without zone.
    mode : {"regimes", "null"}
        ``null`` has no exploitable structure.

    Raises
    ------
    ValueError
        If there is no symbol, no whole bar lies between ``start`` and ``end``, or either carries a time zone;
        when data are asked for, if the simulator refuses a symbol, ``bar``, ``seed``, ``start`` or ``mode``.
    """

    symbols: tuple[str, ...]
    bar: timedelta
    seed: int
    start: datetime
    end: datetime
    mode: Mode = "regimes"
    name: str = "simulated"

    def __post_init__(self) -> None:
        if not self.symbols:
            raise ValueError("symbols is empty; name at least one, such as 'BTC/USDT'")
        for which in ("start", "end"):
            if getattr(self, which).tzinfo is not None:
                raise ValueError(f"{which} = {getattr(self, which)} has a time zone; give UTC without one")
        if self.bar <= timedelta(0) or self.end - self.start < self.bar:
            raise ValueError(f"no bar of {self.bar} lies between start = {self.start} and end = {self.end}")

    def candles(self, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read finished bars: ``symbol, ts, open, high, low, close, volume``, sorted by symbol and ts."""
        import polars as pl

        from engine.market.finding import Reading

        wanted = (pl.col("symbol").is_in(list(symbols))) & _between(start, end)
        frames = [market.candles.filter(wanted) for market in self._markets(symbols)]
        return Reading(pl.concat(frames).sort("symbol", "ts"))

    def observations(self, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read alternative observations of one raw table, with every vintage known by the feed's own end.

        Raises
        ------
        ValueError
            If there is no such table.
        """
        import polars as pl

        from engine.market.finding import Reading

        if table not in TABLES:
            raise ValueError(f"table = {table!r} is not an alternative table; there are {', '.join(TABLES)}")
        names = [series.name for series in SERIES.values() if series.table == table]
        wanted = pl.col("series").is_in(names) & _between(start, end)
        frames = []
        for number, market in enumerate(self._markets(symbols)):
            # What concerns the whole market comes with every simulation: it is taken from the first.
            about = [*symbols, MARKET_WIDE] if number == 0 else list(symbols)
            frames.append(market.observations.filter(wanted & pl.col("symbol").is_in(about)))
        return Reading(pl.concat(frames).sort("series", "symbol", "ts", "available_at"))

    def truth(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Truth of each bar, never a feature: ``ts, regime, drift_sign, jump, market_return``."""
        return self._markets(())[0].truth.filter(_between(start, end))

    def last_bar(self, symbols: Sequence[str]) -> datetime:
        """Open of the newest finished bar, the same for all symbols.

        Raises
        ------
        ValueError
            If the simulator refuses a symbol, which is told without simulating anything.
        """
        from engine.market.simulator import MarketSimulator

        for together in self._together(symbols):
            MarketSimulator(together, self.bar, self.seed, self.mode)
        return self.start + (self._bars - 1) * self.bar

    def fingerprint(self) -> str:
        """Version of the generator and all that its output depends on."""
        from engine.market.simulator import VERSION

        end = self.start + self._bars * self.bar
        return (
            f"simulator {VERSION}, {self.mode}, seed {self.seed}, bar {self.bar}, "
            f"{self.start.isoformat()} to {end.isoformat()}"
        )

    @property
    def _bars(self) -> int:
        return (self.end - self.start) // self.bar

    def _markets(self, symbols: Sequence[str]) -> list[SimulatedMarket]:
        return [
            _simulated(together, self.bar, self.seed, self.mode, self.start, self._bars)
            for together in self._together(symbols)
        ]

    def _together(self, symbols: Sequence[str]) -> list[tuple[str, ...]]:
        """Group what is simulated together: the feed's own symbols, and each other one by itself."""
        return [self.symbols, *((other,) for other in sorted(set(symbols) - set(self.symbols)))]


@lru_cache(maxsize=16)
def _simulated(
    symbols: tuple[str, ...], bar: timedelta, seed: int, mode: Mode, start: datetime, bars: int
) -> SimulatedMarket:
    from engine.market.simulator import MarketSimulator

    return MarketSimulator(symbols, bar, seed, mode).simulate(start, bars)


def _between(start: datetime, end: datetime) -> pl.Expr:
    import polars as pl

    return (pl.col("ts") >= start) & (pl.col("ts") < end)
