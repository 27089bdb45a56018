"""Models are found, read, ordered, and refused with file and line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dbt_like_sql.errors import ModelError
from dbt_like_sql.project import load_project

Write = Callable[[Mapping[str, str]], Path]


def test_a_file_is_a_model_named_by_its_place(write_models: Write) -> None:
    sql = "-- Bars.\nSELECT symbol FROM raw.candles\n"
    [model] = load_project(write_models({"staging/candles.sql": sql})).models
    assert (model.full_name, model.schema, model.name, model.sql) == (
        "staging.candles",
        "staging",
        "candles",
        sql,
    )
    assert dict(model.reads) == {"raw.candles": 2}
    changed = load_project(write_models({"staging/candles.sql": sql + "WHERE true"}))["staging.candles"]
    assert changed.code_version != model.code_version


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("FROM raw.a", {"raw.a": 1}),
        ("SELECT 1 AS one", {}),
        (
            "SELECT * FROM raw.a AS x\nJOIN raw.b USING (k)\nLEFT JOIN raw.a AS y USING (k)",
            {"raw.a": 1, "raw.b": 2},
        ),
        ("WITH c AS (SELECT * FROM raw.a),\nd AS (SELECT * FROM c)\nSELECT * FROM d", {"raw.a": 1}),
        ("WITH a AS (SELECT * FROM raw.a) SELECT * FROM a", {"raw.a": 1}),
        ("SELECT * FROM raw.a\nUNION ALL\nSELECT * FROM raw.b", {"raw.a": 1, "raw.b": 3}),
        (
            "SELECT (SELECT max(v) FROM raw.b) FROM raw.a WHERE k IN (SELECT k FROM raw.c)",
            dict.fromkeys(["raw.b", "raw.a", "raw.c"], 1),
        ),
        ("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 9) FROM n", {}),
        ("SELECT i FROM range(10) AS t(i)", {}),
        ("SELECT * FROM Raw.A", {"raw.a": 1}),
        ('SELECT "table" FROM raw."a"', {"raw.a": 1}),
    ],
)
def test_what_is_read_is_found_in_from_clauses(write_models: Write, sql: str, reads: dict[str, int]) -> None:
    [model] = load_project(write_models({"staging/m.sql": sql})).models
    assert dict(model.reads) == reads


def test_models_come_after_those_they_read(write_models: Write) -> None:
    project = load_project(
        write_models(
            {
                "marts/a.sql": "SELECT * FROM staging.z JOIN staging.m USING (k)",
                "staging/m.sql": "SELECT * FROM staging.z",
                "staging/z.sql": "SELECT * FROM raw.t",
            }
        )
    )
    assert [model.full_name for model in project] == ["staging.z", "staging.m", "marts.a"]
    assert project["marts.a"].name == "a"
    with pytest.raises(KeyError, match=r"marts\.b is not a model"):
        project["marts.b"]


def test_a_circle_is_refused(write_models: Write) -> None:
    root = write_models(
        {
            "s/a.sql": "SELECT *\nFROM s.b",
            "s/b.sql": "SELECT *\nFROM s.c",
            "s/c.sql": "SELECT *\nFROM s.a",
        }
    )
    with pytest.raises(
        ModelError, match=r"/s/.\.sql:2: models read each other in a circle: s\.. -> s\.. -> s\.. -> s\.."
    ) as caught:
        load_project(root)
    circle = str(caught.value).rsplit(": ", 1)[1].split(" -> ")
    assert circle[0] == circle[-1]
    assert all(
        f"FROM {circle[i + 1]}" in (root / f"{circle[i].replace('.', '/')}.sql").read_text() for i in range(3)
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT a\nFROM raw.t\nWHERE WHERE", r"m\.sql:3: .* near 'WHERE'"),
        ("SELECT a\nFROM raw.t WHERE (a = 1", r"m\.sql:2: "),
        ("SELECT a\nFROM raw.t\nWHERE a = 'open", r"m\.sql:3: a text, name or comment is not closed"),
        ("SELECT 'a", r"m\.sql:1: a text, name or comment is not closed"),
        ("SELECT 1;\nSELECT 2", r"m\.sql:1: must hold one SELECT and nothing else; it holds Select, Select"),
        ("DROP TABLE raw.t", r"m\.sql:1: must hold one SELECT.*Drop"),
        ("", r"m\.sql:1: must hold one SELECT"),
        (
            "SELECT a\nFROM t",
            r"m\.sql:2: reads t; a model reads tables of the warehouse, written schema\.table",
        ),
        ("SELECT a FROM other.raw.t", r"m\.sql:1: reads other\.raw\.t"),
        ("SELECT a\nFROM 'secrets.parquet'", r'm\.sql:2: reads "secrets\.parquet"'),
        ("SELECT a FROM read_csv('x.csv')", r"m\.sql:1: reads READ_CSV\('x\.csv'\)"),
    ],
)
def test_what_is_no_model_is_refused_with_file_and_line(write_models: Write, sql: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_project(write_models({"staging/m.sql": sql}))


def test_an_unknown_table_is_refused_with_file_and_line(write_models: Write) -> None:
    project = load_project(write_models({"staging/m.sql": "SELECT *\nFROM raw.a\nJOIN raw.b USING (k)"}))
    project.check_reads({"raw.a": None, "raw.b": None})
    with pytest.raises(ModelError, match=r"m\.sql:3: no model and no declared table is named raw\.b"):
        project.check_reads({"raw.a": None})


def test_descriptions_come_from_the_schema_file(write_models: Write) -> None:
    text = """
models:
  - name: s.m
    description: What it is.
    columns: [{name: a, description: What a is.}]
"""
    root = write_models({"s/m.sql": "SELECT 1 AS a", "schema.yml": text})
    model = load_project(root)["s.m"]
    assert (model.description, dict(model.columns)) == ("What it is.", {"a": "What a is."})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models:\n  - name: s.m\n  - [", r"schema\.yml:\d+: not YAML"),
        ("models:\n  - name: s.gone", r"schema\.yml: describes s\.gone, but there is no such file"),
        ("models:\n  - name: s.m\n  - name: s.m", r"each model has a name of its own.*'s\.m'"),
        ("models:\n  - description: no name", r"each model has a name of its own.*None"),
        ("models:\n  - {name: s.m, colums: []}", r"s\.m: unknown \['colums'\]"),
        ("sources: []", r"the file: unknown \['sources'\]"),
        (
            "models:\n  - {name: s.m, columns: [{name: a, test: [unique]}]}",
            r"s\.m, a column: unknown \['test'\]",
        ),
        ("models:\n  - {name: s.m, columns: [a]}", r"'a' is not a mapping"),
    ],
)
def test_a_schema_file_that_cannot_be_used_is_refused(write_models: Write, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_project(write_models({"s/m.sql": "SELECT 1 AS a", "schema.yml": text}))


def test_loading_models_is_light() -> None:
    """Definitions load in every step process; neither a database nor a frame library may come with them."""
    code = (
        "import sys; from pathlib import Path; import dbt_like_sql;"
        "from dbt_like_sql.project import load_project;"
        "load_project(Path(dbt_like_sql.__file__).parent); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"duckdb", "polars", "pandas", "numpy", "pyarrow"} & set(loaded)
