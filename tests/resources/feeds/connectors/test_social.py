"""Votes on news by hour and currency: the score, what was known when, the key."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from engine.errors import DataError
from resources.feeds.connectors.retry import FetchError, Patience
from resources.feeds.connectors.social import SocialScore, score
from resources.feeds.exchange import ExchangeFeed

HOUR = timedelta(hours=1)
KEY = "cp_made_up_for_this_test"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOPANIC_API_KEY", KEY)


@pytest.fixture
def feed(venue: Any, now: datetime, patience: Patience) -> ExchangeFeed:
    connector = SocialScore(venue.url, patience=patience, min_interval=1e-9)
    return ExchangeFeed(connectors={"social": connector}, now=lambda: now)


@pytest.fixture
def noon(now: datetime) -> datetime:
    return now.replace(minute=0)


def scores(
    reading: Any, symbol: str = "BTC/USDT", series: str = "social_score"
) -> list[tuple[datetime, float]]:
    wanted = (pl.col("symbol") == symbol) & (pl.col("series") == series)
    return reading.frame.filter(wanted).select("ts", "value").rows()


def test_score_is_the_share_of_favourable_votes_that_take_a_side() -> None:
    assert score([{"positive": 2, "liked": 1, "negative": 1, "important": 50, "toxic": 9}]) == 0.75
    assert score([{"positive": 1}, {"negative": 2, "disliked": 1}]) == 0.25
    assert score([{"important": 3, "lol": 1}]) is None
    assert score([]) is None


def test_hours_by_currency_and_known_only_now(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime
) -> None:
    venue.add_post(noon - 3 * HOUR, ["BTC"], positive=3, negative=1)
    venue.add_post(noon - 3 * HOUR + timedelta(minutes=59), ["BTC", "ETH"], liked=4)
    venue.add_post(noon - 2 * HOUR, ["ETH"], disliked=5)
    venue.add_post(noon - 2 * HOUR, ["BTC"], saved=5)
    venue.add_post(noon - 9 * HOUR, ["BTC"], positive=1)
    reading = feed.observations("social", ["BTC/USDT", "ETH/USDT"], noon - 5 * HOUR, now)
    assert scores(reading) == [(noon - 3 * HOUR, 7 / 8)]
    assert scores(reading, "ETH/USDT") == [(noon - 3 * HOUR, 1.0), (noon - 2 * HOUR, 0.0)]
    assert reading.frame["available_at"].unique().to_list() == [now]
    assert reading.findings == ()


def test_news_have_a_score_of_their_own_within_that_of_all_posts(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime
) -> None:
    venue.add_post(noon - 2 * HOUR, ["BTC"], kind="news", positive=3, negative=1)
    venue.add_post(noon - 2 * HOUR, ["BTC"], kind="media", negative=4)
    venue.add_post(noon - HOUR, ["BTC"], kind="twitter", positive=1)
    venue.add_post(noon - 9 * HOUR, ["BTC"], positive=1)
    reading = feed.observations("social", ["BTC/USDT"], noon - 5 * HOUR, now)
    assert scores(reading) == [(noon - 2 * HOUR, 3 / 8), (noon - HOUR, 1.0)]
    assert scores(reading, series="news_score") == [(noon - 2 * HOUR, 3 / 4)]


def test_a_service_that_does_not_tell_kinds_has_no_news_score(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime
) -> None:
    venue.add_post(noon - HOUR, ["BTC"], positive=1)
    venue.add_post(noon - 9 * HOUR, ["BTC"], positive=1)
    for post in venue.posts:
        del post["kind"]
    reading = feed.observations("social", ["BTC/USDT"], noon - 5 * HOUR, now)
    assert reading.frame["series"].to_list() == ["social_score"]


def test_the_running_hour_is_left_out(feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime) -> None:
    venue.add_post(noon, ["BTC"], positive=1)
    venue.add_post(noon - HOUR, ["BTC"], positive=1)
    venue.add_post(noon - 7 * HOUR, ["BTC"], positive=1)
    assert scores(feed.observations("social", ["BTC/USDT"], noon - 5 * HOUR, now)) == [(noon - HOUR, 1.0)]


def test_pages_are_read_back_to_the_start_and_no_further(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime
) -> None:
    for number in range(200):
        venue.add_post(noon - number * timedelta(minutes=15), ["BTC"], positive=1, negative=1)
    reading = feed.observations("social", ["BTC/USDT"], noon - 10 * HOUR, now)
    assert [ts for ts, _ in scores(reading)] == [noon - n * HOUR for n in range(10, 0, -1)]
    assert len(venue.asked("/posts/")) == 3
    assert reading.findings == ()


def test_a_plan_that_does_not_reach_back_is_reported_and_its_half_hour_left_out(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime
) -> None:
    for minutes in (30, 90, 150):
        venue.add_post(noon - timedelta(minutes=minutes), ["BTC"], positive=1)
    reading = feed.observations("social", ["BTC/USDT"], noon - 10 * HOUR, now)
    assert [ts for ts, _ in scores(reading)] == [noon - 2 * HOUR, noon - HOUR]
    assert [(f.kind, f.severity, f.last) for f in reading.findings] == [("gap", "info", noon - 2 * HOUR)]


def test_no_posts_at_all(feed: ExchangeFeed, noon: datetime, now: datetime) -> None:
    reading = feed.observations("social", ["BTC/USDT"], noon - HOUR, now)
    assert reading.frame.is_empty()
    assert [(f.kind, f.count, f.last) for f in reading.findings] == [("gap", 2, noon + HOUR)]


def test_without_key_nothing_is_asked(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRYPTOPANIC_API_KEY")
    reading = feed.observations("social", ["BTC/USDT"], noon - HOUR, now)
    assert reading.frame.is_empty()
    assert [(f.kind, f.severity) for f in reading.findings] == [("missing_value", "info")]
    assert "CRYPTOPANIC_API_KEY is not set" in reading.findings[0].cause
    assert venue.requests == []


def test_the_key_is_shown_nowhere(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(60):
        venue.add_post(noon - number * HOUR, ["BTC"], positive=1)
    venue.fail("/posts/", 429, f"too fast, {KEY}")
    with caplog.at_level(logging.DEBUG):
        feed.observations("social", ["BTC/USDT"], noon - 50 * HOUR, now)
        assert [params["auth_token"] for params in venue.asked("/posts/")] == [KEY] * 4
        venue.fail("/posts/", 403, {"status": "api_error", "info": f"Token {KEY} is not valid"})
        with pytest.raises(FetchError, match="not valid") as caught:
            feed.observations("social", ["BTC/USDT"], noon - HOUR, now)
    assert KEY not in caplog.text + str(caught.value)


def test_a_page_without_new_posts_is_an_error(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime, venue_server: Any
) -> None:
    venue.add_post(noon - HOUR, ["BTC"], positive=1)
    body = {"results": venue.posts, "next": f"{venue.url}/posts/?page=2"}
    venue.replace("/posts/", lambda _: venue_server.as_json(body))
    with pytest.raises(DataError, match="no progress"):
        feed.observations("social", ["BTC/USDT"], noon - 50 * HOUR, now)


def test_an_error_in_a_good_answer_is_an_error(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime, venue_server: Any
) -> None:
    body = {"status": "api_error", "info": "API monthly quota exceeded."}
    venue.replace("/posts/", lambda _: venue_server.as_json(body))
    with pytest.raises(DataError, match="monthly quota"):
        feed.observations("social", ["BTC/USDT"], noon - HOUR, now)


def test_the_older_shape_with_currencies_is_read_too(
    feed: ExchangeFeed, venue: Any, noon: datetime, now: datetime, venue_server: Any
) -> None:
    venue.add_post(noon - HOUR, ["BTC"], positive=1)
    venue.add_post(noon - 3 * HOUR, ["BTC"], positive=1)
    posts = [{**post, "currencies": post["instruments"]} for post in venue.posts]
    for post in posts:
        del post["instruments"]
    venue.replace("/posts/", lambda _: venue_server.as_json({"results": posts, "next": None}))
    assert scores(feed.observations("social", ["BTC/USDT"], noon - 2 * HOUR, now)) == [(noon - HOUR, 1.0)]
