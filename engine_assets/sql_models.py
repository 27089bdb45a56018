"""Assets and asset checks of the SQL models in ``dbt_like_sql``: groups ``staging`` and ``marts``."""

# No postponed annotations here: Dagster wants the class of ``context`` itself, not its name.
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from dbt_like_sql.errors import ModelError
from dbt_like_sql.lineage import compile_project
from dbt_like_sql.model_tests import Outcome, run_test
from dbt_like_sql.project import Model, Project
from engine.alternative.series import SERIES
from engine_assets.table_asset import TableSource, asset_key, column_schema
from resources import provenance, warehouse_writes
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import duckdb

__all__ = ["MODELS", "SERIES_TABLE", "series_bounds", "sql_assets", "sql_checks"]

MODELS = Path(__file__).parents[1] / "dbt_like_sql"
"""Folder of the models."""

SERIES_TABLE = Table(
    "meta",
    "series",
    "Every alternative series, with the bounds outside of which a value is implausible.",
    (
        Column("series", "VARCHAR", "Name of the series."),
        Column("raw_table", "VARCHAR", "Table of schema raw that holds it."),
        Column("unit", "VARCHAR", "Unit of its values."),
        Column("lower_bound", "DOUBLE", "Smallest plausible value, in the unit."),
        Column(
            "upper_bound", "DOUBLE", "Largest plausible value, in the unit; infinite where there is none."
        ),
        Column("description", "VARCHAR", "What it measures."),
    ),
    ("series",),
)
_SERIES_VERSION = hashlib.sha256(repr(SERIES).encode()).hexdigest()[:12]


@dg.asset(
    key=asset_key(SERIES_TABLE.full_name),
    group_name="staging",
    kinds={"duckdb"},
    owners=["team:data"],
    code_version=_SERIES_VERSION,
    description=f"{SERIES_TABLE.description} Written from the list in engine.alternative.series.",
    metadata={"dagster/table_name": SERIES_TABLE.full_name},
)
def series_bounds(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Put the list of series where SQL can read it, so that their bounds are written in one place."""
    import polars as pl

    rows = [(s.name, s.table, s.unit, s.lower, s.upper, s.description) for s in SERIES.values()]
    warehouse.replace(SERIES_TABLE, pl.DataFrame(rows, schema=SERIES_TABLE.polars_schema, orient="row"))
    version = warehouse.record(
        asset=SERIES_TABLE.full_name,
        code_version=_SERIES_VERSION,
        inputs={},
        settings_hash="",
        run_id=context.run.run_id,
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={"dagster/row_count": len(rows), "dagster/column_schema": column_schema(SERIES_TABLE)},
    )


def sql_assets(project: Project, declared: Mapping[str, TableSource]) -> list[dg.AssetsDefinition]:
    """Make one asset of each model.

    Parameters
    ----------
    project : Project
        The models.
    declared : mapping of str to Table or callable
        Every table that is not a model and that a model reads, by ``schema.table``.

    Raises
    ------
    ModelError
        If a model or a test reads a table that is neither; file and line are named.
    """
    project.check_reads(declared)
    return [_asset(project, model, declared) for model in project]


def _asset(project: Project, model: Model, declared: Mapping[str, TableSource]) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(model.full_name),
        deps=[asset_key(table) for table in model.reads],
        group_name=model.schema,
        kinds={"duckdb", "sql"},
        owners=["team:data"],
        code_version=model.code_version,
        description=f"{model.description}\n\n```sql\n{model.sql.strip()}\n```",
        metadata={"dagster/table_name": model.full_name},
    )
    def table(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        lineage = compile_project(project, _columns(project, declared), only=[model.full_name])[
            model.full_name
        ]
        with warehouse.write([model.full_name, "meta.materializations"]) as connection:
            inputs = {name: warehouse_writes.fingerprint(connection, name) for name in model.reads}
            rows = _create(connection, model)
            version = provenance.record(
                connection,
                model.full_name,
                model.code_version,
                inputs,
                settings_hash="",
                run_id=context.run.run_id,
            )
            types = warehouse_writes.columns(connection, model.full_name)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(version),
            metadata={
                "dagster/row_count": rows,
                "dagster/column_schema": dg.TableSchema(
                    [
                        dg.TableColumn(name, kind, description=model.columns.get(name))
                        for name, (kind, _) in types.items()
                    ]
                ),
                "dagster/column_lineage": dg.TableColumnLineage(
                    {
                        column: [dg.TableColumnDep(asset_key(table), name) for table, name in sources]
                        for column, sources in lineage.items()
                    }
                ),
            },
        )

    return table


def _columns(project: Project, declared: Mapping[str, TableSource]) -> dict[str, Sequence[str]]:
    """Columns of the declared tables that the project reads; the others need not be known."""
    read = {table for model in project for table in model.reads}
    read |= {table for model in project for test in model.tests for table in test.reads}
    columns: dict[str, Sequence[str]] = {}
    for name in read & declared.keys():
        source = declared[name]
        columns[name] = (source() if callable(source) else source).column_names
    return columns


def _create(connection: "duckdb.DuckDBPyConnection", model: Model) -> int:
    """Make the table of what its SELECT returns now."""
    import duckdb

    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{model.schema}"')
    name = warehouse_writes.sql_name(model.full_name)
    try:
        # The text starts on the first line of the statement, so that DuckDB counts lines as the file does.
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS {model.sql}")
    except duckdb.Error as error:
        found = re.search(r"LINE (\d+):", str(error))
        raise ModelError(str(error), model.path, int(found[1]) if found else None) from error
    [(rows,)] = connection.execute(f"SELECT count(*) FROM {name}").fetchall()  # noqa: S608
    return int(rows)


def sql_checks(project: Project) -> list[dg.AssetChecksDefinition]:
    """Make the asset checks of each model's tests; the tests of one model run in one step."""
    return [_checks(model) for model in project if model.tests]


def _checks(model: Model) -> dg.AssetChecksDefinition:
    tests = {test.name: test for test in model.tests}

    @dg.multi_asset_check(
        name=f"{model.schema}_{model.name}_tests",
        specs=[
            dg.AssetCheckSpec(
                name=test.name,
                asset=asset_key(model.full_name),
                description=f"{test.description}\n\n```sql\n{test.bad_rows}\n```",
                blocking=test.blocking,
            )
            for test in model.tests
        ],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[dg.AssetCheckResult]:
        asked = sorted(key.name for key in context.selected_asset_check_keys)
        with warehouse.read() as connection:
            outcomes = {name: run_test(connection, tests[name]) for name in asked}
        for name, outcome in outcomes.items():
            yield dg.AssetCheckResult(
                asset_key=asset_key(model.full_name),
                check_name=name,
                passed=outcome.passed,
                severity=dg.AssetCheckSeverity[tests[name].severity.upper()],
                metadata=_evidence(outcome),
            )

    return checks


def _evidence(outcome: Outcome) -> dict[str, Any]:
    evidence: dict[str, Any] = {"bad rows": outcome.bad}
    if outcome.sample:
        rows = [dg.TableRecord({name: str(value) for name, value in row.items()}) for row in outcome.sample]
        evidence["first bad rows"] = dg.MetadataValue.table(rows)
    return evidence
