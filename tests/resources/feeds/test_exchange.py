"""The exchange feed against a server that speaks Binance: pages, faults, clocks, resuming, names."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.alternative.vintages import OBSERVATION_SCHEMA
from engine.errors import DataError
from engine.market.candles import CANDLE_SCHEMA
from resources.feeds.connectors.retry import FetchError, Patience
from resources.feeds.exchange import ExchangeFeed

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KLINES = "/api/v3/klines"
LISTED = datetime.fromisoformat("2025-01-01")

MakeFeed = Callable[..., ExchangeFeed]


@pytest.fixture
def make_feed(venue: Any, now: datetime, patience: Patience) -> MakeFeed:
    def make(**changes: Any) -> ExchangeFeed:
        given = {"venue_config": venue.ccxt_config(), "patience": patience, "now": lambda: now}
        return ExchangeFeed(**(given | changes))

    return make


@pytest.fixture
def bars(venue: Any, now: datetime) -> int:
    """BTC, hourly from its listing to the bar that is still open."""
    count = (now.replace(minute=0) - LISTED) // HOUR + 1
    venue.add_bars("BTCUSDT", LISTED, count)
    return count


def kinds(reading: Any) -> list[tuple[str, str, int]]:
    return [(finding.kind, finding.severity, finding.count) for finding in reading.findings]


class TestCandles:
    def test_pages_add_up_to_every_finished_bar(self, make_feed: MakeFeed, venue: Any, bars: int) -> None:
        reading = make_feed().candles(["BTC/USDT"], LISTED, LISTED + 1000 * DAY)
        frame = reading.frame
        assert frame.schema == pl.Schema(CANDLE_SCHEMA)
        assert frame["ts"].to_list() == [LISTED + n * HOUR for n in range(bars - 1)]
        assert frame["symbol"].unique().to_list() == ["BTC/USDT"]
        row = frame.row(700, named=True)
        assert (row["open"], row["volume"]) == (800.0, 12.5)
        assert row["high"] == pytest.approx(808.0)
        assert row["low"] == pytest.approx(792.0)
        assert row["close"] == pytest.approx(804.0)
        assert [asked["limit"] for asked in venue.asked(KLINES)] == ["1000"] * 2

    def test_a_bar_still_open_is_left_out_and_reported(
        self, make_feed: MakeFeed, bars: int, now: datetime
    ) -> None:
        reading = make_feed().candles(["BTC/USDT"], now - 3 * HOUR, now)
        assert reading.frame["ts"].to_list() == [now.replace(minute=0) - n * HOUR for n in (2, 1)]
        assert kinds(reading) == [("unfinished", "info", 1)]
        assert reading.findings[0].first == now.replace(minute=0)

    def test_a_bar_that_ends_now_is_finished(self, make_feed: MakeFeed, bars: int, venue: Any) -> None:
        venue.now = at = LISTED + 5 * HOUR
        reading = make_feed(now=lambda: at).candles(["BTC/USDT"], LISTED, at)
        assert reading.frame.height == 5
        assert reading.findings == ()

    @pytest.mark.parametrize("ahead", [timedelta(hours=5), timedelta(hours=-5)])
    def test_of_two_clocks_the_earlier_decides(
        self, make_feed: MakeFeed, bars: int, now: datetime, ahead: timedelta
    ) -> None:
        reading = make_feed(now=lambda: now + ahead).candles(["BTC/USDT"], LISTED, LISTED + 1000 * DAY)
        earlier = min(now, now + ahead)
        assert reading.frame["ts"].max() == earlier.replace(minute=0) - HOUR
        assert ("local_time", "warn", 0) in kinds(reading)

    def test_of_two_clocks_that_nearly_agree_the_earlier_decides_too(
        self, make_feed: MakeFeed, bars: int, venue: Any
    ) -> None:
        venue.now, local = LISTED + 5 * HOUR - timedelta(seconds=10), LISTED + 5 * HOUR
        reading = make_feed(now=lambda: local).candles(["BTC/USDT"], LISTED, LISTED + DAY)
        assert reading.frame.height == 4
        assert kinds(reading) == [("unfinished", "info", 1)]

    def test_start_is_inclusive_end_exclusive_and_zones_are_converted(
        self, make_feed: MakeFeed, bars: int
    ) -> None:
        start = (LISTED + 10 * HOUR).replace(tzinfo=UTC)
        reading = make_feed().candles(["BTC/USDT"], start, LISTED + 13 * HOUR)
        assert reading.frame["ts"].to_list() == [LISTED + n * HOUR for n in (10, 11, 12)]
        assert reading.findings == ()

    def test_an_aware_clock_is_converted(self, make_feed: MakeFeed, bars: int, now: datetime) -> None:
        aware = now.replace(tzinfo=UTC)
        assert make_feed(now=lambda: aware).last_bar(["BTC/USDT"]) == now.replace(minute=0) - HOUR

    def test_bars_before_the_listing_are_reported(self, make_feed: MakeFeed, bars: int) -> None:
        reading = make_feed().candles(["BTC/USDT"], LISTED - 100 * DAY, LISTED + 2 * HOUR)
        assert reading.frame.height == 2
        assert kinds(reading) == [("gap", "info", 2400)]
        assert (reading.findings[0].first, reading.findings[0].last) == (LISTED - 100 * DAY, LISTED - HOUR)

    def test_a_symbol_that_stopped_is_reported(self, make_feed: MakeFeed, venue: Any) -> None:
        venue.add_bars("SOLUSDT", LISTED, 10)
        reading = make_feed().candles(["SOL/USDT"], LISTED, LISTED + 15 * HOUR)
        assert reading.frame.height == 10
        assert kinds(reading) == [("gap", "warn", 5)]
        assert reading.findings[0].first == LISTED + 10 * HOUR

    def test_a_hole_longer_than_a_page_is_crossed(self, make_feed: MakeFeed, venue: Any) -> None:
        venue.add_bars("ETHUSDT", LISTED, 3)
        venue.add_bars("ETHUSDT", LISTED + 1500 * HOUR, 3)
        reading = make_feed().candles(["ETH/USDT"], LISTED, LISTED + 1503 * HOUR)
        assert reading.frame["ts"].to_list() == [LISTED + n * HOUR for n in (0, 1, 2, 1500, 1501, 1502)]

    def test_a_venue_with_smaller_pages_loses_nothing(
        self, make_feed: MakeFeed, venue: Any, bars: int
    ) -> None:
        venue.page_limit = 70
        reading = make_feed().candles(["BTC/USDT"], LISTED, LISTED + 300 * HOUR)
        assert reading.frame["ts"].to_list() == [LISTED + n * HOUR for n in range(300)]

    def test_a_venue_that_sends_the_newest_of_a_window_loses_nothing(
        self, make_feed: MakeFeed, venue: Any, bars: int, venue_server: Any
    ) -> None:
        def newest(params: dict[str, str]) -> Any:
            rows = [
                row
                for row in venue.klines["BTCUSDT"]
                if int(params["startTime"]) <= row[0] <= int(params["endTime"])
            ]
            return venue_server.as_json(rows[-70:])

        venue.replace(KLINES, newest)
        reading = make_feed().candles(["BTC/USDT"], LISTED, LISTED + 300 * HOUR)
        assert reading.frame["ts"].to_list() == [LISTED + n * HOUR for n in range(300)]

    def test_symbols_are_read_one_after_another_and_once(self, make_feed: MakeFeed, venue: Any) -> None:
        for market in ("BTCUSDT", "ETHUSDT"):
            venue.add_bars(market, LISTED, 4)
        reading = make_feed().candles(["ETH/USDT", "BTC/USDT", "ETH/USDT"], LISTED, LISTED + 4 * HOUR)
        assert reading.frame["symbol"].to_list() == ["BTC/USDT"] * 4 + ["ETH/USDT"] * 4
        assert [asked["symbol"] for asked in venue.asked(KLINES)] == ["ETHUSDT", "BTCUSDT"]

    def test_a_perpetual_comes_from_the_contract_venue(self, make_feed: MakeFeed, venue: Any) -> None:
        venue.add_bars("BTCUSDT_PERP", LISTED, 4, price=50.0)
        reading = make_feed().candles(["BTC/USDT:USDT"], LISTED, LISTED + 4 * HOUR)
        assert reading.frame["open"].to_list() == [50.0, 51.0, 52.0, 53.0]
        assert len(venue.asked("/fapi/v1/klines")) == 1

    def test_recorded_answers_are_read_as_they_are(
        self, make_feed: MakeFeed, venue: Any, market_data: Path
    ) -> None:
        answer = json.loads((market_data / "raw/binance_rest/fapi_v1_klines_BTCUSDT_1d.json").read_text())
        venue.klines["BTCUSDT_PERP"] = answer
        venue.now = at = datetime.fromisoformat("2025-09-01")
        reading = make_feed(bar=DAY, now=lambda: at).candles(
            ["BTC/USDT:USDT"], datetime.fromisoformat("2019-09-01"), at
        )
        expected = [(row[0], *(float(value) for value in row[1:6])) for row in answer]
        got = reading.frame.with_columns(pl.col("ts").dt.epoch("ms")).drop("symbol").rows()
        assert got == expected
        assert reading.findings == ()


class TestRepeats:
    def test_equal_rows_at_a_border_are_kept_once(
        self, make_feed: MakeFeed, venue: Any, bars: int, venue_server: Any
    ) -> None:
        def overlapping(params: dict[str, str]) -> Any:
            low = int(params["startTime"]) - 3 * venue_server.HOUR_MS
            rows = [row for row in venue.klines["BTCUSDT"] if low <= row[0] <= int(params["endTime"])]
            return venue_server.as_json(rows[:50])

        venue.replace(KLINES, overlapping)
        reading = make_feed().candles(["BTC/USDT"], LISTED, LISTED + 90 * HOUR)
        assert reading.frame["ts"].to_list() == [LISTED + n * HOUR for n in range(90)]
        assert kinds(reading) == [("duplicate", "info", 3)]

    def test_differing_rows_keep_the_first_and_are_reported(
        self, make_feed: MakeFeed, venue: Any, venue_server: Any
    ) -> None:
        venue.add_bars("BTCUSDT", LISTED, 5)
        venue.klines["BTCUSDT"].insert(3, venue_server.kline(venue_server.ms(LISTED + 2 * HOUR), 999.0))
        reading = make_feed().candles(["BTC/USDT"], LISTED, LISTED + 5 * HOUR)
        assert reading.frame["open"].to_list() == [100.0, 101.0, 102.0, 103.0, 104.0]
        assert kinds(reading) == [("duplicate", "warn", 1)]
        assert "102.0" in reading.findings[0].detail
        assert "999.0" in reading.findings[0].detail

    def test_a_source_that_ignores_the_start_is_an_error_and_no_endless_loop(
        self, make_feed: MakeFeed, venue: Any, bars: int, venue_server: Any
    ) -> None:
        venue.replace(KLINES, lambda _: venue_server.as_json(venue.klines["BTCUSDT"][:500]))
        with pytest.raises(DataError, match=r"no progress.*ignores the start"):
            make_feed().candles(["BTC/USDT"], LISTED, LISTED + 900 * HOUR)
        assert len(venue.asked(KLINES)) == 2


class TestResuming:
    @pytest.mark.parametrize("killed_after", [1, 2, 3])
    def test_a_killed_run_continues_from_what_was_stored(
        self, make_feed: MakeFeed, venue: Any, bars: int, killed_after: int
    ) -> None:
        venue.page_limit = 400
        end = LISTED + 1500 * HOUR
        stored = [
            page.frame for page in islice(make_feed().candle_pages(["BTC/USDT"], LISTED, end), killed_after)
        ]
        last = pl.concat(stored)["ts"].max()
        assert isinstance(last, datetime)
        rest = make_feed().candles(["BTC/USDT"], last + HOUR, end).frame
        whole = make_feed().candles(["BTC/USDT"], LISTED, end).frame
        assert pl.concat([*stored, rest]).equals(whole)
        assert whole.height == 1500

    def test_pages_come_before_the_next_is_asked_for(
        self, make_feed: MakeFeed, venue: Any, bars: int
    ) -> None:
        venue.page_limit = 400
        pages = make_feed().candle_pages(["BTC/USDT"], LISTED, LISTED + 1500 * HOUR)
        next(pages)
        assert len(venue.asked(KLINES)) == 1

    def test_what_was_read_before_a_failure_was_delivered(
        self, make_feed: MakeFeed, venue: Any, bars: int, venue_server: Any
    ) -> None:
        venue.page_limit = 400
        pages = make_feed().candle_pages(["BTC/USDT"], LISTED, LISTED + 1500 * HOUR)
        assert next(pages).frame.height == 400
        venue.fail(KLINES, 503, "<html>down</html>", times=4)
        with pytest.raises(FetchError):
            next(pages)

    def test_nothing_is_asked_for_when_all_is_stored(
        self, make_feed: MakeFeed, venue: Any, bars: int, now: datetime
    ) -> None:
        reading = make_feed().candles(["BTC/USDT"], now, now)
        assert reading.frame.is_empty()
        assert reading.frame.schema == pl.Schema(CANDLE_SCHEMA)
        assert venue.asked(KLINES) == []


class TestFaults:
    """What a venue does on a bad day; the same bars come in the end."""

    def read(self, feed: ExchangeFeed) -> list[datetime]:
        return feed.candles(["BTC/USDT"], LISTED, LISTED + 20 * HOUR).frame["ts"].to_list()

    @pytest.fixture
    def whole(self, bars: int) -> list[datetime]:
        return [LISTED + n * HOUR for n in range(20)]

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
    def test_server_errors_in_html_are_retried(
        self, make_feed: MakeFeed, venue: Any, whole: list[datetime], status: int, sleeps: list[float]
    ) -> None:
        venue.fail(KLINES, status, "<html><body>Bad gateway</body></html>", times=2)
        assert self.read(make_feed()) == whole
        assert len(sleeps) == 2
        assert 0.5 <= sleeps[0] <= 1.0
        assert 1.0 <= sleeps[1] <= 1.5

    @pytest.mark.parametrize("status", [418, 429])
    def test_retry_after_is_honoured(
        self, make_feed: MakeFeed, venue: Any, whole: list[datetime], status: int, sleeps: list[float]
    ) -> None:
        body = {"code": -1003, "msg": "Too many requests; current limit is 6000 request weight per 1 MINUTE."}
        venue.fail(KLINES, status, body, headers={"Retry-After": "17"})
        assert self.read(make_feed()) == whole
        assert sleeps == [17.0]

    def test_a_ban_longer_than_the_deadline_fails_at_once(
        self, make_feed: MakeFeed, venue: Any, bars: int, sleeps: list[float]
    ) -> None:
        venue.fail(KLINES, 418, {"code": -1003, "msg": "banned"}, headers={"Retry-After": "3600"})
        with pytest.raises(FetchError, match=r"status 418 after 1 attempt.*asks to wait 3600 s") as caught:
            self.read(make_feed())
        assert sleeps == []
        assert caught.value.transient

    def test_a_broken_connection_is_retried(
        self, make_feed: MakeFeed, venue: Any, whole: list[datetime], sleeps: list[float]
    ) -> None:
        venue.cut(KLINES, times=2)
        assert self.read(make_feed()) == whole
        assert len(sleeps) == 2

    def test_half_written_json_is_retried_and_never_read_as_no_bars(
        self, make_feed: MakeFeed, venue: Any, whole: list[datetime], sleeps: list[float]
    ) -> None:
        venue.half_json(KLINES, times=2)
        assert self.read(make_feed()) == whole
        assert len(sleeps) == 2

    def test_a_slow_answer_is_retried(
        self, make_feed: MakeFeed, venue: Any, whole: list[datetime], sleeps: list[float]
    ) -> None:
        venue.delay(KLINES, 0.6)
        assert self.read(make_feed(venue_config={**venue.ccxt_config(), "timeout": 200})) == whole
        assert len(sleeps) == 1

    def test_faults_while_markets_load_are_retried(
        self, make_feed: MakeFeed, venue: Any, whole: list[datetime]
    ) -> None:
        venue.half_json("/api/v3/exchangeInfo")
        venue.fail("/fapi/v1/exchangeInfo", 503, "<html/>")
        venue.fail("/api/v3/time", 429, {"code": -1003, "msg": "slow down"})
        assert self.read(make_feed()) == whole

    def test_giving_up_names_address_status_and_attempts(
        self, make_feed: MakeFeed, venue: Any, bars: int, sleeps: list[float]
    ) -> None:
        venue.fail(KLINES, 503, "<html>maintenance</html>", times=9)
        with pytest.raises(FetchError) as caught:
            self.read(make_feed())
        error = caught.value
        assert (error.status, error.attempts, error.transient) == (503, 4, True)
        assert KLINES in error.url
        assert "status 503 after 4 attempts" in str(error)
        assert len(sleeps) == 3

    @pytest.mark.parametrize("status", [400, 403, 404, 451])
    def test_refusals_are_not_retried(
        self, make_feed: MakeFeed, venue: Any, bars: int, sleeps: list[float], status: int
    ) -> None:
        venue.fail(KLINES, status, {"code": -1121, "msg": "Invalid symbol."})
        with pytest.raises(FetchError, match="Invalid symbol") as caught:
            self.read(make_feed())
        assert (caught.value.status, caught.value.attempts, caught.value.transient) == (status, 1, False)
        assert sleeps == []

    @pytest.mark.parametrize("status", [403, 404, 451])
    def test_a_blocked_address_is_not_retried_though_ccxt_calls_it_a_network_error(
        self, make_feed: MakeFeed, venue: Any, bars: int, sleeps: list[float], status: int
    ) -> None:
        body = {"code": 0, "msg": "Service unavailable from a restricted location."}
        venue.fail(KLINES, status, body)
        with pytest.raises(FetchError, match="restricted location") as caught:
            self.read(make_feed())
        assert (caught.value.status, caught.value.attempts, caught.value.transient) == (status, 1, False)
        assert sleeps == []

    def test_an_answer_of_another_shape_is_an_error(
        self, make_feed: MakeFeed, venue: Any, bars: int, venue_server: Any
    ) -> None:
        venue.replace(KLINES, lambda _: venue_server.as_json({"rows": {"a": 1}}))
        with pytest.raises((FetchError, DataError)):
            self.read(make_feed())

    def test_nobody_there(self, make_feed: MakeFeed, venue: Any, patience: Patience) -> None:
        config = venue.ccxt_config()
        config["urls"]["api"]["public"] = "http://127.0.0.1:9/api/v3"
        with pytest.raises(FetchError, match="no answer after 4 attempts"):
            self.read(make_feed(venue_config=config))


class TestNames:
    def test_an_unknown_symbol_lists_near_names(self, make_feed: MakeFeed, venue: Any) -> None:
        with pytest.raises(DataError, match=r"unknown symbol 'BTC/USD'.*BTC/USDT") as caught:
            make_feed().candles(["ETH/USDT", "BTC/USD"], LISTED, LISTED + DAY)
        assert caught.value.column == "symbol"
        assert venue.asked(KLINES) == []

    def test_a_base_without_similar_spelling_lists_its_markets(self, make_feed: MakeFeed) -> None:
        with pytest.raises(DataError, match="SOL/USDT"):
            make_feed().last_bar(["SOL/BRLZARTRY"])

    def test_an_unknown_venue_lists_near_names(self) -> None:
        with pytest.raises(ValueError, match=r"venue is 'binanse'.*binance"):
            ExchangeFeed("binanse").last_bar(["BTC/USDT"])

    def test_a_bar_of_odd_length_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"bar is 0:07:00; offered are 1m, 5m"):
            ExchangeFeed(bar=timedelta(minutes=7))

    def test_volume_in_contracts_is_refused(self, make_feed: MakeFeed) -> None:
        feed = make_feed()
        feed.venue.markets["BTC/USDT:USDT"]["contractSize"] = 0.01
        with pytest.raises(DataError, match=r"contracts of 0\.01 BTC"):
            feed.candles(["BTC/USDT:USDT"], LISTED, LISTED + DAY)

    def test_a_range_back_to_front_is_refused(self, make_feed: MakeFeed) -> None:
        with pytest.raises(ValueError, match="after end"):
            make_feed().candles(["BTC/USDT"], LISTED + DAY, LISTED)

    def test_an_unknown_table_is_refused(self, make_feed: MakeFeed) -> None:
        with pytest.raises(ValueError, match=r"table is 'sentiment'; there are funding"):
            make_feed().observations("sentiment", ["BTC/USDT"], LISTED, LISTED + DAY)


class TestLastBar:
    def test_newest_finished_over_all_symbols(self, make_feed: MakeFeed, venue: Any, now: datetime) -> None:
        venue.add_bars("SOLUSDT", LISTED, 10)
        venue.add_bars("ETHUSDT", now.replace(minute=0) - 5 * HOUR, 6)
        feed = make_feed()
        assert feed.last_bar(["SOL/USDT"]) == LISTED + 9 * HOUR
        assert feed.last_bar(["SOL/USDT", "ETH/USDT"]) == now.replace(minute=0) - HOUR

    def test_none_without_symbols(self, make_feed: MakeFeed) -> None:
        assert make_feed().last_bar([]) is None

    def test_the_fingerprint_changes_with_each_bar_and_asks_nobody(
        self, make_feed: MakeFeed, venue: Any, now: datetime
    ) -> None:
        prints = [
            make_feed(now=lambda at=at: at).fingerprint() for at in (now, now + HOUR / 3, now + HOUR / 2)
        ]
        assert prints == ["2025-03-10T11:00:00", "2025-03-10T11:00:00", "2025-03-10T12:00:00"]
        assert venue.requests == []


class TestObservations:
    def test_liquidations_are_not_invented(self, make_feed: MakeFeed, venue: Any) -> None:
        reading = make_feed().observations("liquidations", ["BTC/USDT"], LISTED, LISTED + DAY)
        assert reading.frame.is_empty()
        assert reading.frame.schema == pl.Schema(OBSERVATION_SCHEMA)
        assert [finding.severity for finding in reading.findings] == ["info"]
        assert "no public REST history" in reading.findings[0].detail
        assert venue.requests == []

    def test_a_configured_connector_is_asked(self, make_feed: MakeFeed) -> None:
        asked = []

        class Vendor:
            table = "liquidations"

            def pages(self, symbols: Any, start: Any, end: Any, now: Any) -> Any:
                asked.append((list(symbols), start, end, now()))
                return iter(())

        feed = make_feed(connectors={"liquidations": Vendor()})
        reading = feed.observations("liquidations", ["BTC/USDT:USDT", "BTC/USDT"], LISTED, LISTED + DAY)
        assert reading.frame.is_empty()
        assert asked == [(["BTC/USDT"], LISTED, LISTED + DAY, feed.now())]


def test_logs_and_errors_name_the_fault_but_no_header(
    make_feed: MakeFeed, venue: Any, bars: int, caplog: pytest.LogCaptureFixture
) -> None:
    venue.fail(KLINES, 503, "<html>down</html>", times=1)
    with caplog.at_level(logging.INFO):
        make_feed().candles(["BTC/USDT"], LISTED, LISTED + HOUR)
    assert "attempt 1 of 4" in caplog.text
    assert KLINES in caplog.text


def test_importing_the_feed_loads_nothing_heavy() -> None:
    heavy = "ccxt httpx tenacity polars pandas numpy duckdb"
    code = (
        "import sys, resources.feeds.exchange as e; e.ExchangeFeed(); "
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
