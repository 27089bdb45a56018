"""The console as a process: what reaches it over a socket, and how it ends and begins again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from console.api.security.callers import Role
from console.api.settings import ConsoleSettings
from resources.parameter_store import ParameterStore
from resources.settings import Settings

API = "/api/rl-training"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def console(settings: Settings, access: ConsoleSettings, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "ENGINE_WAREHOUSE": settings.warehouse,
        "ENGINE_CONSOLE_PORT": str(port),
        "ENGINE_CONSOLE_TOKENS": ",".join(access.tokens),
        "ENGINE_CONSOLE_DAGSTER_URL": access.dagster_url,
    }
    process = subprocess.Popen([sys.executable, "-m", "console"], env=environment, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, market_file: Path) -> Settings:
    folder = tmp_path_factory.mktemp("server")
    (folder / "engine.duckdb").write_bytes(market_file.read_bytes())
    return Settings(warehouse=str(folder / "engine.duckdb"))


@pytest.fixture(scope="module")
def running(place: Settings, access: ConsoleSettings) -> Iterator[int]:
    port = free_port()
    with console(place, access, port):
        yield port


def exchange(port: int, *pieces: bytes) -> bytes:
    """Send bytes as they are, and return what comes back until the console closes or says no more."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(3)
        with suppress(OSError):  # it may close while we still send
            for piece in pieces:
                connection.sendall(piece)
        received = b""
        with suppress(OSError):
            while part := connection.recv(65_536):
                received += part
        return received


def head(port: int, tokens: dict[Role, str], first: str, *more: str) -> bytes:
    lines = (first, f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {tokens['operator']}", *more)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def alive(port: int, tokens: dict[Role, str]) -> bool:
    sent = {"Authorization": f"Bearer {tokens['viewer']}"}
    return httpx.get(f"http://127.0.0.1:{port}{API}/me", headers=sent).status_code == 200


JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
STOP = f"POST {API}/stop HTTP/1.1"


def test_a_body_in_chunks_has_the_same_limit(running: int, tokens: dict[Role, str]) -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    received = exchange(running, head(running, tokens, STOP, JSON, CHUNKED), *[chunk] * 64)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in received
    assert alive(running, tokens)


MALFORMED = {
    "no request at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "two lengths": head(1, {"operator": "x"}, STOP, "Content-Length: 2", "Content-Length: 3") + b"{}",
    "a length and chunks": head(1, {"operator": "x"}, STOP, "Content-Length: 2", CHUNKED) + b"0\r\n\r\n",
    "no host": f"GET {API}/me HTTP/1.1\r\n\r\n".encode(),
    "a header with a line break": f"GET {API}/me HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\rb\r\n\r\n".encode(),
    "a header with U+0000": f"GET {API}/me HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n".encode(),
    "an endless head": f"GET {API}/me HTTP/1.1\r\n".encode() + b"X: " + b"y" * 40_000,
    "an endless address": b"GET /" + b"a" * 40_000,
    "a head of many lines": f"GET {API}/me HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    + b"X: y\r\n" * 9_000
    + b"\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_request_is_refused(running: int, tokens: dict[Role, str], sent: bytes) -> None:
    assert exchange(running, sent).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))
    assert alive(running, tokens)


def test_a_line_break_in_the_address_does_not_become_a_header(running: int, tokens: dict[Role, str]) -> None:
    for path in (
        f"{API}/scenarios/results/x%0d%0aX-Owned:%20yes",
        "/%0d%0aX-Owned:%20yes",
        "/a?x=%0d%0aX-Owned:y",
    ):
        received = exchange(running, head(running, tokens, f"GET {path} HTTP/1.1", "Connection: close"))
        assert received.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nx-owned" not in received.lower()


def test_what_a_proxy_would_say_is_not_believed(running: int) -> None:
    sent = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
    }
    response = httpx.get(f"http://127.0.0.1:{running}/", headers=sent)
    assert "strict-transport-security" not in response.headers
    assert "server" not in response.headers


def test_a_request_before_another_is_not_part_of_it(running: int, tokens: dict[Role, str]) -> None:
    hidden = f"GET {API}/hidden HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    lines = (JSON, f"Content-Length: {len(hidden)}", "Connection: close")
    received = exchange(running, head(running, tokens, STOP, *lines) + hidden.encode())
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.startswith(b"HTTP/1.1 400 ")


def test_it_ends_when_asked_to_though_somebody_listens_and_goes_on_where_it_was(
    place: Settings, access: ConsoleSettings, tokens: dict[Role, str]
) -> None:
    port = free_port()
    headers = {"Authorization": f"Bearer {tokens['operator']}", "Idempotency-Key": "once"}
    override: dict[str, Any] = {
        "action": "override",
        "change": {"scope": "global", "values": {"socialGo": 0.7}, "reason": "to see"},
    }
    with console(place, access, port) as process:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}{API}", headers=headers, timeout=30)
        first = client.post("/confirmations", json=override)
        assert first.status_code == 201, first.text
        with client.stream("GET", "/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] in ("no-store", "no-cache")
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            with suppress(httpx.HTTPError):
                for _ in stream.iter_raw():
                    pass
            # Once all is closed it sends itself the signal, unless the interpreter has ended before.
            assert process.wait(20) in (0, -signal.SIGTERM)
            assert time.monotonic() - began < 5
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
    with console(place, access, port):
        again = httpx.post(
            f"http://127.0.0.1:{port}{API}/confirmations", json=override, headers=headers, timeout=30
        )
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    recorded = ParameterStore(place.parameter_store).history(limit=2)
    assert [(event.kind, event.content["status"]) for event in recorded] == [
        ("console.confirmations", 201)
    ] * 2
    assert first.json()["confirmation"] not in json.dumps([dict(event.content) for event in recorded])


def test_a_port_that_is_taken_is_named(place: Settings, access: ConsoleSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**os.environ, "ENGINE_WAREHOUSE": place.warehouse, "ENGINE_CONSOLE_PORT": str(port)}
        ended = subprocess.run(
            [sys.executable, "-m", "console"], env=environment, capture_output=True, timeout=120, check=False
        )
    assert ended.returncode != 0
    assert b"address already in use" in ended.stderr
