"""SQL models as assets: made in a real warehouse, with their metadata, provenance and checks."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from dbt_like_sql.errors import ModelError
from dbt_like_sql.lineage import compile_project
from dbt_like_sql.project import load_project
from engine.alternative.series import SERIES
from engine_assets.graph import TABLES
from engine_assets.sql_models import MODELS, SERIES_TABLE, series_bounds, sql_assets, sql_checks
from resources.table import Column, Table
from resources.warehouse import Warehouse

PRICES = Table(
    "raw",
    "prices",
    "-",
    (
        Column("symbol", "VARCHAR", "-"),
        Column("ts", "TIMESTAMP", "-"),
        Column("close", "DOUBLE", "-", nullable=True),
    ),
    ("symbol", "ts"),
)
FILES = {
    "staging/prices.sql": "-- Prices.\nSELECT symbol, ts, close * 2 AS twice\nFROM raw.prices\n",
    "marts/last.sql": "SELECT symbol, arg_max(twice, ts) AS last FROM staging.prices GROUP BY symbol\n",
    "schema.yml": """
models:
  - name: staging.prices
    description: Prices, doubled.
    columns:
      - {name: symbol, description: Pair., tests: [not_null]}
      - {name: twice, description: Two times the close., tests: [not_null]}
    tests:
      - unique: {columns: [symbol, ts]}
      - expression: {name: positive, sql: twice > 0}
      - expression: {name: small, sql: twice < 100, severity: warn}
""",
}
KEY, MART = dg.AssetKey(["staging", "prices"]), dg.AssetKey(["marts", "last"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "models"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(address=str(tmp_path / "engine.duckdb"), lock_timeout_s=10, threads=1)


def fill(warehouse: Warehouse, *closes: float | None) -> None:
    rows = [("BTC/USDT", datetime(2024, 1, day), close) for day, close in enumerate(closes, 1)]
    warehouse.replace(PRICES, pl.DataFrame(rows, schema=PRICES.polars_schema, orient="row"))


def materialize(
    root: Path, warehouse: Warehouse, *, raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    project = load_project(root)
    definitions = [*sql_assets(project, {PRICES.full_name: PRICES}), *sql_checks(project)]
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            definitions, resources={"warehouse": warehouse}, instance=instance, raise_on_error=raise_on_error
        )


def made(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, dg.MetadataValue]]:
    events = (event.materialization for event in result.get_asset_materialization_events())
    return {event.asset_key.to_user_string(): dict(event.metadata) for event in events}


def red(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations() if not check.passed}


def test_models_are_made_in_order_with_what_the_page_shows(root: Path, warehouse: Warehouse) -> None:
    fill(warehouse, 1.0, 2.0)
    result = materialize(root, warehouse)
    assert warehouse.frame("FROM marts.last").rows() == [("BTC/USDT", 4.0)]
    metadata = made(result)["staging/prices"]
    assert metadata["dagster/row_count"].value == 2
    columns = {
        column.name: (column.type, column.description)
        for column in metadata["dagster/column_schema"].value.columns
    }
    assert columns == {
        "symbol": ("VARCHAR", "Pair."),
        "ts": ("TIMESTAMP", None),
        "twice": ("DOUBLE", "Two times the close."),
    }
    lineage = made(result)["marts/last"]["dagster/column_lineage"].value.deps_by_column
    assert lineage["last"] == [dg.TableColumnDep(KEY, "ts"), dg.TableColumnDep(KEY, "twice")]
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {
        "not_null_symbol": True,
        "not_null_twice": True,
        "unique_symbol_ts": True,
        "positive": True,
        "small": True,
    }


def test_an_asset_says_what_it_is(root: Path) -> None:
    project = load_project(root)
    prices, last = sql_assets(project, {PRICES.full_name: PRICES})
    spec = prices.get_asset_spec(KEY)
    assert (spec.group_name, spec.kinds, list(spec.owners)) == ("staging", {"duckdb", "sql"}, ["team:data"])
    assert spec.code_version == project["staging.prices"].code_version
    assert spec.description == f"Prices, doubled.\n\n```sql\n{FILES['staging/prices.sql'].strip()}\n```"
    assert spec.metadata["dagster/table_name"] == "staging.prices"
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey(["raw", "prices"])]
    assert [dep.asset_key for dep in last.get_asset_spec(MART).deps] == [KEY]


def test_what_it_was_made_from_is_recorded(root: Path, warehouse: Warehouse) -> None:
    fill(warehouse, 1.0)
    materialize(root, warehouse)
    inputs = warehouse.versions(["raw.prices"])
    code = load_project(root)["staging.prices"].code_version
    assert warehouse.is_current("staging.prices", code, inputs, "")
    before = warehouse.versions(["staging.prices", "marts.last"])
    materialize(root, warehouse)
    assert warehouse.versions(["staging.prices", "marts.last"]) == before
    fill(warehouse, 2.0)
    assert not warehouse.is_current("staging.prices", code, warehouse.versions(["raw.prices"]), "")


def test_a_failed_model_leaves_the_old_table(root: Path, warehouse: Warehouse) -> None:
    fill(warehouse, 1.0)
    materialize(root, warehouse)
    path = root / "staging" / "prices.sql"
    path.write_text("SELECT symbol, ts,\n  close +\n  ts AS twice\nFROM raw.prices")
    with pytest.raises(ModelError, match=r"prices\.sql:2: Binder Error"):
        materialize(root, warehouse)
    assert warehouse.frame("SELECT twice FROM staging.prices").rows() == [(2.0,)]


def test_a_missing_input_is_named(root: Path, warehouse: Warehouse) -> None:
    with pytest.raises(ValueError, match=r"raw\.prices is not in the warehouse; materialise it first"):
        materialize(root, warehouse)


def test_a_red_blocking_check_stops_what_depends_on_the_model(root: Path, warehouse: Warehouse) -> None:
    fill(warehouse, 1.0, None)
    result = materialize(root, warehouse, raise_on_error=False)
    assert not result.success
    assert set(made(result)) == {"staging/prices"}
    assert set(red(result)) == {"not_null_twice"}
    evidence = red(result)["not_null_twice"].metadata
    assert evidence["bad rows"].value == 1
    assert evidence["first bad rows"].records[0].data["twice"] == "None"


def test_a_red_check_that_does_not_block_lets_the_rest_go_on(root: Path, warehouse: Warehouse) -> None:
    fill(warehouse, -1.0, 99.0)
    result = materialize(root, warehouse)
    assert set(made(result)) == {"staging/prices", "marts/last"}
    severities = {name: check.severity for name, check in red(result).items()}
    assert severities == {"positive": dg.AssetCheckSeverity.ERROR, "small": dg.AssetCheckSeverity.WARN}


def test_definitions_refuse_a_table_that_nobody_makes(root: Path) -> None:
    with pytest.raises(ModelError, match=r"prices\.sql:3: no model and no .* named raw\.prices"):
        sql_assets(load_project(root), {})


def test_a_declaration_may_be_made_when_it_is_needed(root: Path, warehouse: Warehouse) -> None:
    asked = []

    def declare() -> Table:
        asked.append(1)
        return PRICES

    assets = sql_assets(load_project(root), {PRICES.full_name: declare})
    assert asked == []
    fill(warehouse, 1.0)
    assert dg.materialize(assets, resources={"warehouse": warehouse}).success
    assert asked


def test_the_list_of_series_reaches_the_warehouse(warehouse: Warehouse) -> None:
    assert dg.materialize([series_bounds], resources={"warehouse": warehouse}).success
    stored = warehouse.frame(f"SELECT series, lower_bound, upper_bound FROM {SERIES_TABLE.full_name}")
    assert set(stored.rows()) == {(s.name, s.lower, s.upper) for s in SERIES.values()}


def test_the_models_of_the_pipeline_become_assets_and_checks() -> None:
    project = load_project(MODELS)
    known = {table: SERIES_TABLE for model in project for table in model.reads}
    keys = {key.to_user_string() for asset in sql_assets(project, known) for key in asset.keys}
    assert keys >= {"staging/candles", "staging/alternative", "marts/data_health", "marts/daily_returns"}
    blocking = {
        (spec.asset_key.to_user_string(), spec.name)
        for checks in sql_checks(project)
        for spec in checks.check_specs
        if spec.blocking
    }
    assert ("staging/candles", "unique_symbol_ts") in blocking
    assert ("staging/candles", "segments_have_no_hole") in blocking
    assert ("marts/data_health", "mostly_complete") not in blocking


def test_every_model_and_column_of_the_pipeline_is_described_keyed_and_resolved() -> None:
    project = load_project(MODELS)
    tables = {name: table for group in TABLES.values() for name, table in group.items()}
    tables[SERIES_TABLE.full_name] = SERIES_TABLE
    declared = {name: (t() if callable(t) else t).column_names for name, t in tables.items()}
    compiled = compile_project(project, declared)
    assert {model.full_name for model in project} == set(compiled)
    for model in project:
        assert model.description
        assert list(model.columns) == list(compiled[model.full_name]), model.full_name
        assert all(model.columns.values()), model.full_name
        assert any(test.kind == "unique" for test in model.tests), model.full_name
