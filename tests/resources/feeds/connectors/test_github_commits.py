"""Commits and authors a day from GitHub: windows, merges, archived repositories, limits, the token."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from engine.errors import DataError
from resources.feeds.connectors.github_commits import REPOSITORIES, GitHubCommits
from resources.feeds.connectors.retry import FetchError, Patience
from resources.feeds.exchange import ExchangeFeed

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime.fromisoformat("2025-03-01")
REPO, COMMITS = "bitcoin/bitcoin", "/repos/bitcoin/bitcoin/commits"
TOKEN = "ghp_made_up_for_this_test"  # noqa: S105


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)


@pytest.fixture
def feed(venue: Any, now: datetime, patience: Patience) -> ExchangeFeed:
    connector = GitHubCommits(base_url=venue.url, patience=patience, min_interval=1e-9)
    return ExchangeFeed(connectors={"commits": connector}, now=lambda: now)


def counts(reading: Any, series: str = "commits") -> dict[int, float]:
    frame = reading.frame.filter(pl.col("series") == series)
    return {ts.day: value for ts, value in frame.select("ts", "value").iter_rows()}


def test_days_authors_merges_and_silence(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    for hour, email in ((0, "a@x.org"), (5, "B@x.org"), (23, "b@X.org")):
        venue.add_commit(REPO, START + hour * HOUR, email)
    venue.add_commit(REPO, START + 9 * HOUR, "merger@x.org", parents=2)
    venue.add_commit(REPO, START + 3 * DAY, "c@x.org")
    reading = feed.observations("commits", ["BTC/USDT"], START, START + 5 * DAY)
    assert counts(reading) == {1: 3.0, 2: 0.0, 3: 0.0, 4: 1.0, 5: 0.0}
    assert counts(reading, "commit_authors") == {1: 2.0, 2: 0.0, 3: 0.0, 4: 1.0, 5: 0.0}
    known = reading.frame.filter(pl.col("ts") == START)["available_at"].unique().to_list()
    assert known == [START + DAY]
    assert reading.findings == ()


def test_a_commit_without_committer_or_author_counts_by_the_other(feed: ExchangeFeed, venue: Any) -> None:
    for person in ("committer", "author"):
        venue.add_commit(REPO, START + HOUR, "a@x.org")
        details = venue.commits[REPO][-1]["commit"]
        details["author"]["date"] = details["committer"]["date"]
        details[person] = None
    details["committer"]["email"] = "a@x.org"
    venue.replace(
        COMMITS,
        lambda _: (200, {"Content-Type": "application/json"}, json.dumps(venue.commits[REPO]).encode()),
    )
    reading = feed.observations("commits", ["BTC/USDT"], START, START + DAY)
    assert (counts(reading), counts(reading, "commit_authors")) == ({1: 2.0}, {1: 1.0})


def test_the_running_day_is_left_out(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    venue.add_commit(REPO, now - HOUR, "a@x.org")
    reading = feed.observations("commits", ["BTC/USDT"], now - 2 * DAY, now)
    assert list(counts(reading)) == [9]
    assert [(f.kind, f.count) for f in reading.findings] == [("unfinished", 1)] * 3


def test_links_are_followed_and_windows_follow_each_other(
    feed: ExchangeFeed, venue: Any, now: datetime
) -> None:
    begin = START - 59 * DAY
    for number in range(250):
        venue.add_commit(REPO, begin + number * 5 * HOUR, f"{number % 7}@x.org")
    pages = list(feed.observation_pages("commits", ["BTC/USDT"], begin, START + DAY))
    frame = pl.concat([page.frame for page in pages])
    commits = frame.filter(pl.col("series") == "commits")
    assert commits["value"].sum() == 250
    assert commits["ts"].to_list() == [begin + n * DAY for n in range(60)]
    assert [page.frame.height for page in pages] == [90, 90]
    asked = venue.asked(COMMITS)
    assert [(params["since"][:10], params.get("page", "1")) for params in asked] == [
        ("2025-01-01", "1"),
        ("2025-01-01", "2"),
        ("2025-01-31", "1"),
        ("2025-01-31", "2"),
    ]


def test_an_archived_repository_is_reported_and_falls_silent_without_zeros(
    feed: ExchangeFeed, venue: Any, now: datetime
) -> None:
    venue.add_commit(REPO, START + HOUR, "a@x.org")
    venue.repositories[REPO] = {"archived": True, "pushed_at": "2025-03-03T10:00:00Z"}
    reading = feed.observations("commits", ["BTC/USDT"], START, START + 6 * DAY)
    assert counts(reading) == {1: 1.0, 2: 0.0, 3: 0.0}
    archived = {1: 0.0, 2: 0.0, 3: 0.0, 4: 1.0, 5: 1.0, 6: 1.0}
    assert counts(reading, "repository_archived") == archived
    known = reading.frame.filter(pl.col("series") == "repository_archived")
    assert (known["available_at"] - known["ts"] >= DAY).all()
    (finding,) = reading.findings
    assert (finding.severity, finding.first) == ("warn", START + 2 * DAY + 10 * HOUR)
    assert "archived" in finding.detail


def test_a_repository_archived_long_ago_has_a_state_and_no_counts(feed: ExchangeFeed, venue: Any) -> None:
    venue.repositories[REPO] = {"archived": True, "pushed_at": "2024-03-03T10:00:00Z"}
    reading = feed.observations("commits", ["BTC/USDT"], START, START + 2 * DAY)
    assert counts(reading) == {}
    assert counts(reading, "repository_archived") == {1: 1.0, 2: 1.0}


def test_a_fork_counts_from_its_own_beginning_and_not_what_its_parent_committed(
    feed: ExchangeFeed, venue: Any
) -> None:
    parent = "gavin/bitcoin"
    for day in range(5):
        venue.add_commit(REPO, START + day * DAY, "parent@x.org")
    venue.commits[parent] = list(venue.commits[REPO])  # merged with hash and date
    venue.add_commit(REPO, START + 2 * DAY, "own@x.org")
    venue.add_commit(REPO, START + 3 * DAY, "own@x.org")
    venue.repositories[parent] = {}
    venue.repositories[REPO] = {
        "fork": True,
        "parent": {"full_name": parent},
        "created_at": "2025-03-02T08:00:00Z",
    }
    reading = feed.observations("commits", ["BTC/USDT"], START, START + 5 * DAY)
    assert counts(reading) == {2: 0.0, 3: 1.0, 4: 1.0, 5: 0.0}
    assert counts(reading, "commit_authors") == {2: 0.0, 3: 1.0, 4: 1.0, 5: 0.0}
    (finding,) = reading.findings
    assert (finding.severity, finding.first) == ("info", START + DAY)
    assert f"fork of {parent}" in finding.detail


def test_a_fork_of_long_ago_asks_for_nothing_before_its_start(feed: ExchangeFeed, venue: Any) -> None:
    venue.add_commit(REPO, START, "a@x.org")
    venue.repositories["old/bitcoin"] = {}
    venue.repositories[REPO] = {
        "fork": True,
        "parent": {"full_name": "old/bitcoin"},
        "created_at": "2011-10-07T00:00:00Z",
    }
    assert counts(feed.observations("commits", ["BTC/USDT"], START, START + DAY)) == {1: 1.0}


def test_a_currency_without_repository_is_reported(feed: ExchangeFeed, venue: Any, now: datetime) -> None:
    venue.add_commit(REPO, START, "a@x.org")
    reading = feed.observations("commits", ["PEPE/USDT", "BTC/USDT"], START, START + DAY)
    assert reading.frame["symbol"].unique().to_list() == ["BTC/USDT"]
    assert [(f.kind, f.series) for f in reading.findings] == [("missing_value", "PEPE/USDT")]


def test_an_empty_repository_has_no_commits(feed: ExchangeFeed, venue: Any) -> None:
    venue.repositories[REPO] = {}
    venue.fail(COMMITS, 409, {"message": "Git Repository is empty."})
    assert counts(feed.observations("commits", ["BTC/USDT"], START, START + DAY)) == {1: 0.0}


def test_an_unknown_repository_is_an_error(feed: ExchangeFeed) -> None:
    with pytest.raises(FetchError, match=r"/repos/bitcoin/bitcoin: status 404 after 1 attempt.*Not Found"):
        feed.observations("commits", ["BTC/USDT"], START, START + DAY)


def test_a_link_that_goes_in_a_circle_is_an_error(feed: ExchangeFeed, venue: Any, venue_server: Any) -> None:
    venue.add_commit(REPO, START, "a@x.org")
    circle = {"Link": f'<{venue.url}{COMMITS}?page=2>; rel="next"'}
    venue.replace(COMMITS, lambda _: venue_server.as_json(venue.commits[REPO], 200, circle))
    with pytest.raises(DataError, match="no progress"):
        feed.observations("commits", ["BTC/USDT"], START, START + DAY)


def test_the_token_comes_from_the_environment_and_is_shown_nowhere(
    feed: ExchangeFeed,
    venue: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    venue.add_commit(REPO, START, "a@x.org")
    feed.observations("commits", ["BTC/USDT"], START, START + DAY)
    assert not any("Authorization" in headers for _, _, headers in venue.requests)
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    venue.requests.clear()
    with caplog.at_level(logging.DEBUG):
        feed.observations("commits", ["BTC/USDT"], START, START + 2 * DAY)
        venue.fail(COMMITS, 401, {"message": f"Bad credentials {TOKEN}"})
        with pytest.raises(FetchError) as caught:
            feed.observations("commits", ["BTC/USDT"], START, START + 3 * DAY)
    assert all(headers["Authorization"] == f"Bearer {TOKEN}" for _, _, headers in venue.requests)
    assert TOKEN not in caplog.text + str(caught.value)


def test_what_has_not_changed_is_not_sent_again(feed: ExchangeFeed, venue: Any) -> None:
    venue.add_commit(REPO, START, "a@x.org")
    readings = [feed.observations("commits", ["BTC/USDT"], START, START + DAY) for _ in range(2)]
    assert readings[0].frame.equals(readings[1].frame)
    assert ["If-None-Match" in headers for _, _, headers in venue.requests] == [False, False, True, True]


def test_every_default_repository_has_owner_and_name() -> None:
    assert all(name.count("/") == 1 for name in REPOSITORIES.values())
