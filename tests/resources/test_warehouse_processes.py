"""Several processes at one warehouse, and processes that die at the worst moment."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from resources.warehouse import Warehouse, WarehouseError


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(address=str(tmp_path / "engine.duckdb"), lock_timeout_s=60)


def stored(warehouse: Warehouse) -> pl.DataFrame:
    return warehouse.frame("SELECT * FROM raw.numbers ORDER BY row")


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_the_old_rows_or_the_new(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    warehouse.replace(processes.NUMBERS, processes.state(1))
    first = nursery.start(processes.write_on, address=warehouse.address, start=2)
    started = time.monotonic()
    first.wait_for_words(2)
    span = time.monotonic() - started
    first.kill()
    last, writes, rng = stored(warehouse)["write"][0], 0, random.Random(20)
    for _ in range(50):
        writer = nursery.start(processes.write_on, address=warehouse.address, start=last + 1)
        time.sleep(rng.uniform(0, span))
        writer.kill()
        frame, said = stored(warehouse), writer.said()
        assert all(len(words) == 1 for words in said), said
        committed = said[-1][0] if said else last
        last = frame["write"][0]
        assert last in (committed, committed + 1)
        assert frame.equals(processes.state(last))
        writes += len(said)
    assert writes > 3, "the writers were killed before they wrote anything"
    assert warehouse.replace(processes.NUMBERS, processes.state(0)) == processes.ROWS


@pytest.mark.slow
def test_eight_processes_read_and_write_the_same_file(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    workers = [
        nursery.start(processes.take_turns, address=warehouse.address, who=who, turns=3) for who in range(8)
    ]
    for worker in workers:
        assert worker.join() == [[turn + 1] for turn in range(3)]
    assert warehouse.frame("SELECT count(*), count(DISTINCT who) FROM raw.log").row(0) == (24, 8)


def test_readers_see_one_state_while_a_writer_works(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    warehouse.replace(processes.NUMBERS, processes.state(0))
    readers = [nursery.start(processes.read_on, address=warehouse.address, seconds=1.5) for _ in range(3)]
    written = 0
    while any(reader.alive() for reader in readers):
        written += 1
        warehouse.replace(processes.NUMBERS, processes.state(written))
    for reader in readers:
        said = reader.join()
        assert said
        assert all(least == greatest and n == processes.ROWS for least, greatest, n in said), said
    assert written > 0


def test_threads_of_one_process_wait_for_each_other(warehouse: Warehouse, processes: ModuleType) -> None:
    failures: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for turn in range(3):
                warehouse.append_new(processes.LOG, pl.DataFrame({"who": [who], "turn": [turn]}))
                assert warehouse.exists("raw.log")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert warehouse.frame("SELECT count(*) FROM raw.log").item() == 9


def test_a_thread_that_would_wait_for_itself_is_told(warehouse: Warehouse, processes: ModuleType) -> None:
    warehouse.replace(processes.NUMBERS, processes.state(0))
    with warehouse.read() as outer, warehouse.read() as inner:
        assert outer.execute("SELECT 1").fetchone() == inner.execute("SELECT 1").fetchone()
    with warehouse.read(), pytest.raises(RuntimeError, match="wait for itself"), warehouse.write():
        pass
    with warehouse.write(), pytest.raises(RuntimeError, match="wait for itself"):
        warehouse.tables()


def test_a_foreign_program_that_holds_the_file_is_named(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    warehouse.replace(processes.NUMBERS, processes.state(0))
    holder = nursery.start(processes.hold, address=warehouse.address, seconds=2.0)
    holder.wait_for_words(1)
    impatient = Warehouse(address=warehouse.address, lock_timeout_s=0.3)
    with pytest.raises(
        WarehouseError, match=rf"{warehouse.address}.*0\.3 s.*PID {holder.pid}.*Close that program"
    ):
        impatient.tables()
    with pytest.raises(WarehouseError, match=rf"PID {holder.pid}"):
        impatient.replace(processes.NUMBERS, processes.state(1))
    assert holder.alive()
    assert warehouse.replace(processes.NUMBERS, processes.state(1)) == processes.ROWS


def test_processes_that_run_out_of_memory_do_not_mix_up_their_files(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    warehouse.replace(processes.NUMBERS, processes.state(0))
    left_by_the_killed = Path(f"{warehouse.address}.99999-dead.tmp")
    left_by_the_killed.mkdir()
    readers = [nursery.start(processes.spill, address=warehouse.address, seconds=2.0) for _ in range(2)]
    said = [reader.join() for reader in readers]
    assert all(words[1:] == [True, 2_000_000] for all_words in said for words in all_words), said
    folders = [{words[0] for words in all_words} for all_words in said]
    assert [len(names) for names in folders] == [1, 1]
    assert not folders[0] & folders[1]
    assert left_by_the_killed.exists()
    warehouse.replace(processes.NUMBERS, processes.state(1))
    assert [path.suffix for path in left_by_the_killed.parent.iterdir() if path.is_dir()] == []


def test_a_step_that_holds_the_lock_too_long_is_reported(warehouse: Warehouse, processes: ModuleType) -> None:
    warehouse.replace(processes.NUMBERS, processes.state(0))
    impatient = Warehouse(address=warehouse.address, lock_timeout_s=0.2)
    caught: list[str] = []

    def come_too_early() -> None:
        try:
            impatient.tables()
        except WarehouseError as error:
            caught.append(str(error))

    with warehouse.write():
        thread = threading.Thread(target=come_too_early)
        thread.start()
        thread.join()
    assert len(caught) == 1
    assert "another step has held the warehouse for more than 0.2 s" in caught[0]


def test_a_quota_stops_a_write_and_nothing_is_lost(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    warehouse.replace(processes.NUMBERS, processes.state(1))
    size, write, outcomes = Path(warehouse.address).stat().st_size, 1, []
    for share in (0.3, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5):
        quota = int(share * size)
        attempt = nursery.start(
            processes.write_under_quota, address=warehouse.address, quota=quota, write=write + 1
        )
        [(outcome, text)] = attempt.join()
        outcomes.append(outcome)
        if outcome == "done":
            write += 1
        else:
            assert outcome == "WarehouseError"
            assert f"{warehouse.address}: no space left to write. Nothing was changed; free space" in text
        assert stored(warehouse).equals(processes.state(write)), (quota, outcome, text)
    assert "WarehouseError" in outcomes
    assert "done" in outcomes
    assert warehouse.replace(processes.NUMBERS, processes.state(0)) == processes.ROWS


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs the right to mount")
def test_a_full_disk_is_reported_and_nothing_is_lost(tmp_path: Path, processes: ModuleType) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
    try:
        warehouse = Warehouse(address=str(disk / "engine.duckdb"))
        warehouse.replace(processes.NUMBERS, processes.state(1))
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free))
        with pytest.raises(
            WarehouseError, match=rf"{warehouse.address}: no space left.*free space on that disk"
        ):
            warehouse.replace(processes.NUMBERS, processes.state(2))
        assert stored(warehouse).equals(processes.state(1))
        ballast.unlink()
        warehouse.replace(processes.NUMBERS, processes.state(2))
        assert stored(warehouse).equals(processes.state(2))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
