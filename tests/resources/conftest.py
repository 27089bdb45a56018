"""What the tests of the warehouse share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def processes() -> ModuleType:
    """The module of the worker processes; test folders are no packages, so it is loaded by its path."""
    name = "warehouse_processes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def nursery(processes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The process that worker processes are forked from."""
    with processes.nursery(tmp_path_factory.mktemp("reports")) as started:
        yield started
