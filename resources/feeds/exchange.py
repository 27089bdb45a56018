"""Market data straight from a trading venue through ccxt, and alternative data from public services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resources.feeds.connectors.moments import as_utc, floor, from_milliseconds, milliseconds, utc_now
from resources.feeds.connectors.retry import Patience

if TYPE_CHECKING:
    from engine.market.finding import Finding, Reading
    from resources.feeds.connectors.connector import Clock, Connector
    from resources.feeds.connectors.pages import Row
    from resources.feeds.connectors.venue import Venue

__all__ = ["ExchangeFeed"]

_MS = timedelta(milliseconds=1)
_PAGE = 1000
_CLOCK_TOLERANCE = timedelta(seconds=60)
_TIMEFRAMES = {
    timedelta(minutes=1): "1m",
    timedelta(minutes=5): "5m",
    timedelta(minutes=15): "15m",
    timedelta(minutes=30): "30m",
    timedelta(hours=1): "1h",
    timedelta(hours=2): "2h",
    timedelta(hours=4): "4h",
    timedelta(hours=6): "6h",
    timedelta(hours=12): "12h",
    timedelta(days=1): "1d",
}


class ExchangeFeed:
    """A `Feed` that asks a venue and public services, from where the caller's own data ends.

    Everything comes in pages, oldest first for each symbol, and each page is complete: a caller that stores
    them as they come, symbol by symbol, and is killed midway continues from the last bar that it stored. A
    bar that has not ended is never returned; ended means by the clock of the venue and by the local one.
    Nothing is repaired: rows that come twice, that contradict each other, that are missing at the edges, or
    are not over yet are reported as findings.

    Parameters
    ----------
    venue : str
        ccxt's name of the venue.
    bar : timedelta
        Length of a bar, one minute to one day.
    patience : Patience, optional
        Retries, waits and deadline of every request.
    venue_config : mapping, optional
        Passed to ccxt: proxies, ``timeout`` in milliseconds, ``{"urls": {"api": {...}}}`` for a mirror.
    connectors : mapping, optional
        Source of observations by raw table; these replace or add to the built-in ones. ``liquidations`` has
        none built in, since no public history of them exists.
    now : callable
        Local clock. Naive moments are UTC.

    Raises
    ------
    ValueError
        If the venue offers no bars of this length, or ccxt does not know the venue.
    """

    def __init__(
        self,
        venue: str = "binance",
        bar: timedelta = timedelta(hours=1),
        *,
        patience: Patience | None = None,
        venue_config: Mapping[str, Any] | None = None,
        connectors: Mapping[str, Connector] | None = None,
        now: Clock = utc_now,
    ) -> None:
        if bar not in _TIMEFRAMES:
            raise ValueError(f"bar is {bar}; offered are {', '.join(_TIMEFRAMES.values())}")
        self.name = f"exchange:{venue}"
        self.bar = bar
        self._venue_name, self._venue_config = venue, venue_config
        self._patience = patience or Patience()
        self._given, self._clock = dict(connectors or {}), now

    def now(self) -> datetime:
        """Read the local clock, UTC without zone."""
        return as_utc(self._clock())

    @cached_property
    def venue(self) -> Venue:
        """The venue, asked for nothing yet."""
        from resources.feeds.connectors.venue import Venue

        return Venue(self._venue_name, self._patience, self._venue_config)

    @cached_property
    def connectors(self) -> dict[str, Connector]:
        """Source of observations by raw table."""
        from resources.feeds.connectors.derivatives import FundingRates, long_short_ratio, open_interest
        from resources.feeds.connectors.exchange_flows import ExchangeFlows
        from resources.feeds.connectors.fear_greed import FearGreed
        from resources.feeds.connectors.github_commits import GitHubCommits
        from resources.feeds.connectors.social import SocialScore

        built_in: list[Connector] = [
            FundingRates(self.venue),
            open_interest(self.venue),
            long_short_ratio(self.venue),
            ExchangeFlows(patience=self._patience),
            FearGreed(patience=self._patience),
            GitHubCommits(patience=self._patience),
            SocialScore(patience=self._patience),
        ]
        return {connector.table: connector for connector in built_in} | self._given

    def candles(self, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read finished bars: all `candle_pages` in one frame, sorted by symbol and ts."""
        from resources.feeds.connectors.pages import joined

        empty = _candles("", (), ()).frame
        return joined(self.candle_pages(symbols, start, end), empty, ["symbol", "ts"])

    def candle_pages(self, symbols: Sequence[str], start: datetime, end: datetime) -> Iterator[Reading]:
        """Yield finished bars with ``start <= ts < end`` as they arrive, oldest first, symbol after symbol.

        Raises
        ------
        DataError
            If the venue does not list a symbol (near names are given), or its pages make no progress.
        FetchError
            If the venue does not answer, or refuses the request.
        """
        start, end = _checked_range(start, end)
        timeframe = self._timeframe()
        for symbol in symbols:
            self.venue.market(symbol)
        horizon, findings = self._horizon()
        if findings:
            yield _candles("", (), findings)
        for symbol in dict.fromkeys(symbols):
            yield from self._symbol_pages(symbol, timeframe, start, end, horizon)

    def observations(self, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read alternative observations: all `observation_pages` in one frame, sorted by their key."""
        from resources.feeds.connectors.connector import observations
        from resources.feeds.connectors.pages import joined

        pages = self.observation_pages(table, symbols, start, end)
        return joined(pages, observations(()).frame, ["series", "symbol", "ts", "available_at"])

    def observation_pages(
        self, table: str, symbols: Sequence[str], start: datetime, end: datetime
    ) -> Iterator[Reading]:
        """Yield observations of one raw table with ``start <= ts < end`` as they arrive.

        They are filed under the spot pair, also where a perpetual is asked for. To find revisions, ask again
        from before what is stored, and store what `engine.alternative.vintages.new_vintages` makes of it.

        Raises
        ------
        ValueError
            If there is no such table.
        DataError, FetchError
            As for `candle_pages`.
        """
        from engine.alternative.series import TABLES
        from resources.feeds.connectors.connector import observations
        from resources.feeds.connectors.derivatives import liquidations_finding

        start, end = _checked_range(start, end)
        if table not in TABLES:
            raise ValueError(f"table is {table!r}; there are {', '.join(TABLES)}")
        connector = self.connectors.get(table)
        if connector is None:
            yield observations((), [liquidations_finding(self._venue_name)])
            return
        pairs = list(dict.fromkeys(symbol.partition(":")[0] for symbol in symbols))
        yield from connector.pages(pairs, start, end, self.now)

    def last_bar(self, symbols: Sequence[str]) -> datetime | None:
        """Open of the newest finished bar that the venue delivers, over all symbols; one request a symbol."""
        timeframe = self._timeframe()
        horizon, _ = self._horizon()
        newest: datetime | None = None
        for symbol in symbols:
            self.venue.market(symbol)
            for row in self.venue.call("fetch_ohlcv", symbol, timeframe, None, 3):
                ts = from_milliseconds(_stamp(row, symbol))
                if ts + self.bar <= horizon and (newest is None or ts > newest):
                    newest = ts
            if newest == floor(horizon, self.bar) - self.bar:
                break
        return newest

    def fingerprint(self) -> str:
        """Open of the newest bar that has ended by the local clock, as text; asks nobody."""
        return (floor(self.now(), self.bar) - self.bar).isoformat()

    def _timeframe(self) -> str:
        text = _TIMEFRAMES[self.bar]
        offered = self.venue.exchange.timeframes
        if text not in offered:
            raise ValueError(f"bar is {text}; {self._venue_name} offers {', '.join(offered)}")
        return text

    def _horizon(self) -> tuple[datetime, list[Finding]]:
        """Moment by which a bar must have ended, and what is wrong with the clocks."""
        from engine.market.finding import Finding

        local, venue = self.now(), self.venue.time()
        if venue is None or abs(local - venue) <= _CLOCK_TOLERANCE:
            return (local if venue is None else min(local, venue)), []
        detail = f"the local clock shows {local}, the venue {venue}; bars count as finished by the earlier"
        finding = Finding(
            "raw.candles", "*", "local_time", "warn", venue, local, 0, detail, "a clock is wrong"
        )
        return min(local, venue), [finding]

    def _symbol_pages(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, horizon: datetime
    ) -> Iterator[Reading]:
        from resources.feeds.connectors.pages import duplicate_findings, edge_gaps, walk

        step, source = self.bar // _MS, f"{self._venue_name} {symbol} {timeframe}"
        low, high, now = milliseconds(start), milliseconds(end), milliseconds(horizon)

        def fetch(since: int, until: int) -> list[Row]:
            params = {"until": until - 1}
            rows = self.venue.call("fetch_ohlcv", symbol, timeframe, since, _PAGE, params)
            return [(_stamp(row, source), tuple(row[1:6])) for row in rows]

        first = last = None
        for page in walk(fetch, low, min(high, now), span=_PAGE * step, step=step, usual=step, source=source):
            rows = [row for row in page.rows if row[0] + step <= now]
            findings = duplicate_findings([page], "raw.candles", symbol)
            if running := page.rows[len(rows) :]:
                findings.append(_unfinished(symbol, running, horizon))
            if rows:
                first, last = rows[0][0] if first is None else first, rows[-1][0]
            if rows or findings:
                yield _candles(symbol, rows, findings)
        expected = range(-(-low // step) * step, min(high, now - step + 1), step)
        if gaps := edge_gaps("raw.candles", symbol, first, last, expected):
            yield _candles(symbol, (), gaps)


def _checked_range(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    start, end = as_utc(start), as_utc(end)
    if start > end:
        raise ValueError(f"start is {start}, after end {end}; swap them")
    return start, end


def _stamp(row: Sequence[float | None], source: str) -> int:
    from engine.errors import DataError

    if row[0] is None:
        raise DataError(f"a bar without a moment: {row}", source=source, column="ts")
    return int(row[0])


def _candles(symbol: str, rows: Sequence[Row], findings: Sequence[Finding]) -> Reading:
    import polars as pl

    from engine.market.candles import CANDLE_SCHEMA
    from engine.market.finding import Reading

    stamped = [(symbol, from_milliseconds(stamp), *values) for stamp, values in rows]
    return Reading(pl.DataFrame(stamped, schema=CANDLE_SCHEMA, orient="row"), tuple(findings))


def _unfinished(symbol: str, rows: Sequence[Row], horizon: datetime) -> Finding:
    from engine.market.finding import Finding

    first, last = from_milliseconds(rows[0][0]), from_milliseconds(rows[-1][0])
    detail = f"still open at {horizon}; left out"
    cause = "read before the bar ended"
    return Finding("raw.candles", symbol, "unfinished", "info", first, last, len(rows), detail, cause)
