"""A folder of SQL models: one plain SELECT a file, found, read and put in the order in which they build.

``<root>/<schema>/<name>.sql`` makes the table ``schema.name``. What a model reads is found in its FROM
clauses: there is nothing to declare and no template to render, and a file runs as it is in a DuckDB shell.
``<root>/schema.yml`` describes models and columns and declares their tests.
"""

from __future__ import annotations

import graphlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_like_sql.errors import ModelError
from dbt_like_sql.query import parse_select, tables_read
from dbt_like_sql.schema_file import Entry, read_schema_file

if TYPE_CHECKING:
    from dbt_like_sql.model_tests import ModelTest

__all__ = ["Model", "Project", "load_project"]


@dataclass(frozen=True)
class Model:
    """One SELECT and the table it makes.

    Parameters
    ----------
    schema, name : str
        The table, named by folder and file.
    path : Path
        The file.
    sql : str
        Its text.
    reads : mapping of str to int
        Tables in its FROM clauses, ``schema.table``, with the line of the first mention.
    description : str
        From ``schema.yml``.
    columns : mapping of str to str
        Descriptions of columns, from ``schema.yml``.
    tests : tuple of ModelTest
        From ``schema.yml``.
    """

    schema: str
    name: str
    path: Path
    sql: str
    reads: Mapping[str, int]
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    tests: tuple[ModelTest, ...] = ()

    @property
    def full_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"

    @property
    def code_version(self) -> str:
        """Digest of the SQL."""
        return hashlib.sha256(self.sql.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Project:
    """Models in an order in which each comes after those it reads."""

    root: Path
    models: tuple[Model, ...]

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __getitem__(self, full_name: str) -> Model:
        for model in self.models:
            if model.full_name == full_name:
                return model
        raise KeyError(f"{full_name} is not a model of {self.root}")

    def check_reads(self, declared: Mapping[str, object]) -> None:
        """Refuse a model or a test that reads a table which is neither a model nor declared.

        Raises
        ------
        ModelError
            With file, line and table.
        """
        known = {*declared, *(model.full_name for model in self.models)}
        for model in self.models:
            for table, line in model.reads.items():
                if table not in known:
                    raise ModelError(f"no model and no declared table is named {table}", model.path, line)
            for test in model.tests:
                if unknown := [table for table in test.reads if table not in known]:
                    reason = f"{model.full_name}, test {test.name}: no table is named {unknown[0]}"
                    raise ModelError(reason, test.source)


def load_project(root: Path) -> Project:
    """Read all models under ``root``.

    Raises
    ------
    ModelError
        If a file is not one SELECT, names a table without its schema, if models read each other in a circle,
        or if ``schema.yml`` speaks of what does not exist. File and line are named.
    """
    entries = read_schema_file(root / "schema.yml") if (root / "schema.yml").exists() else {}
    models = {}
    for path in sorted(root.glob("*/*.sql")):
        model = _read_model(path, entries.pop(f"{path.parent.name}.{path.stem}", Entry()))
        models[model.full_name] = model
    if entries:
        raise ModelError(
            f"describes {', '.join(sorted(entries))}, but there is no such file", root / "schema.yml"
        )
    inside = {name: [table for table in model.reads if table in models] for name, model in models.items()}
    try:
        order = tuple(graphlib.TopologicalSorter(inside).static_order())
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))
        first = models[circle[0]]
        text = " -> ".join(circle)
        raise ModelError(
            f"models read each other in a circle: {text}", first.path, first.reads[circle[1]]
        ) from error
    return Project(root, tuple(models[name] for name in order))


def _read_model(path: Path, entry: Entry) -> Model:
    sql = path.read_text()
    return Model(
        schema=path.parent.name,
        name=path.stem,
        path=path,
        sql=sql,
        reads=tables_read(parse_select(sql, path), path),
        description=entry.description,
        columns=entry.columns,
        tests=entry.tests,
    )
