"""JSON over HTTP: faults, secrets that stay secret, foreign origins, unchanged answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resources.feeds.connectors import http
from resources.feeds.connectors.http import JsonClient, Secret
from resources.feeds.connectors.retry import FetchError, MinimumInterval, Patience

TOKEN = "s3cr3t-t0ken-value"  # noqa: S105 - made up
PATH = "/fng/"


@pytest.fixture
def interval(sleeps: list[float]) -> MinimumInterval:
    return MinimumInterval(1e-9)


@pytest.fixture
def make_client(
    venue: Any, patience: Patience, interval: MinimumInterval
) -> Iterator[Callable[..., JsonClient]]:
    made = []

    def make(**changes: Any) -> JsonClient:
        client = JsonClient(**({"base_url": venue.url, "interval": interval, "patience": patience} | changes))
        made.append(client)
        return client

    yield make
    for client in made:
        client.__exit__()


@pytest.fixture
def client(make_client: Callable[..., JsonClient], venue: Any) -> JsonClient:
    venue.fear_greed = [{"value": "48", "value_classification": "Neutral", "timestamp": "1741564800"}]
    return make_client()


class TestFaults:
    def test_an_answer(self, client: JsonClient, venue: Any) -> None:
        assert client.get("fng/", {"limit": 1}).body["data"][0]["value"] == "48"
        assert venue.asked(PATH) == [{"limit": "1"}]

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
    def test_passing_trouble_is_retried(
        self, client: JsonClient, venue: Any, status: int, sleeps: list[float]
    ) -> None:
        venue.fail(PATH, status, "<html>trouble</html>", times=3)
        assert client.get("fng/").body["name"] == "Fear and Greed Index"
        assert len(sleeps) == 3

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 451])
    def test_refusals_are_not(self, client: JsonClient, venue: Any, status: int, sleeps: list[float]) -> None:
        venue.fail(PATH, status, {"message": "no such thing"})
        with pytest.raises(FetchError, match="no such thing") as caught:
            client.get("fng/")
        assert (caught.value.status, caught.value.attempts, caught.value.transient) == (status, 1, False)
        assert sleeps == []

    @pytest.mark.parametrize("fault", ["cut", "half_json"])
    def test_incomplete_answers_are_retried(
        self, client: JsonClient, venue: Any, fault: str, sleeps: list[float]
    ) -> None:
        getattr(venue, fault)(PATH, times=2)
        assert client.get("fng/").body["data"]
        assert len(sleeps) == 2

    def test_slow_answers_are_retried(
        self, make_client: Callable[..., JsonClient], venue: Any, sleeps: list[float]
    ) -> None:
        venue.delay(PATH, 0.6)
        assert make_client(timeout=0.2).get("fng/").body["name"]
        assert len(sleeps) == 1

    def test_retry_after_is_honoured(self, client: JsonClient, venue: Any, sleeps: list[float]) -> None:
        venue.fail(PATH, 429, "slow down", headers={"Retry-After": "42"})
        client.get("fng/")
        assert sleeps == [42.0]

    def test_a_spent_limit_waits_for_its_reset(
        self, client: JsonClient, venue: Any, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http.time, "time", lambda: 1_741_000_000.0)
        spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1741000060"}
        venue.fail(PATH, 403, {"message": "API rate limit exceeded for 203.0.113.10."}, headers=spent)
        client.get("fng/")
        assert sleeps == [60.0]

    def test_a_reset_beyond_the_deadline_fails_at_once(
        self, client: JsonClient, venue: Any, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http.time, "time", lambda: 1_741_000_000.0)
        spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1741003000"}
        venue.fail(PATH, 403, {"message": "API rate limit exceeded"}, headers=spent)
        with pytest.raises(FetchError, match="asks to wait 3000 s") as caught:
            client.get("fng/")
        assert caught.value.transient
        assert sleeps == []

    def test_nobody_there(self, make_client: Callable[..., JsonClient]) -> None:
        with pytest.raises(FetchError, match=r"no answer after 4 attempts: ConnectError"):
            make_client(base_url="http://127.0.0.1:9").get("fng/")

    def test_an_endless_answer_is_cut_off(self, client: JsonClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "LARGEST_BODY", 50)
        with pytest.raises(FetchError, match="larger than 50 bytes"):
            client.get("fng/")


class TestSecrets:
    @pytest.fixture(params=["header", "query"])
    def secret(self, request: pytest.FixtureRequest) -> Secret:
        if request.param == "header":
            return Secret("header", "Authorization", f"Bearer {TOKEN}")
        return Secret("query", "auth_token", TOKEN)

    def arrived(self, venue: Any) -> list[bool]:
        return [TOKEN in str(params) + str(headers) for _, params, headers in venue.requests]

    def test_it_arrives_and_is_logged_nowhere(
        self,
        make_client: Callable[..., JsonClient],
        venue: Any,
        secret: Secret,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        venue.fail(PATH, 503, f"<html>you sent {TOKEN}</html>")
        with caplog.at_level(logging.DEBUG):
            make_client(secret=secret).get("fng/", {"limit": 3})
        assert self.arrived(venue) == [True, True]
        assert "HTTP Request" in caplog.text
        assert "***" in caplog.text
        assert TOKEN not in caplog.text

    def test_no_error_shows_it(
        self, make_client: Callable[..., JsonClient], venue: Any, secret: Secret
    ) -> None:
        venue.fail(PATH, 401, {"detail": f"invalid token {TOKEN}"})
        with pytest.raises(FetchError) as caught:
            make_client(secret=secret).get("fng/")
        error: BaseException | None = caught.value
        while error is not None:
            assert TOKEN not in f"{error!r}{error}{vars(error)}"
            error = error.__cause__ or error.__context__

    def test_no_error_shows_it_where_the_connection_fails(
        self, make_client: Callable[..., JsonClient], secret: Secret, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG), pytest.raises(FetchError) as caught:
            make_client(base_url="http://127.0.0.1:9", secret=secret).get("fng/")
        assert TOKEN not in str(caught.value) + caplog.text

    def test_a_page_address_that_carries_it_is_cleaned(
        self,
        make_client: Callable[..., JsonClient],
        venue: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        secret = Secret("query", "auth_token", TOKEN)
        with caplog.at_level(logging.DEBUG):
            make_client(secret=secret).get(f"{venue.url}/fng/?auth_token={TOKEN}&page=2")
        assert venue.asked(PATH) == [{"auth_token": TOKEN, "page": "2"}]
        assert TOKEN not in caplog.text

    def test_it_does_not_follow_to_another_origin(
        self, make_client: Callable[..., JsonClient], venue: Any, venue_server: Any, secret: Secret
    ) -> None:
        with venue_server.VenueServer(venue.now) as other:
            venue.fail(PATH, 302, "", headers={"Location": f"{other.url}/fng/"})
            make_client(secret=secret).get("fng/")
            assert self.arrived(venue) == [True]
            assert self.arrived(other) == [False]

    def test_a_page_address_of_another_origin_is_refused(self, client: JsonClient, venue: Any) -> None:
        with pytest.raises(ValueError, match="only host this client asks"):
            client.get("http://169.254.1.1/latest")
        assert venue.requests == []

    def test_it_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOME_TOKEN", f" {TOKEN}\n")
        secret = Secret.from_environment("SOME_TOKEN", place="header", name="A", prefix="Bearer ")
        assert secret is not None
        assert secret.value == f"Bearer {TOKEN}"
        assert TOKEN not in repr(secret)
        monkeypatch.setenv("SOME_TOKEN", "")
        assert Secret.from_environment("SOME_TOKEN", place="header", name="A") is None


class TestUnchanged:
    ABOUT = "/repos/a/b"

    @pytest.fixture(autouse=True)
    def repository(self, venue: Any) -> None:
        venue.repositories["a/b"] = {"stars": 1}

    def test_an_unchanged_answer_is_not_sent_again(
        self, make_client: Callable[..., JsonClient], venue: Any
    ) -> None:
        known: dict[str, Any] = {}
        bodies = [make_client(known=known).get("repos/a/b").body for _ in range(2)]
        venue.repositories["a/b"] = {"stars": 2}
        bodies.append(make_client(known=known).get("repos/a/b").body)
        assert [body["stars"] for body in bodies] == [1, 1, 2]
        assert ["If-None-Match" in headers for _, _, headers in venue.requests] == [False, True, True]

    def test_few_answers_are_kept(
        self, make_client: Callable[..., JsonClient], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http, "KEPT_ANSWERS", 3)
        known: dict[str, Any] = {}
        client = make_client(known=known)
        for number in range(5):
            client.get("repos/a/b", {"n": number})
        assert [url[-1] for url in known] == ["2", "3", "4"]
