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
