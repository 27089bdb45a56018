"""A venue on the loopback interface, for the tests of feeds that read a network."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resources.feeds.connectors.retry import Patience


@pytest.fixture(scope="session")
def venue_server() -> ModuleType:
    """The module of the server; test folders are no packages, so it is loaded by its path."""
    name = "venue_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def now() -> datetime:
    return datetime.fromisoformat("2025-03-10 12:30")


@pytest.fixture
def venue(venue_server: ModuleType, now: datetime) -> Iterator[Any]:
    with venue_server.VenueServer(now) as server:
        yield server


@pytest.fixture
def sleeps() -> list[float]:
    """Seconds that were to be waited, in order; nobody waits."""
    return []


@pytest.fixture
def patience(sleeps: list[float]) -> Patience:
    return Patience(attempts=4, first_wait=0.5, longest_wait=8.0, deadline=100.0, sleep=sleeps.append)
