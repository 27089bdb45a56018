"""What perpetuals tell beside their price: funding, open interest, long/short ratio, through ccxt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from engine.alternative.series import SERIES
from engine.market.finding import Finding, Reading
from resources.feeds.connectors.connector import Clock, observations, settled, unavailable
from resources.feeds.connectors.moments import DAY, from_milliseconds, milliseconds
from resources.feeds.connectors.pages import Row, duplicate_findings, walk
from resources.feeds.connectors.venue import Venue

__all__ = ["FundingRates", "PeriodStatistics", "liquidations_finding", "long_short_ratio", "open_interest"]

_HOUR = timedelta(hours=1) // timedelta(milliseconds=1)
_KEPT = {"binance": timedelta(days=30), "binanceusdm": timedelta(days=30)}
"""How far back a venue answers for statistics of contracts."""


class FundingRates:
    """Funding of the perpetual of each symbol, from the venue's history.

    ``ts`` and ``available_at`` are the funding stamp itself, to the millisecond: the rate is charged then and
    known then. ``funding_interval_hours`` is the distance to the stamp before, rounded to the minute, since
    stamps come some milliseconds late; the history is read from a day earlier, so that the first row asked
    for has its interval too.
    """

    table = "funding"
    _limit = 1000

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def pages(self, symbols: Sequence[str], start: datetime, end: datetime, now: Clock) -> Iterator[Reading]:
        """See `Connector.pages`."""
        if not self._venue.offers("fetchFundingRateHistory"):
            yield observations((), [_not_offered(self.table, "funding_rate", self._venue)])
            return
        for symbol in symbols:
            perpetual = self._venue.perpetual(symbol)
            if perpetual is None:
                yield observations((), [_no_perpetual(self.table, symbol, self._venue)])
                continue

            def fetch(since: int, until: int, perpetual: str = perpetual) -> list[Row]:
                rows = self._venue.call(
                    "fetch_funding_rate_history", perpetual, since, self._limit, {"until": until - 1}
                )
                return [(int(row["timestamp"]), (row["fundingRate"],)) for row in rows]

            before: int | None = None
            for page in walk(
                fetch,
                milliseconds(start - DAY),
                milliseconds(min(end, now())),
                span=self._limit * 8 * _HOUR,
                step=_HOUR // 60,
                usual=24 * _HOUR,
                source=f"{self._venue.name} funding of {perpetual}",
            ):
                rows = []
                for stamp, (rate,) in page.rows:
                    ts = from_milliseconds(stamp)
                    if ts >= start and rate is not None:
                        rows.append(("funding_rate", symbol, ts, ts, rate, self._venue.name))
                        if before is not None:
                            hours = round((stamp - before) / _HOUR * 60) / 60
                            rows.append(("funding_interval_hours", symbol, ts, ts, hours, self._venue.name))
                    before = stamp
                yield observations(rows, duplicate_findings([page], "raw.funding", symbol))


class PeriodStatistics:
    """A statistic that a venue publishes for each period of its perpetual contracts.

    The period is the declared lag of the series: what describes it is known when it is over. Whether a venue
    stamps a period by its start or its end is not documented everywhere; reading the stamp as the start can
    make a value late, never early.
    """

    _limit = 500

    def __init__(self, venue: Venue, *, table: str, series: str, offer: str, method: str, field: str) -> None:
        self.table = table
        self._venue, self._series, self._offer = venue, series, offer
        self._method, self._field = method, field

    def pages(self, symbols: Sequence[str], start: datetime, end: datetime, now: Clock) -> Iterator[Reading]:
        """See `Connector.pages`."""
        period = SERIES[self._series].lag
        if not self._venue.offers(self._offer):
            yield observations((), [_not_offered(self.table, self._series, self._venue)])
            return
        for symbol in symbols:
            perpetual = self._venue.perpetual(symbol)
            if perpetual is None:
                yield observations((), [_no_perpetual(self.table, symbol, self._venue)])
                continue
            # One period of margin: the venue refuses a start that has just left its window.
            kept = _KEPT.get(self._venue.name)
            oldest = max(start, now() - kept + period) if kept else start
            if oldest > start:
                yield observations((), [self._too_old(symbol, start, min(oldest, end))])

            def fetch(since: int, until: int, perpetual: str = perpetual) -> list[Row]:
                params = {"until": until - 1}
                rows = self._venue.call(self._method, perpetual, _hours(period), since, self._limit, params)
                return [(int(row["timestamp"]), (row[self._field],)) for row in rows]

            step = period // timedelta(milliseconds=1)
            for page in walk(
                fetch,
                milliseconds(oldest),
                milliseconds(min(end, now())),
                span=self._limit * step,
                step=step,
                usual=step,
                source=f"{self._venue.name} {self._series} of {perpetual}",
            ):
                known = [
                    (self._series, symbol, from_milliseconds(stamp), value)
                    for stamp, (value,) in page.rows
                    if value is not None
                ]
                reading = settled(known, self._venue.name, now(), self.table)
                repeats = duplicate_findings([page], f"raw.{self.table}", symbol)
                missing = len(page.rows) - len(known)
                lacks = [self._without_value(symbol, missing)] if missing else []
                yield Reading(reading.frame, (*reading.findings, *repeats, *lacks))

    def _too_old(self, symbol: str, start: datetime, end: datetime) -> Finding:
        period = SERIES[self._series].lag
        return Finding(
            f"raw.{self.table}",
            f"{self._series} {symbol}",
            "gap",
            "info",
            start,
            end,
            (end - start) // period,
            f"the venue answers only for the latest {_KEPT[self._venue.name].days} days; read it more often",
            "the venue keeps no longer history",
        )

    def _without_value(self, symbol: str, count: int) -> Finding:
        return Finding(
            f"raw.{self.table}",
            f"{self._series} {symbol}",
            "missing_value",
            "warn",
            None,
            None,
            count,
            f"rows without {self._field}; left out",
        )


def open_interest(venue: Venue) -> PeriodStatistics:
    """Value of the open contracts of each perpetual, in units of its quote (USDT counts as USD)."""
    return PeriodStatistics(
        venue,
        table="open_interest",
        series="open_interest_usd",
        offer="fetchOpenInterestHistory",
        method="fetch_open_interest_history",
        field="openInterestValue",
    )


def long_short_ratio(venue: Venue) -> PeriodStatistics:
    """All accounts that are long over all that are short, by perpetual."""
    return PeriodStatistics(
        venue,
        table="long_short_ratio",
        series="long_short_ratio",
        offer="fetchLongShortRatioHistory",
        method="fetch_long_short_ratio_history",
        field="longShortRatio",
    )


def liquidations_finding(venue: str) -> Finding:
    """Say why no liquidations are read.

    Binance withdrew its public REST history of liquidations (``allForceOrders``) on 2021-04-27; what remains
    are the caller's own forced orders and a stream, which has no history. Totals come from vendors, so they
    need a connector to one.
    """
    return unavailable(
        "liquidations",
        "liquidations_long_usd, liquidations_short_usd",
        "no public REST history of all liquidations exists; configure a vendor's connector or read files",
        f"{venue} does not publish them",
    )


def _no_perpetual(table: str, symbol: str, venue: Venue) -> Finding:
    return unavailable(table, symbol, "no linear perpetual is listed", f"{venue.name} lists none")


def _not_offered(table: str, series: str, venue: Venue) -> Finding:
    return unavailable(table, series, "not offered", f"{venue.name} has no endpoint for it")


def _hours(period: timedelta) -> str:
    return f"{period // timedelta(hours=1)}h"
