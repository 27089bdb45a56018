"""The warehouse on DuckLake: what its address may say, who waits for whom, and what a death leaves behind."""

from __future__ import annotations

import importlib.util
import random
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import polars as pl
import pytest

from resources.table import Column, Table
from resources.warehouse import Warehouse, WarehouseError

A, B = (Table("raw", name, "-", (Column("row", "BIGINT", "-"),), ("row",)) for name in ("a", "b"))
ROW = pl.DataFrame({"row": [1]})


@pytest.fixture
def address(new_address: Callable[[str], str]) -> str:
    return new_address("postgres")


@pytest.fixture
def warehouse(address: str) -> Warehouse:
    return Warehouse(address=address, lock_timeout_s=60, threads=1)


@pytest.fixture
def impatient(address: str) -> Warehouse:
    return Warehouse(address=address, lock_timeout_s=0.5, threads=1)


def count(warehouse: Warehouse, table: Table = A) -> int:
    return int(warehouse.frame(f"SELECT count(*) FROM {table.full_name}").item())


def files(address: str) -> list[Path]:
    return [path for path in Path(address.partition(";data=")[2]).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "address",
    [
        "ducklake:",
        "ducklake:engine.ducklake",
        "ducklake:postgres:dbname=engine",
        "ducklake:sqlite:engine.sqlite;data=",
        "ducklake:mysql:db=engine;data=lake",
    ],
)
def test_an_incomplete_address_is_refused_with_its_form(address: str) -> None:
    with pytest.raises(
        WarehouseError, match="form 'ducklake:postgres:dbname=engine host=db user=engine;data="
    ):
        Warehouse(address=address)


@pytest.mark.parametrize(
    "address",
    [
        "ducklake:postgres:dbname=engine password=swordfish;data=lake",
        "ducklake:postgres:dbname=engine PASSWORD = 'swordfish';data=lake",
        "ducklake:postgres:postgresql://engine:swordfish@db/engine;data=lake",
        "ducklake:postgres:dbname=engine sslpassword=swordfish",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(WarehouseError, match="PGPASSWORD") as caught:
        Warehouse(address=address)
    assert "swordfish" not in str(caught.getrepr(style="short"))


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    warehouse = Warehouse(address=f"ducklake:sqlite:{tmp_path}/engine.sqlite;data={tmp_path}/lake")
    with pytest.raises(WarehouseError, match=r"duckdb-extension-ducklake .*\[lake\]"):
        warehouse.replace(A, ROW)


def test_the_version_of_a_table_does_not_depend_on_where_it_is_kept(
    new_address: Callable[[str], str], processes: ModuleType
) -> None:
    versions = set()
    for kind in ("a file", "sqlite"):
        warehouse = Warehouse(address=new_address(kind))
        warehouse.replace(processes.NUMBERS, processes.state(1))
        versions.add(warehouse.version("raw.numbers"))
    assert len(versions) == 1


def test_the_password_comes_from_the_environment_and_is_not_shown(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = re.sub(r" passfile=[^;]*", "", address)
    monkeypatch.setenv("PGPASSWORD", "swordfish")
    Warehouse(address=bare).replace(A, ROW)
    monkeypatch.setenv("PGPASSWORD", "barracuda")
    stranger = Warehouse(address=bare, threads=2)
    for use in (stranger.tables, lambda: stranger.replace(A, ROW)):
        with pytest.raises(WarehouseError, match=r"does not let us in.*authentication failed") as caught:
            use()
        assert "barracuda" not in str(caught.getrepr(style="short")).replace('"barracuda"', "")


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    warehouse = Warehouse(address=f"ducklake:postgres:dbname=engine host={tmp_path};data={tmp_path}/lake")
    for use in (warehouse.tables, lambda: warehouse.replace(A, ROW)):
        with pytest.raises(WarehouseError, match=rf"host={tmp_path}.*does not let us in. See that it runs"):
            use()


def test_another_folder_than_the_warehouse_has_is_refused(warehouse: Warehouse) -> None:
    warehouse.replace(A, ROW)
    moved = Warehouse(address=f"{warehouse.address}-elsewhere")
    with pytest.raises(WarehouseError, match="keeps its files in another folder; give that one as data="):
        moved.tables()
    assert count(warehouse) == 1


def test_a_reader_stays_in_one_state_and_holds_up_no_writer(warehouse: Warehouse) -> None:
    warehouse.replace(A, ROW)
    with warehouse.read() as connection:
        before = connection.execute("SELECT count(*) FROM raw.a").fetchall()
        warehouse.append_new(A, pl.DataFrame({"row": [2, 3]}))
        assert connection.execute("SELECT count(*) FROM raw.a").fetchall() == before == [(1,)]
    assert count(warehouse) == 3


def elsewhere(work: Callable[[], object]) -> BaseException | None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def test_a_writer_keeps_out_writers_of_its_tables_only(warehouse: Warehouse, impatient: Warehouse) -> None:
    warehouse.replace(A, ROW)
    with warehouse.write(["raw.a"]) as connection:
        connection.execute("DELETE FROM raw.a")
        assert elsewhere(lambda: impatient.replace(B, ROW)) is None
        assert "has held raw.a for more than 0.5 s" in str(elsewhere(lambda: impatient.append_new(A, ROW)))
        assert "has held the warehouse" in str(elsewhere(lambda: impatient.write().__enter__()))
        assert count(warehouse) == 1
        with pytest.raises(RuntimeError, match="wait for itself"):
            warehouse.replace(B, ROW)
    assert (count(warehouse), count(warehouse, B)) == (0, 1)
    with warehouse.write():
        assert "has held raw.b for more than 0.5 s" in str(elsewhere(lambda: impatient.replace(B, ROW)))


def test_a_writer_that_loses_its_lock_changes_nothing(warehouse: Warehouse) -> None:
    warehouse.replace(A, ROW)
    catalogue = warehouse.address.removeprefix("ducklake:postgres:").partition(";")[0]
    ours = "pid <> pg_backend_pid() AND datname = current_database()"

    def interrupted(statement: str, who: str) -> None:
        with warehouse.write(["raw.a"]) as connection:
            connection.execute("DELETE FROM raw.a")
            connection.execute(f"ATTACH '{catalogue}' AS other (TYPE postgres)")
            end = f"SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE {ours} AND {who}"
            other = connection.cursor()
            other.execute(f"FROM postgres_query('other', '{end}')").fetchall()
            connection.execute(statement)

    holds_a_lock = "pid IN (SELECT pid FROM pg_locks WHERE locktype = ''advisory'')"
    for who in (holds_a_lock, f"NOT {holds_a_lock}", "true"):
        for statement in ("SELECT 1", "INSERT INTO raw.a VALUES (5)"):
            with pytest.raises((WarehouseError, duckdb.Error), match=r"lost|run again|closed"):
                interrupted(statement, who)
            assert count(warehouse) == 1
    warehouse.replace(A, ROW)


@pytest.mark.parametrize(("count", "exists"), [(2, False), (8, True)])
def test_processes_write_tables_of_their_own(
    warehouse: Warehouse, count: int, exists: bool, nursery: Any, processes: ModuleType
) -> None:
    if exists:
        warehouse.replace(processes.LOG, processes.LOG.empty())
    workers = [
        nursery.start(processes.write_own_table, address=warehouse.address, who=who) for who in range(count)
    ]
    for worker in workers:
        assert worker.join() == [[20]]
    own = [f"raw.own{who}" for who in range(count)]
    assert [name for name in warehouse.tables() if name.startswith("raw.own")] == own
    assert all(warehouse.is_current(name, "", {}, "") for name in own)
    assert warehouse.frame("SELECT count(*) FROM meta.schema_version").item() == 1


def test_eight_processes_write_ranges_of_one_table(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    warehouse.replace(processes.LOG, pl.DataFrame({"who": [-1] * 160, "turn": range(160)}))
    workers = [
        nursery.start(processes.write_own_range, address=warehouse.address, who=who) for who in range(8)
    ]
    for worker in workers:
        assert worker.join() == [[20]]
    rows = warehouse.frame("SELECT who, turn FROM raw.log ORDER BY turn").rows()
    assert rows == [(row // 20, row) for row in range(160)]


def test_eight_processes_append_the_same_row_once(
    warehouse: Warehouse, nursery: Any, processes: ModuleType
) -> None:
    warehouse.replace(processes.LOG, processes.LOG.empty())
    workers = [nursery.start(processes.append_the_same, address=warehouse.address) for _ in range(8)]
    assert sorted(worker.join() for worker in workers) == [[[0]]] * 7 + [[[1]]]
    assert warehouse.frame("SELECT who, turn FROM raw.log").rows() == [(0, 0)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "deaths"), [("postgres", 15), ("sqlite", 2)])
def test_a_writer_killed_at_any_moment_leaves_the_old_rows_or_the_new(
    new_address: Callable[[str], str], kind: str, deaths: int, nursery: Any, processes: ModuleType
) -> None:
    warehouse = Warehouse(address=new_address(kind), lock_timeout_s=60, threads=1)
    warehouse.replace(processes.NUMBERS, processes.state(1))
    first = nursery.start(processes.write_on, address=warehouse.address, start=2)
    started = time.monotonic()
    first.wait_for_words(2)
    span = time.monotonic() - started
    first.kill()
    rng, writes = random.Random(20), 0
    last = warehouse.frame("SELECT max(write) FROM raw.numbers").item()
    for _ in range(deaths):
        writer = nursery.start(processes.write_on, address=warehouse.address, start=last + 1)
        time.sleep(rng.uniform(0, span))
        writer.kill()
        frame, said = warehouse.frame("SELECT * FROM raw.numbers ORDER BY row"), writer.said()
        assert all(len(words) == 1 for words in said), said
        committed = said[-1][0] if said else last
        last = frame["write"][0]
        assert last in (committed, committed + 1)
        assert frame.equals(processes.state(last))
        writes += len(said)
    assert writes or deaths < 10, "the writers were killed before they wrote anything"
    assert warehouse.replace(processes.NUMBERS, processes.state(0)) == processes.ROWS


def test_files_that_no_state_needs_any_more_can_be_removed(
    new_address: Callable[[str], str], processes: ModuleType
) -> None:
    warehouse = Warehouse(address=new_address("sqlite"))
    for number in range(3):
        warehouse.replace(processes.NUMBERS, processes.state(number))
    kept = files(warehouse.address)
    assert len(kept) == 3
    kept[0].with_name("ducklake-left-by-a-killed-writer.parquet").write_bytes(b"PAR1")
    for call in (
        "ducklake_expire_snapshots('engine_lake', older_than => now())",
        "ducklake_cleanup_old_files('engine_lake', cleanup_all => true)",
        "ducklake_delete_orphaned_files('engine_lake', cleanup_all => true)",
    ):
        with warehouse.write() as connection:
            connection.execute(f"CALL {call}")
    assert len(files(warehouse.address)) == 1
    frame = warehouse.frame("SELECT * FROM raw.numbers ORDER BY row")
    assert frame.equals(processes.state(2))
