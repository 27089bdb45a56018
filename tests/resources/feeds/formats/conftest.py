from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from engine.market.finding import Reading


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file below the test's own folder, in a subfolder that says nothing about the market."""

    def _write(name: str, content: str | bytes) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


@pytest.fixture
def candles() -> Callable[..., pl.DataFrame]:
    """Candles whose prices and volumes differ in every bar."""

    def _candles(
        n: int = 30,
        start: datetime = datetime(2024, 1, 1),
        bar: timedelta = timedelta(hours=1),
        symbol: str = "BTC/USDT",
    ) -> pl.DataFrame:
        i = pl.int_range(n, eager=True)
        price = 100.0 + (i * 7 % 13).cast(pl.Float64)
        return pl.DataFrame(
            {
                "symbol": [symbol] * n,
                "ts": pl.Series([start + k * bar for k in range(n)], dtype=pl.Datetime("us")),
                "open": price,
                "high": price + 2.0 + (i % 5) * 0.25,
                "low": price - 2.0 - (i % 7) * 0.125,
                "close": price + 1.0 - (i % 3) * 0.5,
                "volume": 10.0 + (i * 3 % 11).cast(pl.Float64),
            }
        )

    return _candles


@pytest.fixture
def found() -> Callable[[Reading], dict[str, int]]:
    """Kinds of a reading's findings with the number of rows concerned."""

    def _found(reading: Reading) -> dict[str, int]:
        counts: dict[str, int] = {}
        for finding in reading.findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + finding.count
        return counts

    return _found
