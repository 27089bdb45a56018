"""Funding, open interest and long/short ratio of perpetuals, through the feed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.alternative.vintages import OBSERVATION_SCHEMA
from engine.errors import DataError
from resources.feeds.connectors.retry import Patience
from resources.feeds.exchange import ExchangeFeed

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime.fromisoformat("2025-02-01")


@pytest.fixture
def feed(venue: Any, now: datetime, patience: Patience) -> ExchangeFeed:
    return ExchangeFeed(venue_config=venue.ccxt_config(), patience=patience, now=lambda: now)


def rows(reading: Any, series: str) -> list[tuple[datetime, datetime, float]]:
    frame = reading.frame.filter(pl.col("series") == series)
    return frame.select("ts", "available_at", "value").rows()


class TestFunding:
    def test_rate_and_interval_at_the_stamp_itself(self, feed: ExchangeFeed, venue: Any) -> None:
        jitter = timedelta(milliseconds=13)
        stamps = [START - 8 * HOUR, START, START + 8 * HOUR + jitter, START + 12 * HOUR, START + 14 * HOUR]
        venue.add_funding("BTCUSDT", stamps, -0.0003)
        reading = feed.observations("funding", ["BTC/USDT"], START, START + DAY)
        assert reading.frame.schema == pl.Schema(OBSERVATION_SCHEMA)
        assert rows(reading, "funding_rate") == [(at, at, -0.0003) for at in stamps[1:]]
        hours = [value for _, _, value in rows(reading, "funding_interval_hours")]
        assert hours == [8.0, 8.0, 4.0, 2.0]
        assert reading.frame.select("symbol", "source").unique().rows() == [("BTC/USDT", "binance")]
        assert reading.findings == ()

    def test_the_first_stamp_of_all_has_no_interval(self, feed: ExchangeFeed, venue: Any) -> None:
        venue.add_funding("BTCUSDT", [START, START + 8 * HOUR])
        reading = feed.observations("funding", ["BTC/USDT"], START - DAY, START + DAY)
        assert [at for at, _, _ in rows(reading, "funding_interval_hours")] == [START + 8 * HOUR]

    def test_a_symbol_without_perpetual_is_reported_and_the_others_are_read(
        self, feed: ExchangeFeed, venue: Any
    ) -> None:
        venue.add_funding("SOLUSDT", [START])
        reading = feed.observations("funding", ["ETH/USDT", "SOL/USDT"], START, START + DAY)
        assert reading.frame["symbol"].unique().to_list() == ["SOL/USDT"]
        assert [(f.kind, f.severity, f.series) for f in reading.findings] == [
            ("missing_value", "info", "ETH/USDT")
        ]

    def test_a_source_that_ignores_the_start_is_an_error(
        self, feed: ExchangeFeed, venue: Any, now: datetime, venue_server: Any
    ) -> None:
        venue.add_funding("BTCUSDT", [START + n * 8 * HOUR for n in range(50)])
        venue.replace("/fapi/v1/fundingRate", lambda _: venue_server.as_json(venue.funding["BTCUSDT"][:20]))
        with pytest.raises(DataError, match="no progress"):
            feed.observations("funding", ["BTC/USDT"], START, now)

    def test_a_venue_without_it_is_reported(self, feed: ExchangeFeed, venue: Any) -> None:
        feed.venue.exchange.has["fetchFundingRateHistory"] = False
        reading = feed.observations("funding", ["BTC/USDT"], START, START + DAY)
        assert [(f.kind, f.detail) for f in reading.findings] == [("missing_value", "not offered")]
        assert venue.requests == []

    def test_recorded_answers_with_two_hour_intervals_in_pages(
        self, feed: ExchangeFeed, venue: Any, market_data: Path, now: datetime
    ) -> None:
        answer = json.loads((market_data / "raw/binance_rest/fapi_v1_fundingRate_SOLUSDT.json").read_text())
        venue.funding["SOLUSDT"] = answer
        venue.page_limit = 100
        stamps = [row["fundingTime"] for row in answer if row["fundingTime"] < venue_ms(now)]
        start = datetime.fromisoformat("2020-09-01")
        reading = feed.observations("funding", ["SOL/USDT"], start, now)
        got = reading.frame.filter(pl.col("series") == "funding_rate")
        assert got["ts"].dt.epoch("ms").to_list() == stamps
        assert got["value"].to_list() == [float(row["fundingRate"]) for row in answer[: len(stamps)]]
        hours = reading.frame.filter(pl.col("series") == "funding_interval_hours")
        assert set(hours["value"].to_list()) == {2.0, 4.0, 8.0}
        stressed = hours.filter(pl.col("value") < 8)["ts"]
        assert stressed.dt.strftime("%Y-%m").unique().to_list() == ["2022-11"]

    def test_a_killed_run_continues_with_intervals_unbroken(
        self, feed: ExchangeFeed, venue: Any, now: datetime
    ) -> None:
        venue.page_limit = 30
        venue.add_funding("BTCUSDT", [START + n * 8 * HOUR for n in range(100)])
        whole = feed.observations("funding", ["BTC/USDT"], START, now).frame
        page = next(feed.observation_pages("funding", ["BTC/USDT"], START, now)).frame
        last = page["ts"].max()
        assert isinstance(last, datetime)
        rest = feed.observations("funding", ["BTC/USDT"], last + timedelta(milliseconds=1), now).frame
        assert pl.concat([page, rest]).sort("series", "symbol", "ts").equals(whole)
        assert whole.height == 2 * 100 - 1


def venue_ms(moment: datetime) -> int:
    return (moment - datetime.fromisoformat("1970-01-01")) // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("table", "series", "first"),
    [
        ("open_interest", "open_interest_usd", 150570784.0781),
        ("long_short_ratio", "long_short_ratio", 1.5),
    ],
)
class TestPeriodStatistics:
    def test_known_when_the_period_is_over(
        self, feed: ExchangeFeed, venue: Any, now: datetime, table: str, series: str, first: float
    ) -> None:
        begin = now.replace(hour=0, minute=0) - 5 * DAY
        venue.add_statistics("BTCUSDT", begin, 34, 4 * HOUR)
        reading = feed.observations(table, ["BTC/USDT"], begin, now)
        got = rows(reading, series)
        ended = [begin + n * 4 * HOUR for n in range(33) if begin + (n + 1) * 4 * HOUR <= now]
        assert [ts for ts, _, _ in got] == ended
        assert got[0][1:] == (begin + 4 * HOUR, pytest.approx(first))
        assert got[-1][1] == now, "a fresh value was not known before it was read"
        assert [(f.kind, f.count) for f in reading.findings] == [("unfinished", 1)]

    def test_older_than_the_venue_keeps_is_reported_and_not_asked_for(
        self, feed: ExchangeFeed, venue: Any, now: datetime, table: str, series: str, first: float
    ) -> None:
        begin = now.replace(hour=0, minute=0) - 60 * DAY
        venue.add_statistics("BTCUSDT", begin, 60 * 6, 4 * HOUR)
        reading = feed.observations(table, ["BTC/USDT"], begin, now - DAY)
        oldest = rows(reading, series)[0][0]
        assert now - 30 * DAY <= oldest <= now - 29 * DAY
        assert [(f.kind, f.severity) for f in reading.findings] == [("gap", "info")]
        assert "latest 30 days" in reading.findings[0].detail
        assert reading.frame.height == len(set(reading.frame["ts"])) >= 170

    def test_a_row_without_value_is_left_out_and_counted(
        self, feed: ExchangeFeed, venue: Any, now: datetime, table: str, series: str, first: float
    ) -> None:
        begin = now.replace(hour=0, minute=0) - 5 * DAY
        venue.add_statistics("BTCUSDT", begin, 4, 4 * HOUR)
        venue.open_interest["BTCUSDT"][1]["sumOpenInterestValue"] = ""
        venue.long_short["BTCUSDT"][1]["longShortRatio"] = ""
        reading = feed.observations(table, ["BTC/USDT"], begin, begin + DAY)
        assert reading.frame.height == 3
        assert [(f.kind, f.severity, f.count) for f in reading.findings] == [("missing_value", "warn", 1)]

    def test_a_venue_without_them_is_reported(
        self, feed: ExchangeFeed, venue: Any, now: datetime, table: str, series: str, first: float
    ) -> None:
        feed.venue.exchange.has |= {"fetchOpenInterestHistory": None, "fetchLongShortRatioHistory": None}
        reading = feed.observations(table, ["BTC/USDT"], now - DAY, now)
        assert reading.frame.is_empty()
        assert [(f.kind, f.severity) for f in reading.findings] == [("missing_value", "info")]
        assert venue.requests == []
