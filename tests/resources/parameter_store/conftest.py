"""What the tests of the parameter store share."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resources.parameter_store import ParameterStore


class StandingClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **by: float) -> datetime:
        self.moment += timedelta(**by)
        return self.moment


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture(scope="session")
def postgres(new_database: Callable[[], str]) -> str:
    """Connection string of one database for all."""
    return new_database()


@pytest.fixture
def empty_postgres(postgres: str) -> str:
    """Address of that database, with nothing in it."""
    import psycopg

    with psycopg.connect(postgres) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    said = dict(part.split("=", 1) for part in postgres.split())
    return f"postgresql://{said['user']}@/{said['dbname']}?host={said['host']}&passfile={said['passfile']}"


@pytest.fixture
def new_store_address(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Address of a new, empty store of a kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/folder/parameters.sqlite"
        return str(request.getfixturevalue("empty_postgres"))

    return make


@pytest.fixture
def address(new_store_address: Callable[[str], str]) -> str:
    return new_store_address("sqlite")


@pytest.fixture
def store(address: str, clock: StandingClock) -> Iterator[ParameterStore]:
    made = ParameterStore(address, clock=clock)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def either_address(request: pytest.FixtureRequest, new_store_address: Callable[[str], str]) -> str:
    return new_store_address(request.param)


@pytest.fixture
def either_store(either_address: str, clock: StandingClock) -> Iterator[ParameterStore]:
    made = ParameterStore(either_address, clock=clock)
    yield made
    made.close()


@pytest.fixture(scope="session")
def parameter_processes() -> ModuleType:
    """The module of the worker processes; test folders are no packages, so it is loaded by its path."""
    name = "parameter_processes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def parameter_nursery(processes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The process that worker processes are forked from."""
    script = Path(__file__).with_name("parameter_processes.py")
    places = [str(script.parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield processes.Nursery(process, tmp_path_factory.mktemp("reports"))
        finally:
            process.terminate()
