"""Persisting: waits, deadline, what is given up at once, spacing of requests."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from resources.feeds.connectors.retry import (
    FetchError,
    MinimumInterval,
    Patience,
    Refusal,
    persist,
    retry_after,
)

URL = "http://example.test/data"


def failing(times: int, **how: object) -> Callable[[], str]:
    left = [times]

    def attempt() -> str:
        if left[0] == 0:
            return "answer"
        left[0] -= 1
        raise Refusal("busy", url=URL, **{"transient": True, "status": 503, **how})  # type: ignore[arg-type]

    return attempt


def test_waits_double_up_to_their_bound_with_chance_added(sleeps: list[float]) -> None:
    patience = Patience(attempts=6, first_wait=1.0, longest_wait=4.0, deadline=100, sleep=sleeps.append)
    assert persist(failing(5), patience) == "answer"
    assert [low <= wait <= low + 1.0 for wait, low in zip(sleeps, (1, 2, 4, 4, 4), strict=True)] == [True] * 5
    assert len(set(sleeps[2:])) == 3


def test_the_source_may_ask_for_a_longer_wait(sleeps: list[float], patience: Patience) -> None:
    assert persist(failing(1, wait=30.0), patience) == "answer"
    assert sleeps == [30.0]


def test_the_deadline_counts_the_waits(sleeps: list[float]) -> None:
    patience = Patience(attempts=50, first_wait=10.0, longest_wait=10.0, deadline=60.0, sleep=sleeps.append)
    with pytest.raises(FetchError) as caught:
        persist(failing(50), patience)
    assert 40.0 <= sum(sleeps) <= 60.0
    assert caught.value.attempts == len(sleeps) + 1


def test_what_cannot_succeed_is_tried_once(sleeps: list[float], patience: Patience) -> None:
    with pytest.raises(FetchError) as caught:
        persist(failing(1, transient=False, status=404), patience)
    assert sleeps == []
    assert str(caught.value) == f"{URL}: status 404 after 1 attempt: busy"
    assert not caught.value.transient


def test_without_an_answer_the_error_says_so(patience: Patience) -> None:
    with pytest.raises(FetchError, match=r"no answer after 4 attempts: busy"):
        persist(failing(9, status=None), patience)


def test_other_errors_pass_at_once(sleeps: list[float], patience: Patience) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        persist(broken, patience)
    assert sleeps == []


def test_each_wait_is_logged(patience: Patience, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        persist(failing(2), patience)
    assert [record.getMessage()[:44] for record in caplog.records] == [
        f"{URL}: busy; attempt {number} of" for number in (1, 2)
    ]


@pytest.mark.parametrize("name", ["attempts", "first_wait", "longest_wait", "deadline"])
def test_patience_has_bounds(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        Patience(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("17", 17.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 90.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("soon", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float) -> None:
    assert retry_after(header, 1445412480.0 - 90.0) == seconds


def test_requests_are_spaced() -> None:
    clock, waited = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock[0] += seconds

    interval = MinimumInterval(2.0, sleep, lambda: clock[0])
    interval.wait()
    clock[0] += 0.5
    interval.wait()
    interval.wait()
    clock[0] += 10.0
    interval.wait()
    assert waited == [1.5, 2.0]
