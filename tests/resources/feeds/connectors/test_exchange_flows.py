"""Exchange flows of Coin Metrics: pages, assets not covered, values rewritten long after."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from engine.alternative.series import SERIES
from engine.errors import DataError
from resources.feeds.connectors.exchange_flows import ExchangeFlows
from resources.feeds.connectors.retry import FetchError, Patience
from resources.feeds.exchange import ExchangeFeed

DAY = timedelta(days=1)
START = datetime.fromisoformat("2025-01-01")
PATH = "/v4/timeseries/asset-metrics"


@pytest.fixture
def feed(venue: Any, now: datetime, patience: Patience) -> ExchangeFeed:
    connector = ExchangeFlows(venue.url, patience=patience, min_interval=1e-9, page_size=20)
    return ExchangeFeed(connectors={"exchange_flows": connector}, now=lambda: now)


def test_pages_are_followed_and_the_running_day_is_left_out(
    feed: ExchangeFeed, venue: Any, now: datetime
) -> None:
    venue.add_flows("btc", START, 69)
    assert venue.flows["btc"][-1]["time"] == "2025-03-10T00:00:00.000000000Z"
    reading = feed.observations("exchange_flows", ["BTC/USDT"], START, now)
    inflow = reading.frame.filter(pl.col("series") == "exchange_inflow")
    outflow = reading.frame.filter(pl.col("series") == "exchange_outflow")
    lag, max_age = SERIES["exchange_inflow"].lag, SERIES["exchange_inflow"].max_age
    settled = [START + n * DAY for n in range(69) if START + n * DAY + lag <= now]
    assert 60 < len(settled) < 69
    assert inflow["ts"].to_list() == settled
    assert inflow["value"].to_list() == [1000.5 + n for n in range(len(settled))]
    assert outflow["value"].to_list() == [2000.25 + n for n in range(len(settled))]
    known = [ts + lag if now - ts > lag + max_age else now for ts in settled]
    assert inflow["available_at"].to_list() == known
    assert [(f.kind, f.count) for f in reading.findings] == [("unfinished", 69 - len(settled))] * 2
    assert len(venue.asked(PATH)) == 4


def test_pages_are_delivered_as_they_come(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    venue.add_flows("btc", START, 69)
    page = next(feed.observation_pages("exchange_flows", ["BTC/USDT"], START, now)).frame
    assert page.height == 40
    assert len(venue.asked(PATH)) == 1
    last = page["ts"].max()
    assert isinstance(last, datetime)
    rest = feed.observations("exchange_flows", ["BTC/USDT"], last + DAY, now).frame
    whole = feed.observations("exchange_flows", ["BTC/USDT"], START, now).frame
    assert pl.concat([page, rest]).sort("series", "ts").equals(whole.sort("series", "ts"))


def test_an_asset_that_is_not_covered_is_reported_and_the_others_are_read(
    feed: ExchangeFeed, venue: Any, now: datetime
) -> None:
    venue.add_flows("btc", START, 3)
    reading = feed.observations("exchange_flows", ["SOL/USDT", "BTC/USDT"], START, now)
    assert reading.frame["symbol"].unique().to_list() == ["BTC/USDT"]
    (finding,) = reading.findings
    assert (finding.kind, finding.severity, finding.series) == ("missing_value", "info", "SOL/USDT")
    assert "not available with supplied credentials" in finding.cause


def test_a_blocked_address_is_no_asset_without_cover(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    venue.add_flows("btc", START, 3)
    venue.fail(PATH, 403, "<html>Access denied</html>")
    with pytest.raises(FetchError, match="Access denied"):
        feed.observations("exchange_flows", ["BTC/USDT"], START, now)


def test_other_failures_are_errors(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    venue.fail(PATH, 500, "<html/>", times=9)
    with pytest.raises(FetchError, match="status 500 after 4 attempts"):
        feed.observations("exchange_flows", ["BTC/USDT"], START, now)


def test_an_error_in_a_good_answer_is_an_error(
    feed: ExchangeFeed, venue: Any, now: datetime, venue_server: Any
) -> None:
    body = {"error": {"type": "forbidden", "message": "Requested metric is not available"}}
    venue.replace(PATH, lambda _: venue_server.as_json(body))
    with pytest.raises(DataError, match=r"answer for btc has no list 'data' of days.*not available"):
        feed.observations("exchange_flows", ["BTC/USDT"], START, now)


def test_a_missing_value_is_reported_and_never_zero(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    venue.add_flows("btc", START, 5)
    venue.flows["btc"][2]["FlowInExNtv"] = None
    del venue.flows["btc"][3]["FlowInExNtv"]
    reading = feed.observations("exchange_flows", ["BTC/USDT"], START, now)
    assert reading.frame.filter(pl.col("series") == "exchange_inflow").height == 3
    assert reading.frame.filter(pl.col("series") == "exchange_outflow").height == 5
    (finding,) = reading.findings
    assert (finding.kind, finding.severity, finding.count) == ("missing_value", "warn", 2)
    assert (finding.first, finding.last) == (START + 2 * DAY, START + 3 * DAY)


def test_values_rewritten_long_after_their_day_are_reported(
    feed: ExchangeFeed, venue: Any, now: datetime
) -> None:
    venue.add_flows("btc", START, 5, **{"FlowInExNtv-status-time": "2025-01-06T04:00:00.000000000Z"})
    reading = feed.observations("exchange_flows", ["BTC/USDT"], START, now)
    (finding,) = reading.findings
    # Day 1 of January was written later than the lag of 40 hours and three days (max_age) after it.
    assert (finding.kind, finding.severity, finding.count) == ("revision", "warn", 1)
    assert finding.last == START
    assert reading.frame.height == 10


def test_a_border_day_in_two_pages_counts_once(
    feed: ExchangeFeed, venue: Any, now: datetime, venue_server: Any
) -> None:
    venue.add_flows("btc", START, 6)
    days = venue.flows["btc"]
    following = f"{venue.url}{PATH}?next_page_token=x"
    pages = iter([{"data": days[:4], "next_page_url": following}, {"data": days[3:]}])
    venue.replace(PATH, lambda _: venue_server.as_json(next(pages)))
    frame = feed.observations("exchange_flows", ["BTC/USDT"], START, now).frame
    assert frame.filter(pl.col("series") == "exchange_inflow")["ts"].to_list() == [
        START + n * DAY for n in range(6)
    ]


def test_a_page_that_brings_nothing_new_is_an_error(
    feed: ExchangeFeed, venue: Any, now: datetime, venue_server: Any
) -> None:
    venue.add_flows("btc", START, 4)
    body = {"data": venue.flows["btc"], "next_page_url": f"{venue.url}{PATH}?next_page_token=x"}
    venue.replace(PATH, lambda _: venue_server.as_json(body))
    with pytest.raises(DataError, match="no progress"):
        feed.observations("exchange_flows", ["BTC/USDT"], START, now)
    assert len(venue.asked(PATH)) == 2


def test_days_without_any_flow_are_not_observed_rather_than_zero(
    feed: ExchangeFeed, venue: Any, now: datetime
) -> None:
    start = now.replace(hour=0, minute=0) - 20 * DAY
    venue.add_flows("btc", start, 10)
    for row in venue.flows["btc"][:3]:
        row |= {"FlowInExNtv": "0", "FlowOutExNtv": "0"}
    venue.flows["btc"][5]["FlowInExNtv"] = "0"
    reading = feed.observations("exchange_flows", ["BTC/USDT"], start, start + 10 * DAY)
    inflow = reading.frame.filter(pl.col("series") == "exchange_inflow")
    assert inflow["ts"].min() == start + 3 * DAY
    assert inflow["value"].to_list()[2] == 0.0  # coins left that day: its inflow is a known 0
    (finding,) = (f for f in reading.findings if f.kind == "missing_value")
    assert (finding.count, finding.first, finding.last) == (3, start, start + 2 * DAY)
