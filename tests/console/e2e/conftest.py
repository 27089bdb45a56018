"""A small world of its own: a market where a better setting is planted, Dagster, the console, a browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from playwright.sync_api import Browser, sync_playwright

from console.services import Services
from console.together import make_tables, services
from engine.tuning.parameters import DEFAULTS
from engine_assets.live_decisions import live_decisions
from engine_assets.tuning_inputs import open_store
from resources.parameter_store import ParameterStore
from resources.settings import Settings
from resources.table import Column, SqlType, Table
from resources.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[3]
BAR, START, DAYS = timedelta(hours=4), datetime(2023, 1, 1), 460
SYMBOL = "BTC/USDT"
BEGIN = replace(DEFAULTS, tp_news=2.6)
"""What is in force when the world begins: version 1."""
LATER_BARS = 16
"""Bars that have not come when the world begins."""
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_TYPES: dict[str, SqlType] = {
    "symbol": "VARCHAR",
    "series": "VARCHAR",
    "ts": "TIMESTAMP",
    "available_at": "TIMESTAMP",
    "known_at": "TIMESTAMP",
}


def planted_market() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candles whose breakouts go on for days, and scores that are strong and wrong: `socialGo` is too low."""
    rng, bars = np.random.default_rng(5), DAYS * 6
    side = np.repeat(rng.choice([-1.0, 1.0], DAYS // 20 + 1), 120)[:bars]
    steps = 0.0025 * side + 0.0016 * rng.standard_normal(bars)
    close = 100.0 * np.exp(np.cumsum(steps))
    begin = np.concatenate([[100.0], close[:-1]])
    width = 1.0 + 0.0005 * np.abs(rng.standard_normal(bars))
    ts = pl.Series([START + number * BAR for number in range(bars)])
    candles = pl.DataFrame(
        {
            "symbol": SYMBOL,
            "ts": ts,
            "open": begin,
            "high": np.maximum(begin, close) * width,
            "low": np.minimum(begin, close) / width,
            "close": close,
            "volume": 1e8,
            "log_return": steps,
            "known_at": ts + BAR,
        }
    )
    said = pl.DataFrame({"symbol": SYMBOL, "ts": ts, "available_at": ts, "value": 0.5 - 0.4 * side})
    scores = [said.select(pl.lit(name).alias("series"), "*") for name in ("social_score", "news_score")]
    return candles, pl.concat(scores)


def keep(warehouse: Warehouse, name: str, frame: pl.DataFrame) -> None:
    columns = tuple(Column(each, _TYPES.get(each, "DOUBLE"), "-", nullable=True) for each in frame.columns)
    table = Table("staging", name, "Stand-in.", columns)
    warehouse.replace(table, table.of(frame))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class World:
    """Everything that a desk has, in one folder."""

    folder: Path
    bars: int = DAYS * 6 - LATER_BARS
    dagster_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.settings = Settings(warehouse=str(self.folder / "engine.duckdb"), bar="4h", reports=self.folder)
        self.warehouse = Warehouse(address=self.settings.warehouse)
        self.candles, scores = planted_market()
        keep(self.warehouse, "alternative", scores)
        self.store.commit("global", BEGIN, expected=0, actor="ann", reason="to begin with", evidence={})
        self.live_loop()
        (self.folder / "home").mkdir()
        shutil.copy(ROOT / "dagster.yaml", self.folder / "home")
        make_tables(self.folder / "home")
        self.environment = {
            "DAGSTER_HOME": str(self.folder / "home"),
            "ENGINE_WAREHOUSE": self.settings.warehouse,
            "ENGINE_BAR": "4h",
            "ENGINE_REPORTS": str(self.folder),
            "OMP_NUM_THREADS": "1",
        }
        started = services(self.dagster_port, self.port)
        self.dagster = tuple(replace(each, environment=self.environment) for each in started[:2])
        self.console = replace(started[2], environment={**self.environment, **started[2].environment})

    def serve(self, within: float = 240.0) -> None:
        """Start the console and wait until it answers."""
        environment = {**os.environ, **self.console.environment}
        with (self.folder / "console.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.console.command, env=environment, stdout=log, stderr=log, cwd=ROOT
            )
        deadline = time.monotonic() + within
        while not self.console.answers():
            assert self.process.poll() is None, (self.folder / "console.log").read_text()
            assert time.monotonic() < deadline, "the console does not answer"
            time.sleep(0.1)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the console."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> ParameterStore:
        return open_store(self.settings)

    def live_loop(self, new_bars: int = 0) -> pl.DataFrame:
        """Let bars come and the live algorithm decide them; returns the decisions on them."""
        self.bars += new_bars
        keep(self.warehouse, "candles", self.candles.head(self.bars))
        # Not on the thread on which Playwright's loop runs.
        with ThreadPoolExecutor(1) as beside:
            assert beside.submit(self._decide).result()
        rows = self.warehouse.frame("FROM trading.live_decisions ORDER BY ts")
        return rows.tail(new_bars) if new_bars else rows

    def _decide(self) -> bool:
        resources = {"warehouse": self.warehouse, "settings": self.settings}
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize([live_decisions], resources=resources, instance=instance).success


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Dagster's web server and daemon and the console on a planted market."""
    made = World(tmp_path_factory.mktemp("world"))
    with Services(made.dagster, made.folder / "logs") as running:
        made.serve()
        try:
            running.start(within=330.0)
            yield made
        finally:
            made.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it; its loop runs on this thread, where other modules run their own."""
    path = Path(os.environ.get("ENGINE_CHROMIUM", "/usr/bin/chromium"))
    if not path.is_file():
        pytest.skip(f"there is no Chromium at {path}; ENGINE_CHROMIUM can name another place")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield opened
        opened.close()
