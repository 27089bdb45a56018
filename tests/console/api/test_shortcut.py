"""An address that was shown before is answered without its route, and exactly as by its route."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.api.app import PREFIX, create_app
from console.api.desk import Desk
from console.api.reads.answers import Answers
from console.api.security.callers import Role
from console.api.settings import ConsoleSettings
from console.api.shortcut import Shortcut, Shown
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_LEDGER

HERE, OWN = ("127.0.0.1", 50_000), "http://127.0.0.1:3001"
WHO: dict[str, Any] = {"actor": "bob", "reason": "because"}
EPISODE = {
    "episodes": 10, "mean_score": -0.4, "best_score": 0.2, "best_so_far": 0.3, "searched": 33,
    **DEFAULTS.to_dict(),
}  # fmt: skip
NOT_KEPT = {"/me", "/events"}
"""What depends on who asks, and what never ends."""
_LOOKED_AT = re.compile(rb'"(at|checked_at)":"[^"]*"|"health":.*')
"""Moments, and what is found out beside the reads."""


class Counted:
    """Counts the requests that come as far as the routes."""

    def __init__(self, app: ASGIApp, seen: Counter[str]) -> None:
        self._app, self._seen = app, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._seen[scope["path"].removeprefix(PREFIX)] += 1
        await self._app(scope, receive, send)


class Pair:
    """Two consoles at one desk: as it is, and without the shortcut."""

    def __init__(self, desk: Desk, tokens: dict[Role, str], stack: ExitStack) -> None:
        self.quick, self.plain = create_app(desk), create_app(desk)
        self.routed = Counter[str]()
        self.quick.user_middleware.append(Middleware(Counted, seen=self.routed))
        self.plain.user_middleware = [each for each in self.plain.user_middleware if each.cls is not Shortcut]
        assert len(self.quick.user_middleware) == len(self.plain.user_middleware) + 2
        self._tokens, self._stack = tokens, stack
        self._portal = stack.enter_context(self._client(self.plain, None)).portal

    def _client(self, app: FastAPI, role: Role | None) -> TestClient:
        headers = {"Accept-Encoding": "identity"}  # lengths are those of what is said
        headers |= {} if role is None else {"Authorization": f"Bearer {self._tokens[role]}"}
        return TestClient(app, OWN, raise_server_exceptions=False, client=HERE, headers=headers)

    def of(self, role: Role | None) -> tuple[TestClient, TestClient]:
        """Clients in a role: of the console as it is, and of the one without the shortcut."""
        both = self._client(self.quick, role), self._client(self.plain, role)
        for client in both:
            client.portal = self._portal  # all are served on one event loop
        return both


Pairing = Callable[..., Pair]


@pytest.fixture
def pairing(desk: Desk, tokens: dict[Role, str], access: ConsoleSettings) -> Iterator[Pairing]:
    """Make both, by some settings of access."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Pair:
            desk.access = ConsoleSettings(**{**access.model_dump(), **settings})
            return Pair(desk, tokens, stack)

        yield make


def addresses(desk: Desk) -> list[str]:
    """Every read that there is, with a session and an experiment that there are."""
    held = desk.store.sessions.start("global", "quick_tune", configuration={"order": {}}, **WHO)
    held.report({**EPISODE, "episode": 1})
    held.finish("refused", **WHO)
    documented = create_app(desk).openapi()["paths"]
    paths = [path.removeprefix(PREFIX) for path, methods in documented.items() if "get" in methods]
    filled = [
        re.sub(r"\{[^}]*\}", "BTC-USDT" if "performance" in path else held.id, path)
        for path in paths
        if path not in NOT_KEPT and path != "/experiments/{id}"
    ]
    assert len(filled) > 12
    return [*filled, "/performance/BTC/USDT", "/parameters?scope=symbol:BTC/USDT", "/sessions?limit=1"]


def seen(response: Any) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return all that a client sees of a response, but for what differs from one look to the next."""
    if response.request.method != "HEAD":
        assert int(response.headers["content-length"]) == len(response.content)
    headers = [pair for pair in response.headers.multi_items() if pair[0] != "content-length"]
    return response.status_code, _LOOKED_AT.sub(b"", response.content), sorted(headers)


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_it_answers_as_the_route_does_and_instead_of_it(pairing: Pairing, desk: Desk, role: Role) -> None:
    pair, paths = pairing(), addresses(desk)
    quick, plain = pair.of(role)
    for path in paths:
        first, again, by_route = (client.get(f"{PREFIX}{path}") for client in (quick, quick, plain))
        assert first.status_code == 200, (path, first.text)
        assert seen(first) == seen(again) == seen(by_route), path
        assert again.headers["x-content-type-options"] == "nosniff"
        assert again.headers["cache-control"] == "no-store"
    assert pair.routed == Counter({path.partition("?")[0]: 1 for path in paths}) + Counter(
        {path.partition("?")[0]: 1 for path in paths if "?" in path}
    )


def test_who_asks_is_told_who_asks(pairing: Pairing) -> None:
    pair = pairing()
    (vic, _), (ann, _) = pair.of("viewer"), pair.of("operator")
    told = [client.get(f"{PREFIX}/me").json()["name"] for client in (vic, ann, vic, ann)]
    assert told == ["vic", "ann", "vic", "ann"]
    assert pair.routed["/me"] == 4


REFUSED: dict[str, tuple[Role | None, dict[str, Any], int]] = {
    "nobody": (None, {}, 401),
    "a wrong token": (None, {"headers": {"Authorization": "Bearer engine_guess"}}, 401),
    "a token twice": ("viewer", {"headers": [("Authorization", "Bearer a"), ("Authorization", "b")]}, 401),
    "another host": ("viewer", {"headers": {"Host": "evil.example"}}, 421),
    "no host": ("viewer", {"headers": {"Host": "a b"}}, 400),
    "another origin": ("operator", {"headers": {"Origin": "http://evil.example"}}, 403),
    "another site": ("viewer", {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
    "a body that is too long": ("viewer", {"headers": {"Content-Length": "99999999"}}, 413),
    "a length that is none": ("viewer", {"headers": {"Content-Length": "x"}}, 400),
    "HEAD": ("viewer", {"method": "HEAD"}, 405),
    "DELETE": ("operator", {"method": "DELETE"}, 405),
    "a change by a viewer": ("viewer", {"method": "POST", "json": {}}, 403),
    "what the route would refuse": ("viewer", {"params": {"limit": "0"}}, 422),
}


@pytest.mark.parametrize(("role", "sent", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_whatever_guards_a_route_guards_it(
    pairing: Pairing, role: Role | None, sent: dict[str, Any], status: int
) -> None:
    pair, path = pairing(), f"{PREFIX}/sessions"
    for client in pair.of("viewer"):
        assert [client.get(path).status_code for _ in range(2)] == [200, 200]
    asked = {"method": "GET", "url": path, **sent}
    by_shortcut, by_route = (client.request(**asked) for client in pair.of(role))
    assert by_shortcut.status_code == status
    assert seen(by_shortcut) == seen(by_route)


def test_its_own_pages_are_answered(pairing: Pairing) -> None:
    pair, path = pairing(origins="https://desk.example.com"), f"{PREFIX}/sessions"
    quick, plain = pair.of("viewer")
    for headers in (
        {"Origin": OWN},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://desk.example.com"},
    ):
        found = [client.get(path, headers=headers) for client in (quick, quick, plain)]
        assert seen(found[0]) == seen(found[1]) == seen(found[2])
        assert found[1].status_code == 200
    assert found[1].headers["access-control-allow-origin"] == "https://desk.example.com"
    assert pair.routed["/sessions"] == 1


def test_whoever_asks_for_too_much_is_refused(pairing: Pairing) -> None:
    pair, path = pairing(reads_per_second=0.01), f"{PREFIX}/sessions"
    found = [
        [client.get(path) for _ in range(2)] for role in ("viewer", "operator") for client in pair.of(role)
    ]
    assert [[each.status_code for each in pairs] for pairs in found] == [[200, 429]] * 4
    assert pair.routed["/sessions"] == 1  # the operator's was answered by the shortcut
    quick, plain = found[0][1], found[1][1]
    assert quick.json()["type"] == plain.json()["type"] == "urn:engine:problem:too-many-requests"
    assert quick.headers.keys() == plain.headers.keys()


# No answer is older than what it rests on


def known(pair: Pair, *paths: str) -> Callable[[], dict[str, Any]]:
    """Let addresses be known; return what reads them, none of them by its route."""
    quick, _ = pair.of("operator")
    for path in paths:
        assert quick.get(f"{PREFIX}{path}").status_code == 200
    routed = Counter(pair.routed)

    def read() -> dict[str, Any]:
        found = {path: quick.get(f"{PREFIX}{path}").json() for path in paths}
        assert {path: pair.routed[path] for path in routed} == routed
        return found

    return read


def changed(client: TestClient, action: str, **change: Any) -> None:
    body = {"scope": "global", "reason": "to see", **change}
    shown = client.post(f"{PREFIX}/confirmations", json={"action": action, "change": body})
    assert shown.status_code == 201, shown.text
    headers = {"Confirmation": shown.json()["confirmation"]}
    assert client.post(f"{PREFIX}/{action}", json=body, headers=headers).status_code == 200


def test_a_change_is_shown_by_the_next_read(pairing: Pairing, desk: Desk) -> None:
    pair = pairing()
    operator, _ = pair.of("operator")
    desk.store.commit("global", ParameterSet(social_go=0.9), expected=0, evidence={}, **WHO)
    read = known(pair, "/parameters", "/overrides", "/status", "/versions", "/history", "/symbols")
    before = read()

    changed(operator, "override", values={"costCapBps": 6.0})
    held = read()
    assert (before["/overrides"]["items"], held["/overrides"]["items"][0]["value"]) == ([], 6.0)
    assert held["/status"]["overridden"][0]["parameter"] == "costCapBps"
    changed(operator, "lift")
    assert read()["/overrides"]["items"] == []
    changed(operator, "rollback", version=0)
    after = read()
    assert (before["/parameters"]["version"], after["/parameters"]["version"]) == (1, 2)
    assert (after["/status"]["version"], len(after["/versions"]["items"])) == (2, 2)
    assert after["/history"]["items"][0]["seq"] > held["/history"]["items"][0]["seq"]
    changed(operator, "reset")
    assert (after["/parameters"]["comes_from"], read()["/parameters"]["comes_from"]) == ("global", "defaults")


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_other_processes_write_is_shown(pairing: Pairing, desk: Desk) -> None:
    read = known(pairing(), "/sessions", "/status", "/decisions?limit=200", "/performance/BTC-USDT")
    before = read()
    assert (before["/sessions"]["items"], before["/status"]["sessions"]) == ([], [])
    held = desk.store.sessions.start("global", "quick_tune", configuration={"order": {}}, **WHO)
    until(lambda: [each["id"] for each in read()["/sessions"]["items"]] == [held.id])
    until(lambda: [each["id"] for each in read()["/status"]["sessions"]] == [held.id])
    held.finish("refused", **WHO)
    until(lambda: read()["/sessions"]["items"][0]["verdict"] == "refused")
    until(lambda: read()["/status"]["sessions"] == [])
    desk.warehouse.replace(LIVE_DECISIONS, desk.warehouse.frame("FROM trading.live_decisions LIMIT 3"))
    until(lambda: len(read()["/decisions?limit=200"]["items"]) == 3)
    desk.warehouse.replace(LIVE_LEDGER, desk.warehouse.frame("FROM trading.live_ledger WHERE false"))
    until(lambda: read()["/performance/BTC-USDT"] != before["/performance/BTC-USDT"])


def test_whoever_is_told_reads_it_at_once(desk: Desk, tokens: dict[Role, str]) -> None:
    transport = httpx.ASGITransport(app=create_app(desk), client=HERE)
    sent = {"Authorization": f"Bearer {tokens['viewer']}"}

    async def story() -> None:
        async with httpx.AsyncClient(transport=transport, base_url=OWN, headers=sent, timeout=20) as client:
            stream = desk.events.stream()
            for number in range(1, 4):
                scope = f"symbol:S{number}/USDT"
                await asyncio.wait_for(anext(stream), 20)
                found = await client.get(f"{PREFIX}/sessions")
                assert len(found.json()["items"]) == number - 1
                await asyncio.to_thread(
                    desk.store.sessions.start, scope, "quick_tune", configuration={"order": {}}, **WHO
                )
                while b"event: session" not in await asyncio.wait_for(anext(stream), 20):
                    pass
                found = await client.get(f"{PREFIX}/sessions")
                assert len(found.json()["items"]) == number
            await stream.aclose()

    asyncio.run(asyncio.wait_for(story(), 60))


# The middleware alone


class Figure(BaseModel):
    n: int


class Routes:
    """Routes that show how often they were asked, or fail."""

    def __init__(self, answers: Answers) -> None:
        self.asked = Counter[tuple[str, bytes]]()
        self.error: Exception | None = None
        self._answers = answers

    def _make(self) -> Figure:
        if self.error is not None:
            raise self.error
        return Figure(n=self.asked.total())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = scope["path"], scope["query_string"]
        self.asked[address] += 1
        kept = self._answers.kept(address, self._make)
        await Shown(await self._answers.now(kept), kept)(scope, receive, send)


def ask(app: ASGIApp, path: str = "/a", query: bytes = b"", method: str = "GET") -> bytes:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing is read of a read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "state": {},
        "headers": [],
    }

    async def story() -> None:
        await app(scope, receive, send)

    asyncio.run(story())
    body: bytes = sent[1]["body"]
    return body


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


def test_every_address_has_its_own(answers: Answers) -> None:
    routes = Routes(answers)
    app = Shortcut(routes, answers)
    for _ in range(3):
        for path, query in (("/a", b""), ("/a", b"x=1"), ("/a", b"x=2"), ("/b", b"x=1"), ("/a", b"x=1&y")):
            ask(app, path, query)
    assert set(routes.asked.values()) == {1}
    assert len(routes.asked) == 5


def test_only_reads_are_answered_and_only_so_many_addresses_known(answers: Answers) -> None:
    routes = Routes(answers)
    app = Shortcut(routes, answers)
    for method in ("GET", "POST", "HEAD", "GET"):
        ask(app, method=method)
    assert routes.asked["/a", b""] == 3
    for number in range(600):
        ask(app, query=str(number).encode())
        ask(app)  # who is asked for often stays known
    assert len(app._known) == 512
    assert routes.asked["/a", b""] == 3


def test_of_an_error_the_route_tells(answers: Answers) -> None:
    routes = Routes(answers)
    app = Shortcut(routes, answers)
    ask(app)
    routes.error = ValueError("gone")
    answers.moved()
    with pytest.raises(ValueError, match="gone"):
        ask(app)
    assert routes.asked.total() == 2
    routes.error = None
    assert [json.loads(ask(app)), json.loads(ask(app))] == [{"n": 3}, {"n": 3}]
    assert routes.asked.total() == 3
