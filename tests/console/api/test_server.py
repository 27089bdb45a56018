"""The server: a head of a request has an end, and what is to stay is not looked through again and again."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from console.api.app import create_app
from console.api.desk import Desk
from console.api.security.callers import Role
from console.api.server import server, settle
from console.api.settings import ConsoleSettings

MOST = 16_384


@pytest.fixture
def port(desk: Desk, access: ConsoleSettings) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = int(free.getsockname()[1])
    made = server(create_app(desk), ConsoleSettings(**{**access.model_dump(), "port": found}))
    thread = threading.Thread(target=made.run)
    thread.start()
    while not made.started:
        time.sleep(0.05)
    yield found
    made.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def head(tokens: dict[Role, str]) -> bytes:
    lines = (
        "GET /api/rl-training/me HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {tokens['viewer']}",
    )
    return "\r\n".join(lines).encode() + b"\r\n"


def statuses(port: int, *pieces: bytes) -> list[bytes]:
    """Send bytes piece by piece; return the statuses of what comes back until the console says no more."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(2)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)
        with suppress(OSError):
            while part := connection.recv(65_536):
                received += part
    return [each[:3] for each in received.split(b"HTTP/1.1 ")[1:]]


def padded(head: bytes, size: int) -> bytes:
    """Make a whole head of about this size."""
    return head + b"X: " + b"y" * (size - len(head) - 7) + b"\r\n\r\n"


def test_a_head_may_be_as_long_as_it_may_be(port: int, head: bytes) -> None:
    assert statuses(port, padded(head, MOST - 100)) == [b"200"]
    assert statuses(port, padded(head, MOST + 100)) == [b"400"]
    lines = head + b"".join(b"X: y\r\n" for _ in range(MOST // 6)) + b"\r\n"
    assert statuses(port, lines) == [b"400"]


def test_a_head_that_never_ends_is_refused_in_pieces_as_well(port: int, head: bytes) -> None:
    whole = padded(head, MOST - 100)
    assert statuses(port, *(whole[at : at + 4_000] for at in range(0, len(whole), 4_000))) == [b"200"]
    endless = [head + b"X: ", *[b"y" * 2_000] * 12]
    assert statuses(port, *endless) == [b"400"]
    assert statuses(port, b"GET /", *[b"a" * 2_000] * 12) == [b"400"]


def test_heads_count_one_by_one(port: int, head: bytes) -> None:
    whole = padded(head, 6_000)
    assert statuses(port, *[whole] * 6) == [b"200"] * 6
    assert statuses(port, whole * 6) == [b"200"] * 6


def test_what_a_body_holds_is_no_head(port: int, tokens: dict[Role, str]) -> None:
    head = (
        f"POST /api/rl-training/stop HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {tokens['operator']}\r\nContent-Length: 40000\r\n\r\n"
    ).encode()
    body = b'{"reason": "' + b"x" * 39_986 + b'"}'
    assert statuses(port, head, *(body[at : at + 5_000] for at in range(0, len(body), 5_000))) == [b"422"]


def test_what_is_there_once_all_is_loaded_is_left_alone(desk: Desk) -> None:
    from starlette.testclient import TestClient

    loaded = threading.Event()
    with TestClient(create_app(desk, loaded=loaded.set)):
        assert loaded.wait(60)
    before: Any = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
