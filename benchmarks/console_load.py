"""How fast the console answers while a training run goes, and what that costs the training.

Run from the project root: ``python -m benchmarks.console_load``. On a simulated market, Dagster's web server
and daemon and the console run as `make ui` starts them. Sessions of training run in a process of their own,
on the same warehouse and parameter store, in turn with nobody at the console and with `--pages` clients on
the event stream and `--rate` reads a second on eleven paths, from one more process. Latency counts from the
moment at which a request was due, so that a slow answer does not hide those that wait behind it. With
``--cores 2`` all of it stays on the first two cores. All shares are of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import polars as pl
import uvloop

from benchmarks.console_load_client import Measured, load
from console.services import Services
from console.together import make_tables, services
from engine.market.segments import segments
from engine.market.simulator import MarketSimulator
from engine_assets.live_decisions import live_decisions
from engine_assets.tuning_inputs import open_store
from engine_assets.tuning_order import TuneOrder
from engine_assets.tuning_sessions import conduct
from resources.settings import Settings
from resources.table import Column, SqlType, Table
from resources.warehouse import Warehouse

BEGIN, HOUR = datetime(2023, 1, 1), timedelta(hours=1)  # noqa: DTZ001  moments are UTC without zone
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
SCENARIO = "comprehensive_evolution"
_SQL: dict[Any, SqlType] = {
    pl.String(): "VARCHAR",
    pl.Datetime("us"): "TIMESTAMP",
    pl.Int64(): "BIGINT",
    pl.Float64(): "DOUBLE",
}
_TICKS = os.sysconf("SC_CLK_TCK")


def keep(warehouse: Warehouse, name: str, frame: pl.DataFrame) -> None:
    """Store a frame as a staged table."""
    integers = [column for column, dtype in frame.schema.items() if dtype.is_integer()]
    frame = frame.with_columns(pl.col(integers).cast(pl.Int64), pl.col(pl.Float64).fill_nan(None))
    columns = tuple(Column(each, _SQL[dtype], "-", nullable=True) for each, dtype in frame.schema.items())
    warehouse.replace(Table("staging", name, "A simulated market.", columns), frame)


def settings_of(folder: Path) -> Settings:
    """Return the settings of everything that runs in a folder."""
    return Settings(warehouse=str(folder / "engine.duckdb"), profile="demo", reports=folder)


def make_market(folder: Path, days: int) -> None:
    """Simulate a market, and let the live algorithm decide on its newest days."""
    settings = settings_of(folder)
    warehouse = Warehouse(address=settings.warehouse)
    made = MarketSimulator(SYMBOLS, HOUR, 7).simulate(BEGIN, days * 24)
    returns = (pl.col("close").log() - pl.col("close").log().shift(1)).over("symbol")
    candles = made.candles.with_columns(
        log_return=returns, known_at=pl.col("ts") + HOUR, segment=segments(made.candles, HOUR)
    )
    keep(warehouse, "candles", candles)
    keep(warehouse, "alternative", made.observations)
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"warehouse": warehouse, "settings": settings}
        assert dg.materialize([live_decisions], resources=resources, instance=instance).success


def train(folder: Path, sessions: int) -> None:
    """Run sessions in a row; print the seconds that they took, and those of the processor."""
    settings = settings_of(folder)
    store, warehouse = open_store(settings), Warehouse(address=settings.warehouse)
    sys.stdin.readline()
    began, spent = time.perf_counter(), time.process_time()
    for seed in range(sessions):
        order = TuneOrder(scenario=SCENARIO, seed=seed, actor="benchmark", reason="to be watched")
        conduct(order, store, warehouse, settings)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent}))


class Training:
    """Sessions in a process of their own, which has its imports behind it when it is told to begin."""

    def __init__(self, folder: Path, sessions: int) -> None:
        options = ["--train", str(folder), "--sessions", str(sessions)]
        command = [sys.executable, "-m", "benchmarks.console_load", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ended(self) -> dict[str, Any]:
        """Wait for its end."""
        said, _ = self.process.communicate()
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pid_on(port: int) -> int:
    """Process that listens on a port of loopback."""
    listening = f":{port:04X} 00000000:0000 0A"
    (inode,) = [
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if listening in line
    ]
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(each.readlink()) == f"socket:[{inode}]" for each in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue
    raise LookupError(f"nobody listens on {port}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Crowd:
    """Clients at the console, in a process of their own; made, they listen and read."""

    def __init__(self, url: str, pages: int, rate: float) -> None:
        options = ["--client", url, "--pages", str(pages), "--rate", str(rate)]
        command = [sys.executable, "-m", "benchmarks.console_load", *options]
        # In a session of its own, as processes of one may share a share of the cores: the clock of the
        # clients is not to stand still because the training computes.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def leave(self) -> Measured:
        """End; returns what was seen."""
        said, _ = self.process.communicate()
        return Measured(**json.loads(said))


async def crowd(url: str, pages: int, rate: float) -> None:
    """Load the console until standard input ends; print what was seen."""
    over = asyncio.Event()
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    ended.add_done_callback(lambda _: over.set())
    seen = await load(
        url, SYMBOLS[0], pages=pages, rate=rate, ready=lambda: print("ready", flush=True), over=over
    )
    print(json.dumps(asdict(seen)))


def measured(folder: Path, url: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train in turn without and with a crowd; one row for each training."""
    api, rows = pid_on(urlsplit(url).port or 80), []
    for pair in range(options.pairs):
        for crowded in (False, True) if pair % 2 == 0 else (True, False):
            training = Training(folder, options.sessions)
            people = Crowd(url, options.pages, options.rate) if crowded else None
            before, began, busy = cpu_seconds(api), time.perf_counter(), os.getloadavg()[0]
            training.begin()
            row = {"pair": pair, "crowded": crowded, **training.ended()}
            row["api"] = (cpu_seconds(api) - before) / (time.perf_counter() - began)
            row["load"] = (busy, os.getloadavg()[0])
            row["seen"] = people.leave() if people else None
            rows.append(row)
            print(shown(row), flush=True)
    return rows


def shown(row: dict[str, Any]) -> str:
    """Lay out one line of the table."""
    seen: Measured | None = row["seen"]
    line = (
        f"| {row['pair'] + 1} | {'crowd' if seen else 'nobody'} | {row['seconds']:.1f} | {row['cpu']:.1f} "
        f"| {row['api']:.0%} | {row['load'][0]:.1f}, {row['load'][1]:.1f} "
    )
    if seen is None:
        return line + "| | | | | | |"
    return line + (
        f"| {seen.reads / seen.seconds:.0f} | {seen.median:.1f} / {seen.p95:.1f} / {seen.p99:.1f} "
        f"/ {seen.worst:.0f} | {sum(seen.refused.values())} | {seen.streams} "
        f"| {sum(seen.events.values())} | {seen.cpu:.0%} |"
    )


def summary(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print what the trainings have in common."""
    ratios = []
    for pair in range(options.pairs):
        with_crowd, alone = (
            next(row["seconds"] for row in rows if (row["pair"], row["crowded"]) == (pair, crowded))
            for crowded in (True, False)
        )
        ratios.append(with_crowd / alone - 1.0)
    seen = [row["seen"] for row in rows if row["seen"]]
    print(
        f"\np99 of all reads: {max(one.p99 for one in seen):.1f} ms in the worst training, wanted below 100"
    )
    print(
        f"training takes longer by {statistics.median(ratios):.1%} "
        f"({', '.join(f'{one:.1%}' for one in ratios)}), wanted below 10 %"
    )
    for one in seen:
        print(f"slowest p99, ms: {one.slowest}; events: {one.events}; refused: {one.refused or 'none'}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=200, help="clients on the event stream")
    parser.add_argument("--rate", type=float, default=500.0, help="reads a second")
    parser.add_argument("--pairs", type=int, default=3, help="trainings with and without them")
    parser.add_argument("--sessions", type=int, default=10, help="in a row, in each training")
    parser.add_argument("--days", type=int, default=1_095, help="of the market")
    parser.add_argument("--cores", type=int, help="stay on the first so many cores")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        return train(options.train, options.sessions)
    if options.client:
        return uvloop.run(crowd(options.client, options.pages, options.rate))
    if options.cores:
        os.sched_setaffinity(0, range(options.cores))
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_market(folder, options.days)
        (folder / "home").mkdir()
        shutil.copy("dagster.yaml", folder / "home")
        os.environ |= {
            "DAGSTER_HOME": str(folder / "home"),
            "ENGINE_WAREHOUSE": str(folder / "engine.duckdb"),
            "ENGINE_PROFILE": "demo",
        }
        dagster, port = free_port(), free_port()
        with Services(services(dagster, port), folder / "logs") as running:
            make_tables(folder / "home")
            running.start(within=300.0)
            print(
                f"{options.pages} clients on the event stream, {options.rate:g} reads a second; {SCENARIO}\n"
            )
            print(
                "| pair | at the console | training s | its CPU s | API CPU | load average | reads/s "
                "| median / p95 / p99 / worst ms | refused | streams | events | clients' CPU |"
            )
            print("|" + "---|" * 12)
            rows = measured(folder, f"http://127.0.0.1:{port}", options)
            running.check()
        summary(rows, options)
    return None


if __name__ == "__main__":
    main()
