"""A console over a small market and an empty store: some weeks of what was decided and earned."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from console.api.app import create_app
from console.api.desk import Desk
from console.api.security.callers import Caller, Role, new_token
from console.api.settings import ConsoleSettings
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY, LIVE_LEDGER
from resources.settings import Settings
from resources.table import Column, SqlType, Table
from resources.warehouse import Warehouse

BAR, START, BARS = timedelta(hours=4), datetime.fromisoformat("2026-01-01"), 360
SYMBOLS = ("BTC/USDT", "ETH/USDT")
ADDRESS, HERE = "http://127.0.0.1:3001", ("127.0.0.1", 50_000)
NOBODY_LISTENS = "http://127.0.0.1:9"
TYPES: dict[pl.DataType, SqlType] = {pl.String(): "VARCHAR", pl.Datetime("us"): "TIMESTAMP"}
TOKENS = {role: new_token(Caller(name, role)) for name, role in (("ann", "operator"), ("vic", "viewer"))}


def _candles(symbol: str, rng: np.random.Generator) -> pl.DataFrame:
    steps = 0.01 * rng.standard_normal(BARS)
    close = 100.0 * np.exp(np.cumsum(steps))
    begin = np.concatenate([[100.0], close[:-1]])
    ts = [START + i * BAR for i in range(BARS)]
    return pl.DataFrame(
        {
            "symbol": symbol,
            "ts": ts,
            "open": begin,
            "high": np.maximum(begin, close),
            "low": np.minimum(begin, close),
            "close": close,
            "volume": 1e6,
            "log_return": steps,
            "known_at": [moment + BAR for moment in ts],
        }
    )


def _decisions(symbol: str, rng: np.random.Generator) -> pl.DataFrame:
    """An entry every sixth bar; the first half by the defaults, the rest by version 1."""
    rows: list[dict[str, Any]] = []
    for i in range(BARS):
        enters = i % 6 == 0
        rows.append(
            {
                "symbol": symbol,
                "ts": START + i * BAR,
                "action": "enter" if enters else "none",
                "kind": "BREAKOUT" if enters else None,
                "side": 1 if enters else 0,
                "size": 0.2 if enters else 0.0,
                "stop": 0.02 if enters else 0.0,
                "target": 0.04 if enters else 0.0,
                "confidence": float(rng.uniform(0.4, 0.9)) if enters else 0.0,
                "reasons": ["volatility percentile 80 is above 70"],
                "version": int(i >= BARS // 2),
                "scope": "global" if i >= BARS // 2 else None,
                "parameters_hash": "0" * 64,
                "overridden": [],
                "held_values": [],
                "waits": [],
                "experiment": None,
                "arm": None,
            }
        )
    return LIVE_DECISIONS.of(pl.DataFrame(rows, schema=LIVE_DECISIONS.polars_schema))


def _ledger(symbol: str, rng: np.random.Generator) -> pl.DataFrame:
    """Each position is entered on the bar after its decision and ends on the third after that."""
    rows: list[dict[str, Any]] = []
    equity = 1.0
    for i in range(0, BARS - 6, 6):
        earned = float(0.004 * rng.standard_normal() + 0.0005)
        common = {
            "symbol": symbol,
            "kind": "BREAKOUT",
            "side": 1,
            "size": 0.2,
            "price": 100.0,
            "fee": 1e-4,
            "slippage": 2e-5,
            "funding": 0.0,
            "decided_ts": START + i * BAR,
            "entry_ts": START + (i + 1) * BAR,
            "version": int(i >= BARS // 2),
            "experiment": None,
            "arm": None,
        }
        entry = {"ts": common["entry_ts"], "event": "entry", "net_return": None, "equity": equity}
        equity *= 1 + earned
        event = "target" if earned > 0 else "stop"
        ended = {"ts": START + (i + 4) * BAR, "event": event, "net_return": earned, "equity": equity}
        rows += [common | entry, common | ended]
    return LIVE_LEDGER.of(pl.DataFrame(rows, schema=LIVE_LEDGER.polars_schema))


def _equity(symbol: str, rng: np.random.Generator) -> pl.DataFrame:
    return LIVE_EQUITY.of(
        pl.DataFrame(
            {
                "symbol": symbol,
                "ts": [START + i * BAR for i in range(BARS)],
                "equity": np.exp(np.cumsum(0.002 * rng.standard_normal(BARS) + 1e-4)),
                "exposure": 0.2,
            }
        )
    )


@pytest.fixture(scope="session")
def market_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse that tests copy."""
    path = tmp_path_factory.mktemp("console") / "engine.duckdb"
    warehouse, rng = Warehouse(address=str(path)), np.random.default_rng(3)
    candles = pl.concat(_candles(symbol, rng) for symbol in SYMBOLS)
    columns = tuple(Column(name, TYPES.get(kind, "DOUBLE"), "-") for name, kind in candles.schema.items())
    table = Table("staging", "candles", "Stand-in.", columns, ("symbol", "ts"))
    warehouse.replace(table, table.of(candles))
    for declared, rows in ((LIVE_DECISIONS, _decisions), (LIVE_LEDGER, _ledger), (LIVE_EQUITY, _equity)):
        warehouse.replace(declared, pl.concat(rows(symbol, rng) for symbol in SYMBOLS))
    return path


@pytest.fixture
def settings(market_file: Path, tmp_path: Path) -> Settings:
    """Each test has a warehouse and parameters of its own."""
    shutil.copy(market_file, tmp_path / "engine.duckdb")
    return Settings(
        warehouse=str(tmp_path / "engine.duckdb"), reports=tmp_path / "reports", bar="4h", profile="smoke"
    )


@pytest.fixture(scope="session")
def tokens() -> dict[Role, str]:
    """The token of each role."""
    return {hashed.caller.role: secret for secret, hashed in TOKENS.values()}


@pytest.fixture(scope="session")
def access() -> ConsoleSettings:
    """Two tokens, no Dagster, and more requests than a person makes."""
    hashes = tuple(str(hashed) for _, hashed in TOKENS.values())
    return ConsoleSettings(
        tokens=hashes, writes_per_minute=60_000, reads_per_second=10_000, dagster_url=NOBODY_LISTENS
    )


@pytest.fixture
def desk(settings: Settings, access: ConsoleSettings) -> Iterator[Desk]:
    made = Desk.open(settings, access)
    yield made
    made.close()


@pytest.fixture
def app(desk: Desk) -> FastAPI:
    return create_app(desk)


def client_of(app: FastAPI, role: Role | None) -> TestClient:
    """Make a client that sends the token of a role, or none; errors of the console are answers to it."""
    headers = {} if role is None else {"Authorization": f"Bearer {TOKENS[role][0]}"}
    return TestClient(app, ADDRESS, raise_server_exceptions=False, client=HERE, headers=headers)


@pytest.fixture
def operator(app: FastAPI) -> Iterator[TestClient]:
    with client_of(app, "operator") as client:
        yield client


@pytest.fixture
def viewer(app: FastAPI, operator: TestClient) -> TestClient:
    client = client_of(app, "viewer")
    client.portal = operator.portal  # all are served on one event loop
    return client


@pytest.fixture
def stranger(app: FastAPI, operator: TestClient) -> TestClient:
    client = client_of(app, None)
    client.portal = operator.portal
    return client
