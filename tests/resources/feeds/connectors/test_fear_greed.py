"""Fear & Greed of alternative.me: newest first, numbers as texts."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.errors import DataError
from resources.feeds.connectors.fear_greed import FearGreed
from resources.feeds.connectors.retry import FetchError, Patience
from resources.feeds.exchange import ExchangeFeed

DAY = timedelta(days=1)
START = datetime.fromisoformat("2025-02-01")


@pytest.fixture
def feed(venue: Any, now: datetime, patience: Patience) -> ExchangeFeed:
    connector = FearGreed(venue.url, patience=patience, min_interval=1e-9)
    return ExchangeFeed(connectors={"fear_greed": connector}, now=lambda: now)


def row(day: datetime, value: str) -> dict[str, str]:
    seconds = (day - datetime.fromisoformat("1970-01-01")) // timedelta(seconds=1)
    return {"value": value, "value_classification": "Fear", "timestamp": str(seconds)}


@pytest.fixture
def days(venue: Any) -> list[datetime]:
    days = [START + n * DAY for n in range(38)]
    venue.fear_greed = [row(day, str(10 + n)) for n, day in enumerate(days)]
    return days


def test_days_in_order_each_known_as_it_begins(
    feed: ExchangeFeed, venue: Any, days: list[datetime], now: datetime
) -> None:
    reading = feed.observations("fear_greed", ["BTC/USDT"], START, now)
    frame = reading.frame
    assert frame["ts"].to_list() == days
    assert frame["value"].to_list() == [10.0 + n for n in range(38)]
    assert frame.select("series", "symbol", "source").unique().rows() == [
        ("fear_greed", "*", "alternative.me")
    ]
    # The latest two days are still fresh, so this reading is when they became known here.
    assert frame["available_at"].to_list() == [*days[:-2], now, now]
    assert reading.findings == ()


def test_only_what_is_new_is_asked_for(
    feed: ExchangeFeed, venue: Any, days: list[datetime], now: datetime
) -> None:
    frame = feed.observations("fear_greed", [], days[-3], now).frame
    assert frame["ts"].to_list() == days[-3:]
    assert venue.asked("/fng/") == [{"limit": "4"}]


def test_recorded_answers(feed: ExchangeFeed, venue: Any, market_data: Path, now: datetime) -> None:
    venue.fear_greed = json.loads((market_data / "raw/alternative_me/fng.json").read_text())
    frame = feed.observations("fear_greed", [], datetime.fromisoformat("2018-01-01"), now).frame
    recorded = pl.read_parquet(market_data / "fear_greed/alternative_me.parquet")
    expected = recorded.with_columns(pl.col("ts").dt.replace_time_zone(None)).filter(pl.col("ts") < now)
    assert frame["ts"].to_list() == expected["ts"].to_list()
    assert frame["value"].to_list() == expected["value"].cast(pl.Float64).to_list()


def test_a_day_twice_keeps_the_first_and_is_reported(
    feed: ExchangeFeed, venue: Any, days: list[datetime], now: datetime
) -> None:
    venue.fear_greed += [row(days[5], "15"), row(days[6], "99")]
    reading = feed.observations("fear_greed", [], START, now)
    assert reading.frame.height == 38
    assert [(f.kind, f.severity, f.count) for f in reading.findings] == [
        ("duplicate", "info", 1),
        ("duplicate", "warn", 1),
    ]


@pytest.mark.parametrize(("field", "text"), [("value", "N/A"), ("value", "nan"), ("timestamp", "01-02-2025")])
def test_what_is_no_number_is_named(
    feed: ExchangeFeed, venue: Any, days: list[datetime], now: datetime, field: str, text: str
) -> None:
    venue.fear_greed[-1][field] = text
    venue.replace("/fng/", lambda _: (200, {}, json.dumps({"data": venue.fear_greed}).encode()))
    with pytest.raises(DataError, match=f"row 38, column '{field}': '{text}' is not") as caught:
        feed.observations("fear_greed", [], START, now)
    assert (caught.value.row, caught.value.column) == (38, field)


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"error": None}},
        [],
        {"data": [], "metadata": {"error": "limit is not valid"}},
        {"data": [1]},
    ],
)
def test_another_shape_is_an_error(feed: ExchangeFeed, venue: Any, now: datetime, body: object) -> None:
    venue.replace("/fng/", lambda _: (200, {}, json.dumps(body).encode()))
    with pytest.raises(DataError, match=r"no list 'data'|limit is not valid"):
        feed.observations("fear_greed", [], START, now)


def test_giving_up_names_the_address(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    venue.fail("/fng/", 503, "<html/>", times=9)
    with pytest.raises(FetchError, match=r"/fng/\?limit=\d+: status 503 after 4 attempts"):
        feed.observations("fear_greed", [], START, now)
