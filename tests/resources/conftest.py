"""What the tests of the warehouse share."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def processes() -> ModuleType:
    """The module of the worker processes; test folders are no packages, so it is loaded by its path."""
    name = "warehouse_processes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def nursery(processes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The process that worker processes are forked from."""
    with processes.nursery(tmp_path_factory.mktemp("reports")) as started:
        yield started


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[], str]]:
    """Make an empty database with each call, on a PostgreSQL of our own; return its connection string."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), Path(shutil.which("postgres") or "/none").parent]
    binaries = next((place for place in places if (place / "initdb").exists()), None)
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (initdb is not in /usr/lib/postgresql/*/bin or PATH)")
    # Not below pytest's folder: the path of a socket is short, and the server is another user's than root.
    folder = Path(tempfile.mkdtemp(prefix="engine-pg-"))
    become: dict[str, Any] = {}
    if os.geteuid() == 0:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = known.get("postgres") or known["nobody"]
        become = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
        os.chown(folder, user.pw_uid, user.pw_gid)
    password, passwords, environment = folder / "password", folder / "passwords", {"PATH": os.defpath}

    def call(program: str, *arguments: str) -> None:
        command = [str(binaries / program), *arguments]
        subprocess.run(command, env=environment, cwd="/", check=True, stdout=subprocess.DEVNULL, **become)

    try:
        password.write_text("swordfish")
        password.chmod(0o644)
        data = str(folder / "data")
        call("initdb", "-D", data, "-U", "engine", "-A", "scram-sha-256", f"--pwfile={password}", "-N")
        options = f"-c listen_addresses= -c fsync=off -k {folder}"
        call("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        passwords.write_text("*:*:*:*:swordfish\n")
        passwords.chmod(0o600)
        numbers = itertools.count()

        def make() -> str:
            name = f"engine{next(numbers)}"
            environment["PGPASSWORD"] = "swordfish"
            call("createdb", "-h", str(folder), "-U", "engine", name)
            return f"dbname={name} host={folder} user=engine passfile={passwords}"

        yield make
        call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_address(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Address of a new warehouse of a kind."""

    def make(kind: str) -> str:
        if kind == "a file":
            return str(tmp_path / "folder" / "engine.duckdb")
        if kind == "sqlite":
            return f"ducklake:sqlite:{tmp_path}/folder/engine.sqlite;data={tmp_path}/folder/lake"
        return f"ducklake:postgres:{request.getfixturevalue('new_database')()};data={tmp_path}/folder/lake"

    return make
