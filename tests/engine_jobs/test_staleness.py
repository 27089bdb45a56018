from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from engine_jobs.staleness import out_of_date
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

A, B, C = (
    Table("raw" if name == "a" else "marts", name, "A table.", (Column("x", "BIGINT", "A number."),))
    for name in "abc"
)
NAMES = {table.full_name: table for table in (A, B, C)}


class Source:
    name = "files"
    state = "1"

    def fingerprint(self) -> str:
        return self.state


def asset(table: Table, deps: list[str], code: str = "1") -> dg.AssetsDefinition:
    resources = {"feed", "settings"} if table is A else {"settings"}

    @dg.asset(
        key=[table.schema, table.name],
        deps=[dg.AssetKey(dep.split(".")) for dep in deps],
        group_name="g",
        code_version=code,
        required_resource_keys=resources,
    )
    def made() -> None: ...

    return made


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(address=str(tmp_path / "w.duckdb"))


GRAPH = [asset(C, ["marts.b"]), asset(B, ["raw.a"]), asset(A, [])]


def stale(
    warehouse: Warehouse, source: Source, graph: list[dg.AssetsDefinition] = GRAPH, **settings: int
) -> list[str]:
    keys = out_of_date(graph, ["g"], warehouse, Settings(**settings), source)  # type: ignore[arg-type]
    return [".".join(key.path) for key in keys]


def make(warehouse: Warehouse, name: str, inputs: dict[str, str], rows: list[int]) -> None:
    warehouse.replace(NAMES[name], pl.DataFrame({"x": rows}, schema={"x": pl.Int64}))
    digest = Settings().fingerprint()
    warehouse.record(asset=name, code_version="1", inputs=inputs, settings_hash=digest, run_id="r")


@pytest.fixture
def made(warehouse: Warehouse) -> Warehouse:
    make(warehouse, "raw.a", {"feed": "1"}, [1, 2])
    make(warehouse, "marts.b", warehouse.versions(["raw.a"]), [3])
    make(warehouse, "marts.c", warehouse.versions(["marts.b"]), [4])
    return warehouse


def test_an_empty_warehouse_lacks_everything_upstream_first(warehouse: Warehouse) -> None:
    assert stale(warehouse, Source()) == ["raw.a", "marts.b", "marts.c"]


def test_what_was_made_of_the_present_state_is_current(made: Warehouse) -> None:
    assert stale(made, Source()) == []


def test_a_changed_source_makes_everything_after_it_stale(made: Warehouse) -> None:
    source = Source()
    source.state = "2"
    assert stale(made, source) == ["raw.a", "marts.b", "marts.c"]


def test_changed_settings_make_everything_stale(made: Warehouse) -> None:
    assert stale(made, Source(), seed=99) == ["raw.a", "marts.b", "marts.c"]


def test_changed_code_makes_the_asset_and_what_follows_stale(made: Warehouse) -> None:
    graph = [GRAPH[0], asset(B, ["raw.a"], code="2"), GRAPH[2]]
    assert stale(made, Source(), graph) == ["marts.b", "marts.c"]


def test_rows_changed_behind_the_back_are_noticed(made: Warehouse) -> None:
    with made.write() as connection:
        connection.execute("UPDATE marts.b SET x = 5")
    assert stale(made, Source()) == ["marts.b", "marts.c"]


def test_equal_content_made_again_leaves_what_follows_current(made: Warehouse) -> None:
    make(made, "raw.a", {"feed": "1"}, [2, 1])
    assert stale(made, Source()) == []
