"""Dagster's web server and daemon and the console, started together: ``python -m console.together``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import dagster as dg
import httpx
from pydantic import ValidationError
from rich.console import Console

from console.api.settings import ConsoleSettings
from console.services import Service, ServiceError, Services, check_free
from engine.errors import EngineError

__all__ = ["main", "make_tables", "services"]

_HOST = "127.0.0.1"
_START_S = 330.0
_MAKE_HINT = "make ui takes CONSOLE_PORT=3011 DAGSTER_PORT=3010"
_WATCH_S = 0.5
_HEARTBEATS = "{ instance { daemonHealth { allDaemonStatuses { required lastHeartbeatTime } } } }"


def services(dagster_port: int, console_port: int, workspace: str = "workspace.yaml") -> tuple[Service, ...]:
    """Return what runs together, on loopback."""
    here, now = Path(sys.executable).parent, time.time()
    dagster, console = (f"http://{_HOST}:{port}" for port in (dagster_port, console_port))
    return (
        Service(
            "webserver",
            (str(here / "dagster-webserver"), "-w", workspace, "-h", _HOST, "-p", str(dagster_port)),
            partial(_answers, f"{dagster}/server_info"),
        ),
        Service(
            "daemon",
            (str(here / "dagster-daemon"), "run", "-w", workspace),
            partial(_daemon_lives, dagster, now),
        ),
        Service(
            "console",
            (sys.executable, "-m", "console", "serve"),
            partial(_answers, console),
            {
                "ENGINE_CONSOLE_HOST": _HOST,
                "ENGINE_CONSOLE_PORT": str(console_port),
                "ENGINE_CONSOLE_DAGSTER_URL": dagster,
            },
        ),
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).status_code < httpx.codes.INTERNAL_SERVER_ERROR
    except httpx.HTTPError:
        return False


def _daemon_lives(dagster: str, since: float) -> bool:
    """Tell whether every daemon that this instance needs has given a sign of life since then."""
    try:
        answer = httpx.post(f"{dagster}/graphql", json={"query": _HEARTBEATS}, timeout=5.0).json()
        statuses = answer["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
    return all((each["lastHeartbeatTime"] or 0.0) >= since for each in statuses if each["required"])


def make_tables(home: Path) -> None:
    """Let Dagster make its tables where they are missing.

    On a new home, web server and daemon both would make them at once, and one of them would fail.
    """
    with dg.DagsterInstance.from_config(str(home)):
        pass


def _dagster_home() -> Path:
    home = os.environ.get("DAGSTER_HOME", "")
    if not Path(home).is_absolute() or not Path(home, "dagster.yaml").is_file():
        raise ServiceError(
            f"DAGSTER_HOME = {home!r} must be the full path of a folder with a dagster.yaml; make ui sets it"
        )
    return Path(home)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn the signals that end a program into KeyboardInterrupt; a second does not disturb the ending."""

    def end(*_: object) -> None:
        for each in asked:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, end) for each in asked}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run(dagster_port: int, console_port: int, screen: Console) -> None:
    """Run all three until somebody asks to stop.

    Raises
    ------
    ServiceError, PortInUseError
        If one cannot start, or ends; the others were ended too.
    """
    # Not in "logs": Dagster takes that folder for its telemetry, uploads what is in it and removes it.
    home = _dagster_home()
    logs = home / "console"
    for port, option in ((dagster_port, "--dagster-port"), (console_port, "--port")):
        check_free(_HOST, port, f"End what listens there or take another with {option}; {_MAKE_HINT}")
    with _ended_by_signals(), Services(services(dagster_port, console_port), logs) as all_three:
        try:
            with screen.status("Starting Dagster and the console ..."):
                make_tables(home)
                all_three.start(within=_START_S)
            screen.print(f"Console  http://{_HOST}:{console_port}", highlight=False)
            screen.print(f"Dagster  http://{_HOST}:{dagster_port}", highlight=False)
            screen.print(f"Logs     {logs}   Ctrl-C ends all", highlight=False)
            while True:
                all_three.check()
                time.sleep(_WATCH_S)
        except KeyboardInterrupt:
            screen.print("Stopping ...")


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Of the console; default: its settings.")
@click.option("--dagster-port", type=click.IntRange(1, 65_535), default=3000, show_default=True)
def main(port: int | None, dagster_port: int) -> None:
    """Start Dagster's web server and daemon and the console on loopback; Ctrl-C ends all."""
    try:
        run(dagster_port, port or ConsoleSettings().port, Console())
    except (EngineError, ValidationError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
