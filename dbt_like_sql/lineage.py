"""Which columns a model makes, and which columns of other tables each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_like_sql.errors import ModelError
from dbt_like_sql.project import Model, Project
from dbt_like_sql.query import parse_select

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.schema import MappingSchema

__all__ = ["ColumnLineage", "compile_project"]

ColumnLineage = dict[str, list[tuple[str, str]]]
"""Column of a model -> columns it is computed from, as (``schema.table``, column)."""


def compile_project(
    project: Project, declared: Mapping[str, Sequence[str]], only: Sequence[str] | None = None
) -> dict[str, ColumnLineage]:
    """Resolve every column of every model, and of every test.

    Lineage names what a value is computed from, windows included; conditions of joins and filters, which
    choose rows but make no value, are left out.

    Parameters
    ----------
    project : Project
        The models.
    declared : mapping of str to sequence of str
        Columns of the tables that are not models, by ``schema.table``.
    only : sequence of str, optional
        Models whose lineage is wanted; all by default.

    Returns
    -------
    dict
        By model, in build order; the keys of a `ColumnLineage` are the model's columns in order.

    Raises
    ------
    ModelError
        If a table or column does not exist or is ambiguous; file and line are named.
    """
    from sqlglot.schema import MappingSchema

    project.check_reads(declared)
    schema = MappingSchema(dialect="duckdb")
    for table, columns in declared.items():
        _add(schema, table, columns)
    compiled = {}
    for model in project:
        query, columns = _resolved(model, schema)
        if undescribed := [name for name in model.columns if name not in columns]:
            reason = f"describes columns {undescribed} of {model.full_name}, which has {columns}"
            raise ModelError(reason, project.root / "schema.yml")
        _add(schema, model.full_name, columns)
        if only is None or model.full_name in only:
            compiled[model.full_name] = _lineage(query, schema)
    for test in (test for model in project for test in model.tests):
        try:
            _qualified(parse_select(test.bad_rows, test.source), schema, test.source)
        except ModelError as error:
            raise ModelError(f"{test.model}, test {test.name}: {error.reason}", test.source) from error
    return compiled


def _resolved(model: Model, schema: MappingSchema) -> tuple[exp.Query, list[str]]:
    """Query of a model with every column written out, and the names of the columns it makes."""
    query = parse_select(model.sql, model.path)
    unnamed = _unnamed(query)
    query = _qualified(query, schema, model.path)
    columns: list[str] = query.named_selects
    if unnamed or len(set(columns)) < len(columns):
        raise ModelError(f"each column needs a name of its own; found {unnamed or columns}", model.path, 1)
    return query, columns


def _add(schema: MappingSchema, table: str, columns: Sequence[str]) -> None:
    schema.add_table(table, dict.fromkeys(columns, "VARCHAR"))  # names are resolved, not types


def _qualified(query: exp.Query, schema: MappingSchema, path: Path) -> exp.Query:
    from sqlglot.errors import OptimizeError
    from sqlglot.optimizer.qualify import qualify

    try:
        return qualify(query, schema=schema, dialect="duckdb")
    except OptimizeError as error:
        reason, _, place = str(error).partition(". Line: ")
        line = int(place.split(",")[0]) if place else _line_of(query, reason.rsplit(" ", 1)[-1])
        raise ModelError(reason, path, line) from error


def _unnamed(query: exp.Query) -> list[str]:
    """Columns that would be called what DuckDB likes to call them."""
    from sqlglot import exp

    named = (exp.Column, exp.Star)
    return [
        select.sql("duckdb") for select in query.selects if not (select.alias or isinstance(select, named))
    ]


def _line_of(query: exp.Query, name: str) -> int:
    """Line on which a name is first written."""
    from sqlglot import exp

    named = (found for found in query.find_all(exp.Identifier) if found.name == name)
    return next((int(found.meta["line"]) for found in named if "line" in found.meta), 1)


def _lineage(query: exp.Query, schema: MappingSchema) -> ColumnLineage:
    from sqlglot import exp
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.scope import build_scope

    _write_out_windows(query)
    nodes = lineage(None, query, schema=schema, dialect="duckdb", scope=build_scope(query))
    made: ColumnLineage = {}
    for column, node in nodes.items():
        sources = {
            (f"{leaf.source.db}.{leaf.source.name}", exp.to_column(leaf.name).name)
            for leaf in node.walk()
            if isinstance(leaf.source, exp.Table) and not leaf.downstream
        }
        made[column] = sorted(sources)
    return made


def _write_out_windows(query: exp.Query) -> None:
    """Put the definition of each named window where it is used: its columns are sources too."""
    from sqlglot import exp

    for select in query.find_all(exp.Select):
        named = {window.name: window for window in select.args.get("windows") or []}
        for window in select.find_all(exp.Window):
            if window.alias in named:
                for part in ("partition_by", "order"):
                    window.set(part, named[window.alias].args.get(part))
