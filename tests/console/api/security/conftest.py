"""The guards around a few routes that do nothing but count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

from console.api.guards import guards
from console.api.problems import HANDLED, Problem, answer
from console.api.reads.answers import Answers
from console.api.security.callers import Operator, Role, Viewer
from console.api.settings import ConsoleSettings
from resources.parameter_store import ParameterStore

PREFIX = "/api/things"


def counting_app(access: ConsoleSettings, store: ParameterStore, static: Path) -> FastAPI:
    """Routes that count how often they were executed."""
    paths = ["", "/{name}/mark", "/slow", "/refuse", "/fail", "/stream"]
    app = FastAPI(middleware=guards(access, store, Answers(), PREFIX, paths, static))
    app.state.done = done = Counter[str]()
    app.state.entered, app.state.proceed = asyncio.Event(), asyncio.Event()
    for error in HANDLED:
        app.add_exception_handler(error, answer)

    @app.get(PREFIX)
    async def read(caller: Viewer) -> dict[str, str]:
        return {"caller": caller.name, "role": caller.role}

    @app.get(f"{PREFIX}/unguarded")
    async def unguarded() -> str:
        return "a route that forgot to ask for a caller"

    @app.post(f"{PREFIX}/unguarded")
    async def unguarded_change() -> str:
        done["unguarded"] += 1
        return "likewise"

    @app.post(f"{PREFIX}/{{name}}/mark", status_code=202)
    async def mark(name: str, body: dict[str, Any], caller: Operator) -> dict[str, Any]:
        done[name] += 1
        return {"name": name, "count": done[name], "run_id": f"r{done[name]}", "secret": "swordfish"}

    @app.post(f"{PREFIX}/slow")
    async def slow(body: dict[str, Any], caller: Operator) -> dict[str, int]:
        done["slow"] += 1
        app.state.entered.set()
        await app.state.proceed.wait()
        return {"count": done["slow"]}

    @app.post(f"{PREFIX}/refuse")
    async def refuse(body: dict[str, Any], caller: Operator) -> None:
        done["refuse"] += 1
        raise Problem(409, "busy", "somebody else is at it", holder="bob@desk")

    @app.post(f"{PREFIX}/fail")
    async def fail(body: dict[str, Any], caller: Operator) -> None:
        done["fail"] += 1
        raise RuntimeError("swordfish")

    @app.get(f"{PREFIX}/stream")
    async def stream(caller: Viewer) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "first"
            app.state.entered.set()
            await app.state.proceed.wait()
            yield "second"

        return StreamingResponse(pieces())

    return app


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ParameterStore]:
    made = ParameterStore(f"sqlite:///{tmp_path}/parameters.sqlite")
    yield made
    made.close()


Serve = Callable[..., TestClient]


@pytest.fixture
def serve(
    store: ParameterStore, access: ConsoleSettings, tokens: dict[Role, str], tmp_path: Path
) -> Iterator[Serve]:
    """Serve the routes by some settings; return a client in a role, from an address."""
    with ExitStack() as clients:

        def make(
            role: Role | None = "operator",
            *,
            address: str = "127.0.0.1",
            app: FastAPI | None = None,
            **settings: Any,
        ) -> TestClient:
            chosen = ConsoleSettings(**{**access.model_dump(), **settings})
            served = app or counting_app(chosen, store, tmp_path / "static")
            headers = {} if role is None else {"Authorization": f"Bearer {tokens[role]}"}
            client = TestClient(
                served,
                "http://127.0.0.1:3001",
                raise_server_exceptions=False,
                client=(address, 5),
                headers=headers,
            )
            return clients.enter_context(client)

        yield make
