"""Processes that start together end together, whoever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from console.services import PortInUseError, Service, ServiceError, Services, check_free
from console.together import main, make_tables

ROOT = Path(__file__).resolve().parents[2]
# Starts a child of its own, says both numbers, and waits.
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
# As above, but neither listens to a polite request.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT
# Whoever holds the leash, in a process of its own so that it can be killed.
HOLDER = """
import signal, sys, time
from pathlib import Path
from console.services import Service, Services
# Who started the tests may have left it ignored.
signal.signal(signal.SIGTERM, signal.SIG_DFL)
logs = Path(sys.argv[1])
with Services([Service("one", (sys.executable, "-c", sys.argv[2]), lambda: True)], logs, grace=1.0) as both:
    both.start(within=30.0)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    """A zombie that nobody has buried yet is not alive."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")


def eventually(found: Callable[[], object], within: float = 30.0) -> bool:
    deadline = time.monotonic() + within
    while not found():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def said(log: Path) -> list[int]:
    """Process numbers that PARENT printed."""
    assert eventually(lambda: log.exists() and len(log.read_text().split()) == 2)
    return [int(number) for number in log.read_text().split()]


def python(name: str, code: str, answers: Callable[[], bool] = lambda: True) -> Service:
    return Service(name, (sys.executable, "-c", code), answers)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


def test_what_was_started_answers_and_ends_with_all_that_it_started(tmp_path: Path, port: int) -> None:
    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}").is_success
        except httpx.TransportError:
            return False

    serve = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    with Services([python("one", PARENT), Service("web", serve, answers)], tmp_path) as both:
        both.start(within=30.0)
        assert answers()
        both.check()
        pids = said(tmp_path / "one.log")
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
    assert not answers()


def test_each_has_a_group_of_its_own_so_that_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    with Services([python("one", PARENT), python("two", PARENT)], tmp_path) as both:
        both.start(within=30.0)
        groups = [{os.getpgid(pid) for pid in said(tmp_path / f"{name}.log")} for name in ("one", "two")]
    assert [len(group) for group in groups] == [1, 1]
    assert len({os.getpgid(0)}.union(*groups)) == 3


def test_one_that_does_not_want_to_end_is_killed(tmp_path: Path) -> None:
    with Services([python("one", STUBBORN)], tmp_path, grace=0.5) as one:
        one.start(within=30.0)
        pids = said(tmp_path / "one.log")
    assert not any(map(alive, pids))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_its_holder(tmp_path: Path, how: signal.Signals) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), STUBBORN], cwd=ROOT)
    pids = said(tmp_path / "one.log")
    assert all(map(alive, pids))
    holder.send_signal(how)
    assert holder.wait(timeout=60) == -how
    assert eventually(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("sys.exit(3)", "two ended with exit status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "two was ended by SIGKILL"),
    ],
)
def test_the_one_that_ends_is_named_with_its_last_words(tmp_path: Path, last: str, told: str) -> None:
    log = str(tmp_path / "one.log")
    code = f"""
import os, pathlib, signal, sys, time
while len(pathlib.Path({log!r}).read_text().split()) < 2:
    time.sleep(0.01)
print('no room left', flush=True)
{last}
"""
    with (
        Services([python("one", PARENT), python("two", code, lambda: False)], tmp_path) as both,
        pytest.raises(ServiceError, match=rf"{told}; the end of .*two\.log:\n  no room left"),
    ):
        both.start(within=30.0)
    assert not any(map(alive, said(tmp_path / "one.log")))


def test_what_a_process_leaves_behind_when_it_dies_goes_too(tmp_path: Path) -> None:
    with Services([python("one", PARENT)], tmp_path, grace=2.0) as one:
        one.start(within=30.0)
        parent, child = said(tmp_path / "one.log")
        os.kill(parent, signal.SIGKILL)
        assert eventually(lambda: not alive(child))
        with pytest.raises(ServiceError, match="one was ended by SIGKILL"):
            assert eventually(one.check, 5.0)


def test_one_that_never_answers_is_named(tmp_path: Path) -> None:
    with (
        Services([python("one", PARENT, lambda: False)], tmp_path) as one,
        pytest.raises(ServiceError, match=r"one did not answer within 0\.3 s"),
    ):
        one.start(within=0.3)


def test_a_port_in_use_is_named(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_free("127.0.0.1", port, "")
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(PortInUseError, match=rf"port {port} on 127\.0\.0\.1 .* in use\. Take another"):
            check_free("127.0.0.1", port, "Take another.")
        refused = CliRunner().invoke(main, ["--dagster-port", str(port)])
    assert refused.exit_code == 1
    assert f"port {port}" in refused.output
    assert "--dagster-port" in refused.output


def test_a_home_of_dagster_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "relative")
    refused = CliRunner().invoke(main, [])
    assert refused.exit_code == 1
    assert "error: DAGSTER_HOME = 'relative' must be the full path of a folder" in refused.output


@pytest.mark.slow
def test_dagster_and_the_console_answer_and_end(tmp_path: Path) -> None:
    """The whole: what `make ui` runs."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    ports = [free_port(), free_port()]
    options = ["--dagster-port", str(ports[0]), "--port", str(ports[1])]
    started = subprocess.Popen(
        [sys.executable, "-m", "console.together", *options],
        cwd=ROOT,
        env={
            **os.environ,
            "DAGSTER_HOME": str(tmp_path),
            "ENGINE_WAREHOUSE": str(tmp_path / "engine.duckdb"),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    printed = [started.stdout.readline().split() for _ in range(2)]
    try:
        assert printed == [
            ["Console", f"http://127.0.0.1:{ports[1]}"],
            ["Dagster", f"http://127.0.0.1:{ports[0]}"],
        ], started.communicate(timeout=60)
        status = httpx.get(f"http://127.0.0.1:{ports[1]}/api/rl-training/status", timeout=30.0)
        assert status.is_success
        assert "<html" in httpx.get(f"http://127.0.0.1:{ports[1]}/").text
    finally:
        started.send_signal(signal.SIGINT)
        assert started.wait() == 0
    for port in ports:
        check_free("127.0.0.1", port, "")
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if str(ports[0]) in line]
    logs = sorted(path.name for path in (tmp_path / "console").iterdir())
    assert logs == ["console.log", "daemon.log", "webserver.log"]


def test_dagsters_tables_are_there_before_two_processes_could_make_them(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    for _ in range(2):  # and a second time nothing happens
        make_tables(tmp_path)
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        with sqlite3.connect(tmp_path / name) as database:
            assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,), name
