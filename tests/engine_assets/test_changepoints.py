"""Change points in the graph: stored with their alerts, and with a state that continues them."""

import json
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load

from engine.regimes.bocd import BOCDRegimeDetector
from engine_assets.changepoints import ALERTS, CHANGEPOINTS, STATES, changepoints
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

HOUR = timedelta(hours=1)
START = datetime.fromisoformat("2024-01-01")
BARS, SHIFT = 900, 600
STAGED = Table(
    "staging",
    "candles",
    "What the detector reads.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open."),
        Column("close", "DOUBLE", "Close."),
        Column("log_return", "DOUBLE", "Return.", nullable=True),
    ),
    ("symbol", "ts"),
)


def candles() -> pl.DataFrame:
    """One market that turns four times as volatile, and one that stays as it is."""
    rng = np.random.default_rng(4)
    parts = []
    for symbol, factor in (("BTC/USDT", 4.0), ("ETH/USDT", 1.0)):
        returns = 0.004 * rng.standard_t(5, BARS)
        returns[SHIFT:] *= factor
        frame = pl.DataFrame(
            {
                "symbol": symbol,
                "ts": [START + i * HOUR for i in range(BARS)],
                "close": 100.0 * np.exp(np.cumsum(returns)),
                "log_return": returns,
            }
        )
        parts.append(frame)
    return pl.concat(parts).cast(dict(STAGED.polars_schema))


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("changepoints")
    warehouse = Warehouse(address=str(folder / "t.duckdb"))
    warehouse.replace(STAGED, candles())
    assert dg.materialize(
        [changepoints], resources={"warehouse": warehouse, "settings": Settings(reports=folder)}
    ).success
    return {"warehouse": warehouse}


def test_the_market_that_changed_raises_an_alert_within_hours(resources: dict[str, Any]) -> None:
    alerts = resources["warehouse"].frame(f"FROM {ALERTS.full_name}")
    changed = START + SHIFT * HOUR
    (first,) = alerts.filter(pl.col("ts") >= changed).sort("ts").head(1).iter_rows(named=True)
    assert first["symbol"] == "BTC/USDT"
    assert first["ts"] - changed <= 8 * HOUR
    assert first["known_at"] == first["ts"] + HOUR
    assert abs(first["changed_at"] - changed) <= 8 * HOUR
    assert alerts.filter(pl.col("ts") < changed, pl.col("action") == "exit").height <= 1


def test_every_bar_has_its_row_and_the_state_continues_them(resources: dict[str, Any]) -> None:
    warehouse = resources["warehouse"]
    rows = warehouse.frame(f"FROM {CHANGEPOINTS.full_name} ORDER BY symbol, ts")
    assert rows.height == 2 * BARS
    state = warehouse.frame(f"FROM {STATES.full_name}")
    assert state["seen_until"].to_list() == [START + (BARS - 1) * HOUR]
    restored = BOCDRegimeDetector.from_arrays(load(state["content"][0]), json.loads(state["meta"][0]))

    longer = pl.concat(
        [
            candles(),
            pl.DataFrame(
                {
                    "symbol": ["BTC/USDT", "ETH/USDT"],
                    "ts": START + BARS * HOUR,
                    "close": 100.0,
                    "log_return": [0.01, -0.02],
                }
            ).cast(dict(STAGED.polars_schema)),
        ]
    )
    whole = BOCDRegimeDetector().detect(longer).filter(pl.col("ts") == START + BARS * HOUR)
    continued = restored.detect(longer.filter(pl.col("ts") == START + BARS * HOUR))
    assert continued.equals(whole)
