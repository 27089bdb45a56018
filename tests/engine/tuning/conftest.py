"""Markets that the tests of the live algorithm share."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.market.simulator import MarketSimulator, SimulatedMarket
from engine.tuning.market_state import StateTape, state_tape
from engine.tuning.parameters import highs, lows

HOUR = timedelta(hours=1)


@pytest.fixture(scope="session")
def simulated() -> SimulatedMarket:
    """Four months of two symbols."""
    return MarketSimulator(["BTC/USDT", "ETH/USDT"], seed=11).simulate(datetime(2024, 1, 1), 2900)


@pytest.fixture(scope="session")
def simulated_tape(simulated: SimulatedMarket) -> StateTape:
    return state_tape(simulated.candles, simulated.observations, HOUR)


@pytest.fixture(scope="session")
def some_sets() -> Callable[[int, int], np.ndarray]:
    """Draw parameter sets inside the bounds."""

    def draw(count: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return lows() + rng.random((count, lows().size)) * (highs() - lows())

    return draw


@pytest.fixture(scope="session")
def recorded(market_data: Path) -> Callable[[], Iterator[tuple[str, pl.DataFrame]]]:
    """Hourly candles of every recorded symbol, spot and perpetual."""

    def load() -> Iterator[tuple[str, pl.DataFrame]]:
        for folder in ("spot_1h", "futures_1h"):
            for path in sorted((market_data / "candles" / folder).glob("*.parquet")):
                frame = pl.read_parquet(path).with_columns(pl.col("ts").dt.replace_time_zone(None))
                yield str(frame["symbol"][0]), frame

    return load
