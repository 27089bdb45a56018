"""Fixtures that every test package shares."""

from pathlib import Path

import pytest

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Folder of recorded market data beside the project; tests that need it skip where it is absent."""
    if not MARKET.is_dir():
        pytest.skip(f"recorded market data is not at {MARKET}")
    return MARKET


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, the main job before all: no process is left alone with them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, "engine_jobs" not in item.path.parts))
