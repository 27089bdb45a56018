"""Allowances: so many at once, so many a second, and no more memory than for so many clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.api.security import limits
from console.api.security.limits import Allowance, client_address


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_a_rate() -> None:
    clock = Clock()
    allowance = Allowance(2.0, 3, clock)
    assert [allowance.take("a") for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 0.5]
    assert allowance.take("b") == 0.0
    clock.now += 0.5
    assert [allowance.take("a") for _ in range(2)] == [0.0, 0.5]
    clock.now += 100
    assert [allowance.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_waiting_is_not_taking() -> None:
    clock = Clock()
    allowance = Allowance(1.0, 1, clock)
    assert [allowance.wait("a") for _ in range(3)] == [0.0] * 3
    allowance.take("a")
    assert allowance.wait("a") == 1.0
    clock.now += 1.0
    assert allowance.wait("a") == 0.0


@given(
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=120),
)
def test_no_more_than_the_burst_and_the_rate(rate: float, burst: int, gaps: list[float]) -> None:
    clock = Clock()
    allowance, taken = Allowance(rate, burst, clock), 0
    for gap in gaps:
        clock.now += gap
        taken += allowance.take("a") == 0.0
    assert taken <= burst + rate * sum(gaps[1:]) + 1e-6


def test_clients_are_forgotten_the_longest_silent_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_CLIENTS", 3)
    allowance = Allowance(1.0, 1, Clock())
    for name in "abc":
        allowance.take(name)
    allowance.take("d")
    assert list(allowance._due) == ["b", "c", "d"]


def test_a_network_of_addresses_is_one_client() -> None:
    assert (
        client_address("2001:db8::1") == client_address("2001:db8::ffff:2") != client_address("2001:db8:1::1")
    )
    assert client_address("::1") == "::1"
    assert client_address("192.0.2.1") != client_address("192.0.2.2")
    assert client_address("no address") == "no address"
