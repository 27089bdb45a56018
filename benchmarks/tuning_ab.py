"""An A/B test of parameters, from the session that asks for it to its verdict, by processes of their own.

Run from the project root: ``python -m benchmarks.tuning_ab --kills 12``. On a market whose news is strong and
wrong ``engine tune start --mode ab`` finds a set that is deaf to it, and registers it. Bars arrive, and the
job of the live loop runs in one process after another, of which some are killed with SIGKILL at an instant
drawn at random and started again. Once the horizon is over the test is judged, and the set is applied if it
was better and dropped if it was not. The same is done once more with nobody killed and all bars of the
horizon at once, and all must be the same.

With ``--turns`` the news is right from the moment on at which the test is registered: the set is dropped.

Run with ``--serve FOLDER`` it is the process that those of the job are forked from.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import numpy as np
import polars as pl

from benchmarks.tuning_faults import Forks, Worker
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine_assets import live_decisions
from engine_assets.live_ab import design_of
from engine_assets.live_tables import TABLES
from engine_assets.tuning import parameter_tables
from engine_assets.tuning_inputs import open_store
from engine_assets.tuning_tables import AB_RESULTS, HISTORY, LIVE_PARAMETERS
from engine_jobs.cli.main import main as engine
from engine_jobs.jobs import build_jobs
from resources.parameter_store import ParameterStore
from resources.settings import CostSettings, Settings, load_settings
from resources.table import Column, SqlType, Table
from resources.warehouse import Warehouse

BAR, DAY = timedelta(hours=4), timedelta(days=1)
START = datetime(2023, 1, 1)  # noqa: DTZ001  moments are UTC without zone
KNOWN, HORIZON = 460, 12
"""Days that are there when the session begins, and days of the test: three symbols, 36 units."""
REGISTERED = START + KNOWN * DAY
SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
WHO = ("--actor", "ann", "--reason", "an A/B test to its end")
STAGES = {"live_frames": "walked", "watch_changes": "stored"}
"""What the job says once it has come to a function of its asset; a kill comes a little after a word."""
WORDS = ("started", *STAGES.values())
LITTLE = 0.3
"""Seconds."""
Say = Callable[..., None]


# ------------------------------------------------------------------------------------------- market


def made_market(turns: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Breakouts go on for days and news is strong and wrong; or right, once the market has turned."""
    bars = (KNOWN + HORIZON + 2) * 6
    ts = pl.datetime_range(START, START + bars * BAR, BAR, closed="left", eager=True, time_unit="us")
    candles, said = [], []
    for number, symbol in enumerate(SYMBOLS):
        rng = np.random.default_rng(number)
        side = np.repeat(rng.choice([-1.0, 1.0], bars // 120 + 1), 120)[:bars]
        steps = 0.0025 * side + 0.0016 * rng.standard_normal(bars)
        close = 100.0 * np.exp(np.cumsum(steps))
        opens = np.concatenate([np.array([100.0]), close[:-1]])
        width = 1.0 + 0.0005 * np.abs(rng.standard_normal(bars))
        candles.append(
            pl.DataFrame({"symbol": [symbol] * bars, "ts": ts, "open": opens, "close": close}).with_columns(
                high=pl.Series(np.maximum(opens, close) * width),
                low=pl.Series(np.minimum(opens, close) / width),
                volume=1e7,
                log_return=pl.Series(steps),
                known_at=pl.col("ts") + BAR,
            )
        )
        right = np.where(turns & (ts.to_numpy() >= np.datetime64(REGISTERED)), 1.0, -1.0)
        items = pl.DataFrame({"symbol": [symbol] * bars, "ts": ts, "available_at": ts})
        scores = items.with_columns(value=pl.Series(0.5 + 0.4 * right * side))
        said += [scores.select(pl.lit(name).alias("series"), "*") for name in ("social_score", "news_score")]
    return pl.concat(candles), pl.concat(said)


_TYPES: dict[Any, SqlType] = {
    pl.String(): "VARCHAR",
    pl.Datetime("us"): "TIMESTAMP",
    pl.Float64(): "DOUBLE",
}


def keep(warehouse: Warehouse, name: str, frame: pl.DataFrame) -> None:
    """Keep a frame as a table that the ingest makes elsewhere."""
    columns = tuple(Column(column, _TYPES[dtype], "-") for column, dtype in frame.schema.items())
    warehouse.replace(Table("staging", name, "Stand-in.", columns), frame)


# ------------------------------------------------------------------------------------------- processes


def settings_of(folder: Path) -> Settings:
    """Return the settings of the world that is kept in a folder."""
    # Small enough for the market, so that it is the parameters that decide what is traded.
    return Settings(
        source="simulated", bar="4h", warehouse=str(folder / "engine.duckdb"), reports=folder,
        costs=CostSettings(capital=50_000.0), profile="demo",
    )  # fmt: skip


def environment_of(folder: Path) -> dict[str, str]:
    """Return the same, as a process is told."""
    settings = settings_of(folder)
    return {
        "ENGINE_SOURCE": settings.source,
        "ENGINE_BAR": settings.bar,
        "ENGINE_WAREHOUSE": settings.warehouse,
        "ENGINE_REPORTS": str(folder),
        "ENGINE_PROFILE": settings.profile_name,
        "ENGINE_COSTS__CAPITAL": str(settings.costs.capital),
        "DAGSTER_HOME": str(folder),
    }


def live_loop(settings: Settings, say: Say) -> None:
    """Run the hourly job once, with its checks, and say how far it has come."""

    def announced(done: Callable[..., Any], word: str) -> Callable[..., Any]:
        def told(*arguments: Any) -> Any:
            say(word)
            return done(*arguments)

        return told

    for name, word in STAGES.items():
        setattr(live_decisions, name, announced(getattr(live_decisions, name), word))
    defs = dg.Definitions(
        assets=[live_decisions.live_decisions],
        asset_checks=list(live_decisions.CHECKS),
        jobs=[job for job in build_jobs() if job.name == "live_loop"],
        resources={"warehouse": Warehouse(address=settings.warehouse), "settings": settings},
    )
    with dg.DagsterInstance.get() as instance:
        defs.resolve_job_def("live_loop").execute_in_process(instance=instance)


def tables(settings: Settings) -> None:
    """Make the tables that tell of the parameters."""
    resources = {"warehouse": Warehouse(address=settings.warehouse), "settings": settings}
    with dg.DagsterInstance.get() as instance:
        dg.materialize([parameter_tables], resources=resources, instance=instance)


def play(report: str, folder: str, task: Sequence[str], days: int) -> None:
    """Do a task in this process, by a clock of the parameters that is some days ahead."""
    os.environ.update(environment_of(Path(folder)))
    # A horizon is days by the clock; everything else is as it is.
    ahead = timedelta(days=days)
    ParameterStore.__init__.__kwdefaults__["clock"] = lambda: datetime.now(UTC) + ahead  # type: ignore[index]
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(*words: object) -> None:
        os.write(file, json.dumps((time.monotonic(), *words)).encode() + b"\n")

    say("started")
    try:
        if task[0] == "live_loop":
            live_loop(load_settings(), say)
        elif task[0] == "tables":
            tables(load_settings())
        else:
            engine(list(task), standalone_mode=False)
        say("ended")
    except BaseException as error:
        say("error", type(error).__name__, str(error))


def serve() -> None:
    """Fork a process for each line of JSON."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then buries the dead at once
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _forked(json.loads(line))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _forked(task: dict[str, Any]) -> NoReturn:
    # What Dagster logs is no answer to whoever asked for this process.
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    try:
        play(**task)
    finally:
        os._exit(0)


class Nursery(Forks):
    """A process that has all imports, and forks others."""

    def __init__(self) -> None:
        super().__init__("benchmarks.tuning_ab")

    def start(self, folder: Path, *task: str, days: int = 0) -> Worker:
        """Fork a process that does a task."""
        return self.fork(folder, "process", {"folder": str(folder), "task": task, "days": days})

    def run(self, folder: Path, *task: str, days: int = 0) -> None:
        """Let a task be done to its end.

        Raises
        ------
        RuntimeError
            If it failed.
        """
        worker = self.start(folder, *task, days=days)
        worker.wait(lambda: False, timeout=300.0)
        words = worker.said()[-1]
        if words != ["ended"]:
            raise RuntimeError(f"{task}: {words}")


# ------------------------------------------------------------------------------------------- the test


@dataclass(frozen=True)
class Followed:
    """How a test went.

    Parameters
    ----------
    killed : int
        Processes that were killed before they had ended.
    verdict : str
    effect, p_value : float or None
    units : dict
        Seen of each set.
    in_force : int
        Version in force at the end; 0 means the defaults.
    parameters : dict
        Those in force.
    kinds : list of str
        What the audit trail has, in its order.
    rows : dict
        Of each table of the live algorithm: all of them.
    told : dict
        What the tables of the parameters tell of the experiment.
    """

    killed: int
    verdict: str
    effect: float | None
    p_value: float | None
    units: dict[str, int]
    in_force: int
    parameters: dict[str, float]
    kinds: list[str]
    rows: dict[str, list[tuple[Any, ...]]]
    told: dict[str, Any]


def registered(folder: Path, market: tuple[pl.DataFrame, pl.DataFrame], nursery: Nursery) -> None:
    """Let the live loop begin and a session register its test."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    arrive(folder, market, REGISTERED)
    nursery.run(folder, "live_loop")
    asked = ("quick_tune", "--mode", "ab", "--days", str(HORIZON), "--episodes", "2", "--seed", "1", *WHO)
    command = [str(Path(sys.executable).with_name("engine")), "tune", "start", *asked]
    environment = {**os.environ, "ENGINE_SETTINGS": os.devnull, **environment_of(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"engine tune start: {done.stderr[-2_000:]}")
    (experiment,) = open_store(settings_of(folder)).experiments.running()
    if experiment.kind != "ab":
        raise RuntimeError(f"the session registered {experiment.kind}")


def arrive(folder: Path, market: tuple[pl.DataFrame, pl.DataFrame], until: datetime) -> None:
    """Let the market come so far."""
    warehouse = Warehouse(address=settings_of(folder).warehouse)
    for name, frame in zip(("candles", "alternative"), market, strict=True):
        keep(warehouse, name, frame.filter(pl.col("ts") < until))


def followed(
    folder: Path,
    market: tuple[pl.DataFrame, pl.DataFrame],
    nursery: Nursery,
    pieces: int,
    kills: Sequence[tuple[str, float]] = (),
) -> Followed:
    """Follow a registered test to its end, piece by piece, and do what its verdict says.

    Parameters
    ----------
    folder : Path
    market : tuple of DataFrame
    nursery : Nursery
    pieces : int
        In which the bars of the horizon arrive, before those of the day after it.
    kills : sequence of (str, float)
        Word and seconds after it at which a process is killed, dealt out to the pieces in turn.
    """
    killed = 0
    ends = [REGISTERED + (HORIZON * DAY * (piece + 1) // pieces // BAR) * BAR for piece in range(pieces)]
    for piece, until in enumerate([*ends, REGISTERED + (HORIZON + 1) * DAY]):
        days = HORIZON + 1 if piece == pieces else 0
        arrive(folder, market, until)
        for word, seconds in kills[piece :: pieces + 1]:
            worker = nursery.start(folder, "live_loop", days=days)
            worker.wait(lambda: [word] in worker.said())  # noqa: B023
            time.sleep(seconds)
            worker.kill()
            killed += ["ended"] not in worker.said()
        nursery.run(folder, "live_loop", days=days)
    store = open_store(settings_of(folder))
    (experiment,) = store.experiments.recent()
    verdict = (experiment.result or {}).get("verdict", experiment.state)
    if verdict == "promote":
        nursery.run(folder, "tune", "apply", experiment.session or "", *WHO, days=HORIZON + 1)
    arrive(folder, market, REGISTERED + (HORIZON + 2) * DAY)
    nursery.run(folder, "live_loop", days=HORIZON + 2)
    nursery.run(folder, "tables", days=HORIZON + 2)
    return _found(folder, killed, verdict)


def _found(folder: Path, killed: int, verdict: str) -> Followed:
    settings = settings_of(folder)
    store, warehouse = open_store(settings), Warehouse(address=settings.warehouse)
    (experiment,) = store.experiments.recent()
    result, test = experiment.result or {}, design_of(store, experiment)
    assert test is not None
    names = [table.full_name for table in TABLES]
    (told,) = warehouse.frame(f"FROM {AB_RESULTS.full_name}").iter_rows(named=True)
    audit = warehouse.frame(f"SELECT number, kind, actor FROM {HISTORY.full_name} ORDER BY number")
    live = warehouse.frame(f"FROM {LIVE_PARAMETERS.full_name} WHERE scope = 'global'")
    in_force = store.in_force()
    return Followed(
        killed=killed,
        verdict=verdict,
        effect=result.get("effect"),
        p_value=result.get("p_value"),
        units=dict(result.get("counts", {})),
        in_force=in_force.version,
        parameters=in_force.parameters.to_dict(),
        kinds=[event.kind for event in reversed(store.history(limit=1_000))],
        rows={name: warehouse.frame(f"SELECT * FROM {name} ORDER BY ALL").rows() for name in names},
        told={
            "experiment": told["state"],
            "verdict": told["verdict"],
            "effect": told["effect"],
            "candidate": json.loads(told["candidate"]),
            "audit": audit["kind"].to_list(),
            "live": dict(zip(live["parameter"], live["value"], strict=True)),
            "intact": store.verify(store.head()[1]).intact,
            "test": test.to_dict(),
        },
    )


def harm(disturbed: Followed, calm: Followed) -> list[str]:
    """Say what must not have happened and did."""
    wrong = [
        f"{name} differs from the run that nobody disturbed"
        for name, mine in asdict(disturbed).items()
        if name not in ("killed", "rows") and mine != asdict(calm)[name]
    ]
    wrong += [f"{name} differs likewise" for name, rows in disturbed.rows.items() if rows != calm.rows[name]]
    for found in (disturbed, calm):
        candidate = ParameterSet.from_mapping(found.told["candidate"]).to_dict()
        expected = candidate if found.verdict == "promote" else DEFAULTS.to_dict()
        if not found.parameters == found.told["live"] == expected:
            wrong.append(f"after {found.verdict} {found.parameters} is in force")
        if found.kinds != found.told["audit"] or not found.told["intact"]:
            wrong.append("the audit trail of the table is not that of the store")
    return wrong


def run(
    folder: Path, *, kills: int, pieces: int, seed: int = 1, turns: bool = False
) -> tuple[Followed, Followed]:
    """Register a test and follow it twice: with so many processes killed, and with none."""
    market, nursery = made_market(turns), Nursery()
    try:
        registered(folder / "calm", market, nursery)
        shutil.copytree(folder / "calm", folder / "disturbed")
        rng = random.Random(seed)  # noqa: S311  no secret
        instants = [(WORDS[kill % len(WORDS)], rng.uniform(0.0, LITTLE)) for kill in range(kills)]
        disturbed = followed(folder / "disturbed", market, nursery, pieces, instants)
        calm = followed(folder / "calm", market, nursery, pieces=0)
    finally:
        nursery.close()
    return disturbed, calm


def main() -> None:
    """Follow, compare and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--serve", action="store_true", help="be the process that others are forked from")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--pieces", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", action="store_true", help="let the market turn against the candidate")
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        disturbed, calm = run(
            Path(folder), kills=given.kills, pieces=given.pieces, seed=given.seed, turns=given.turns
        )
    shown = ("killed", "verdict", "effect", "p_value", "units", "in_force")
    facts = {name: getattr(disturbed, name) for name in shown}
    rows = {name: len(rows) for name, rows in disturbed.rows.items()}
    print(json.dumps({**facts, "rows": rows, "seconds": round(time.monotonic() - began, 1), "load": load}))
    wrong = harm(disturbed, calm)
    if wrong:
        sys.exit("what must not happen did: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
