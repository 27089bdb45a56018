"""Column lineage with known answers, and columns that do not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dbt_like_sql.errors import ModelError
from dbt_like_sql.lineage import ColumnLineage, compile_project
from dbt_like_sql.project import load_project

Write = Callable[[Mapping[str, str]], Path]
DECLARED = {"raw.a": ["k", "v", "w"], "raw.b": ["k", "x"]}
K, V, W = ("raw.a", "k"), ("raw.a", "v"), ("raw.a", "w")
BK, BX = ("raw.b", "k"), ("raw.b", "x")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT k, v AS value FROM raw.a", {"k": [K], "value": [V]}),
        ("SELECT * FROM raw.a", {"k": [K], "v": [V], "w": [W]}),
        ("FROM raw.a", {"k": [K], "v": [V], "w": [W]}),
        ("SELECT * EXCLUDE (w) FROM raw.a", {"k": [K], "v": [V]}),
        ("SELECT * REPLACE (v + w AS v) FROM raw.a", {"k": [K], "v": [V, W], "w": [W]}),
        (
            "SELECT v + w AS s, 1 AS one, count(*) AS n FROM raw.a GROUP BY ALL",
            {"s": [V, W], "one": [], "n": []},
        ),
        ("SELECT a.k, a.v / b.x AS r FROM raw.a JOIN raw.b USING (k)", {"k": [K], "r": [V, BX]}),
        (
            "SELECT v, b.* FROM raw.a LEFT JOIN raw.b ON a.k = b.k AND a.w > 0",
            {"v": [V], "k": [BK], "x": [BX]},
        ),
        ("SELECT k FROM raw.a UNION ALL SELECT x FROM raw.b", {"k": [K, BX]}),
        ("SELECT k FROM raw.a WHERE v > (SELECT max(x) FROM raw.b)", {"k": [K]}),
        ("SELECT k, (SELECT max(x) FROM raw.b) AS top FROM raw.a", {"k": [K], "top": [BX]}),
        ("SELECT sum(v) OVER (PARTITION BY k ORDER BY w) AS s FROM raw.a", {"s": [K, V, W]}),
        ("SELECT lag(v) OVER h AS s FROM raw.a WINDOW h AS (PARTITION BY k ORDER BY w)", {"s": [K, V, W]}),
        ("SELECT CASE WHEN w > 0 THEN v END AS c FROM raw.a", {"c": [V, W]}),
        (
            "WITH c AS (SELECT k, v * 2 AS d FROM raw.a), e AS (SELECT k, d + 1 AS f FROM c) SELECT f FROM e",
            {"f": [V]},
        ),
        ("SELECT d FROM (SELECT *, v + w AS d FROM raw.a) AS inside", {"d": [V, W]}),
        ("SELECT A.K, V FROM Raw.A AS A", {"k": [K], "v": [V]}),
    ],
)
def test_columns_come_from(write_models: Write, sql: str, expected: ColumnLineage) -> None:
    compiled = compile_project(load_project(write_models({"s/m.sql": sql})), DECLARED)["s.m"]
    assert compiled == expected
    assert list(compiled) == list(expected)


def test_columns_of_a_model_come_from_the_model_before_it(write_models: Write) -> None:
    root = write_models(
        {"s/one.sql": "SELECT *, v + w AS both FROM raw.a", "t/two.sql": "SELECT * FROM s.one"}
    )
    compiled = compile_project(load_project(root), DECLARED)
    assert list(compiled) == ["s.one", "t.two"]
    assert compiled["t.two"] == {name: [("s.one", name)] for name in ("k", "v", "w", "both")}
    assert list(compile_project(load_project(root), DECLARED, only=["t.two"])) == ["t.two"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT\n  k,\n  nope\nFROM raw.a", r"m\.sql:3: Column 'nope' could not be resolved"),
        ("SELECT k\nFROM raw.a\nWHERE nope > 0", r"m\.sql:3: Column 'nope'"),
        ("SELECT k\nFROM raw.a\nJOIN raw.b ON b.k = a.nope", r"m\.sql:3: Unknown column: nope"),
        ("WITH c AS (\n  SELECT nope FROM raw.a\n)\nSELECT * FROM c", r"m\.sql:2: Column 'nope'"),
        ("SELECT v\n, k\nFROM raw.a CROSS JOIN raw.b", r"m\.sql:2: Column 'k'"),
        (
            "SELECT k\nFROM raw.a\nJOIN raw.c USING (k)",
            r"m\.sql:3: no model and no declared table is named raw\.c",
        ),
        ("SELECT k, v AS k FROM raw.a", r"m\.sql:1: each column needs a name of its own; found \['k', 'k'\]"),
        ("SELECT k, v + 1 FROM raw.a", r"m\.sql:1: each column needs a name of its own; found \['v \+ 1'\]"),
        (
            "SELECT count(*) FROM raw.a",
            r"m\.sql:1: each column needs a name of its own; found \['COUNT\(\*\)'\]",
        ),
    ],
)
def test_what_does_not_exist_is_refused_with_file_and_line(
    write_models: Write, sql: str, message: str
) -> None:
    project = load_project(write_models({"s/m.sql": sql}))
    with pytest.raises(ModelError, match=message):
        compile_project(project, DECLARED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: [{name: nope}]", r"schema\.yml: describes columns \['nope'\] of s\.m, which has \['k'\]"),
        ("tests: [unique: {columns: [nope]}]", r"schema\.yml: s\.m, test unique_nope: Column .*nope"),
        ("tests: [expression: {sql: nope > 0}]", r"schema\.yml: s\.m, test expression: Column 'nope'"),
        (
            "tests: [query: {sql: SELECT x FROM raw.c}]",
            r"schema\.yml: s\.m, test query: no table is named raw\.c",
        ),
        (
            "tests: [relationships: {column: k, to: raw.b, field: nope}]",
            r"schema\.yml: s\.m, test relationships_k: Unknown column: nope",
        ),
    ],
)
def test_a_description_or_test_of_what_does_not_exist_is_refused(
    write_models: Write, text: str, message: str
) -> None:
    files = {"s/m.sql": "SELECT k FROM raw.a", "schema.yml": f"models:\n  - name: s.m\n    {text}\n"}
    with pytest.raises(ModelError, match=message):
        compile_project(load_project(write_models(files)), DECLARED)
