"""A confirmation is good for one change, once, for a minute, by one caller, while nothing has moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from console.api.problems import Problem
from console.api.security import confirmations as module
from console.api.security.callers import Caller
from console.api.security.confirmations import Change, Confirmations

ANN, BOB = Caller("ann", "operator"), Caller("bob", "operator")
CHANGE = Change("rollback", {"scope": "global", "version": 3, "reason": "x"}, {"global": 4, "holds": []})


class Clock:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def refused(use: Callable[[], None]) -> tuple[int, str]:
    with pytest.raises(Problem) as caught:
        use()
    return caught.value.status, caught.value.kind


def test_it_is_used_up() -> None:
    confirmations = Confirmations()
    given = confirmations.issue(CHANGE, ANN)
    same = Change("rollback", dict(reversed(list(CHANGE.request.items()))), dict(CHANGE.before))
    confirmations.consume(given.token, same, ANN)
    assert refused(lambda: confirmations.consume(given.token, same, ANN)) == (403, "confirmation-invalid")


def test_none_is_not_enough() -> None:
    assert refused(lambda: Confirmations().consume(None, CHANGE, ANN)) == (428, "confirmation-required")
    for unknown in ("", "x", "é", "0" * 10_000):
        with pytest.raises(Problem) as caught:
            Confirmations().consume(unknown, CHANGE, ANN)
        assert caught.value.status == 403


def test_it_ends_after_a_minute() -> None:
    clock = Clock()
    confirmations = Confirmations(clock)
    first, second = (confirmations.issue(CHANGE, ANN) for _ in range(2))
    assert first.expires_at == clock.now + timedelta(seconds=60)
    clock.now += timedelta(seconds=59.9)
    confirmations.consume(first.token, CHANGE, ANN)
    clock.now += timedelta(seconds=0.1)
    assert refused(lambda: confirmations.consume(second.token, CHANGE, ANN))[0] == 403


@pytest.mark.parametrize(
    ("change", "caller", "status"),
    [
        (CHANGE, BOB, 403),
        (CHANGE, Caller("ann", "viewer"), 403),
        (Change("reset", CHANGE.request, CHANGE.before), ANN, 403),
        (Change("rollback", {**CHANGE.request, "version": 2}, CHANGE.before), ANN, 403),
        (Change("rollback", {**CHANGE.request, "reason": "y"}, CHANGE.before), ANN, 403),
        (Change("rollback", {**CHANGE.request, "until": None}, CHANGE.before), ANN, 403),
        (Change("rollback", CHANGE.request, {**CHANGE.before, "global": 5}), ANN, 409),
        (Change("rollback", CHANGE.request, {**CHANGE.before, "holds": ["socialGo"]}), ANN, 409),
    ],
)
def test_it_is_for_one_change_of_one_state_by_one_caller(change: Change, caller: Caller, status: int) -> None:
    confirmations = Confirmations()
    given = confirmations.issue(CHANGE, ANN)
    assert refused(lambda: confirmations.consume(given.token, change, caller))[0] == status
    # A try that was refused uses it up as well.
    assert refused(lambda: confirmations.consume(given.token, CHANGE, ANN))[0] == 403


def test_of_many_at_once_one_gets_through() -> None:
    confirmations = Confirmations()
    given = confirmations.issue(CHANGE, ANN)
    outcomes: list[bool] = []

    def use() -> None:
        try:
            confirmations.consume(given.token, CHANGE, ANN)
            outcomes.append(True)
        except Problem:
            outcomes.append(False)

    threads = [Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 19 + [True]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    clock = Clock()
    confirmations = Confirmations(clock)
    given = [confirmations.issue(CHANGE, ANN) for _ in range(5)]
    assert len(confirmations._issued) == 3
    confirmations.consume(given[4].token, CHANGE, ANN)
    assert refused(lambda: confirmations.consume(given[1].token, CHANGE, ANN))[0] == 403
    clock.now += timedelta(minutes=2)
    confirmations.issue(CHANGE, ANN)
    assert len(confirmations._issued) == 1


def test_tokens_are_not_kept_as_they_are() -> None:
    confirmations = Confirmations()
    given = confirmations.issue(CHANGE, ANN)
    assert given.token not in str(confirmations.__dict__)
