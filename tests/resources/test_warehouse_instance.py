"""DuckDB goes on while files come and go: who shares it, what errors and forks do to it, how files look."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import polars as pl
import pytest

from resources import warehouse_instance
from resources.table import Column, Table
from resources.warehouse import Warehouse, WarehouseError

NUMBERS = Table("raw", "numbers", "Numbers.", (Column("n", "BIGINT", "Any."),), ("n",))
THREE = pl.DataFrame({"n": [1, 2, 3]})
READ = "SELECT count(*) FROM raw.numbers"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(address=str(tmp_path / "engine.duckdb"), lock_timeout_s=60)
    made.replace(NUMBERS, THREE)
    return made


def layout(connection: duckdb.DuckDBPyConnection) -> str:
    [(tags,)] = connection.execute(
        "SELECT tags FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchall()
    return tags["storage_version"]


def test_it_is_started_once_and_only_the_newest_are_kept(tmp_path: Path, warehouse: Warehouse) -> None:
    with warehouse.read():
        instances = list(warehouse_instance._instances.values())
    warehouse.replace(NUMBERS, THREE.head(1))
    assert warehouse.frame(READ).item() == 1
    assert list(warehouse_instance._instances.values()) == instances
    for name in "abcd":
        Warehouse(address=str(tmp_path / f"{name}.duckdb")).replace(NUMBERS, THREE)
    kept = [path.name for path, _ in warehouse_instance._instances]
    assert len(kept) <= warehouse_instance._KEPT + 1
    assert kept[-1] == "d.duckdb"
    assert warehouse.frame(READ).item() == 1


def test_threads_share_the_file_and_the_last_one_lets_go(warehouse: Warehouse) -> None:
    together = threading.Barrier(4)

    def read(_: int) -> int:
        with warehouse.read() as connection:
            together.wait(60)
            [(count,)] = connection.execute(READ).fetchall()
        return int(count)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read, range(20))) == [3] * 20
    with duckdb.connect(warehouse.address) as foreign:
        assert foreign.execute(READ).fetchall() == [(3,)]


def test_an_error_ends_the_instance_and_not_those_who_share_it(warehouse: Warehouse) -> None:
    with warehouse.read() as outer:
        with pytest.raises(duckdb.CatalogException):
            warehouse.frame("FROM nowhere")
        assert warehouse.frame(READ).item() == 3
        assert outer.execute(READ).fetchall() == [(3,)]
    assert warehouse.replace(NUMBERS, THREE.head(2)) == 2
    duckdb.connect(warehouse.address).close()


def test_a_connection_of_this_very_process_is_waited_for_and_told(warehouse: Warehouse) -> None:
    impatient = Warehouse(address=warehouse.address, lock_timeout_s=0.2)
    with duckdb.connect(warehouse.address), pytest.raises(WarehouseError, match="this very process"):
        impatient.tables()
    assert impatient.tables() == ["meta.schema_version", "raw.numbers"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:.*fork.*:RuntimeWarning")
def test_a_forked_process_has_an_instance_of_its_own(warehouse: Warehouse) -> None:
    assert warehouse.frame(READ).item() == 3
    child = os.fork()
    if not child:
        # What a thread of the parent held at the fork would be waited for without end.
        with warehouse.read() as connection:
            told = connection.execute(READ).fetchall() == [(3,)]
        os._exit(0 if told else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert warehouse.frame(READ).item() == 3


def test_files_have_the_small_layout_also_those_that_were_written_before(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    old = tmp_path / "old.duckdb"
    with duckdb.connect(old) as connection:
        assert layout(connection) == "v1.0.0+"
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.a AS SELECT range AS n FROM range(100_000)")
    before = Warehouse(address=str(old))
    assert before.frame("SELECT sum(n)::BIGINT FROM raw.a").item() == sum(range(100_000))
    before.replace(NUMBERS, THREE)
    for stored in (warehouse, before):
        with stored.read() as connection:
            assert layout(connection) == "v1.2.0+"
            assert connection.execute(READ).fetchall() == [(3,)]
    assert before.frame("SELECT sum(n)::BIGINT FROM raw.a").item() == sum(range(100_000))
