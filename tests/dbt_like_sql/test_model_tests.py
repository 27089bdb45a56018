"""Each kind of test, green and red, and entries that are no test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt_like_sql.errors import ModelError
from dbt_like_sql.model_tests import build_test, run_test

SOURCE = Path("schema.yml")


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("CREATE SCHEMA s; CREATE SCHEMA raw")
        opened.execute("CREATE TABLE raw.names AS SELECT * FROM (VALUES ('a'), ('b')) AS t(name)")
        yield opened


def fill(connection: duckdb.DuckDBPyConnection, *rows: tuple[Any, Any]) -> None:
    connection.execute("CREATE TABLE s.m (k VARCHAR, v DOUBLE)")
    connection.executemany("INSERT INTO s.m VALUES (?, ?)", rows)


GOOD = [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize(
    ("column", "declared", "name", "bad", "first"),
    [
        ("k", "not_null", "not_null_k", [(None, 3.0)], {"k": None, "v": 3.0}),
        ("k", "unique", "unique_k", [("a", 9.0)], {"k": "a", "occurrences": 2}),
        (
            None,
            {"unique": {"columns": ["k", "v"]}},
            "unique_k_v",
            [("a", 1.0)],
            {"k": "a", "v": 1.0, "occurrences": 2},
        ),
        (
            "k",
            {"accepted_values": {"values": ["a", "b", "it's"]}},
            "accepted_values_k",
            [("c", 1.0)],
            {"k": "c", "v": 1.0},
        ),
        (
            "v",
            {"accepted_values": {"values": [1, 2.0]}},
            "accepted_values_v",
            [("a", 3.0)],
            {"k": "a", "v": 3.0},
        ),
        (
            "k",
            {"relationships": {"to": "raw.names", "field": "name"}},
            "relationships_k",
            [("c", 1.0)],
            {"k": "c"},
        ),
        (
            None,
            {"expression": {"sql": "v > 0 AND v < 10"}},
            "expression",
            [("c", -1.0)],
            {"k": "c", "v": -1.0},
        ),
        (None, {"query": {"sql": "SELECT k FROM s.m WHERE v < 0;"}}, "query", [("c", -1.0)], {"k": "c"}),
    ],
)
def test_a_rule_is_green_on_good_rows_and_red_on_bad_ones(
    connection: duckdb.DuckDBPyConnection,
    column: str | None,
    declared: object,
    name: str,
    bad: list[tuple[Any, Any]],
    first: dict[str, Any],
) -> None:
    test = build_test("s.m", column, declared, SOURCE)
    assert test.name == name
    fill(connection, *GOOD)
    green = run_test(connection, test)
    assert (green.passed, green.bad, green.sample) == (True, 0, ())
    connection.executemany("INSERT INTO s.m VALUES (?, ?)", bad)
    red = run_test(connection, test)
    assert (red.passed, red.bad) == (False, 1)
    assert list(red.sample) == [first]


@pytest.mark.parametrize(
    ("column", "declared"),
    [
        ("k", {"accepted_values": {"values": ["a"]}}),
        ("k", {"relationships": {"to": "raw.names", "field": "name"}}),
        (None, {"expression": {"sql": "k = 'a'"}}),
    ],
)
def test_a_missing_value_is_left_to_not_null(
    connection: duckdb.DuckDBPyConnection, column: str | None, declared: object
) -> None:
    fill(connection, (None, 1.0))
    assert run_test(connection, build_test("s.m", column, declared, SOURCE)).passed


def test_an_empty_table_passes(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE TABLE s.m (k VARCHAR, v DOUBLE)")
    assert run_test(connection, build_test("s.m", "k", "unique", SOURCE)).passed


def test_all_bad_rows_are_counted_and_a_few_shown(connection: duckdb.DuckDBPyConnection) -> None:
    fill(connection, *[(None, float(value)) for value in range(12)])
    outcome = run_test(connection, build_test("s.m", "k", "not_null", SOURCE))
    assert (outcome.bad, len(outcome.sample)) == (12, 5)


@pytest.mark.parametrize(
    ("declared", "severity", "blocking"),
    [
        ("unique", "error", True),
        ("not_null", "error", True),
        ({"not_null": {"severity": "warn"}}, "warn", False),
        ({"not_null": {"blocking": False}}, "error", False),
        ({"accepted_values": {"values": [1]}}, "error", False),
        ({"accepted_values": {"values": [1], "blocking": True}}, "error", True),
    ],
)
def test_keys_and_missing_values_block_unless_told_otherwise(
    declared: object, severity: str, blocking: bool
) -> None:
    test = build_test("s.m", "k", declared, SOURCE)
    assert (test.severity, test.blocking) == (severity, blocking)


def test_a_name_and_a_description_can_be_given() -> None:
    test = build_test("s.m", "k", {"not_null": {"name": "has_key", "description": "Rows have keys."}}, SOURCE)
    assert (test.name, test.description) == ("has_key", "Rows have keys.")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("uniqe", "s.m, column k: there is no test 'uniqe'; there are not_null, unique"),
        ({"unique": None, "not_null": None}, "is not a test; write a kind"),
        (["unique"], "is not a test"),
        ({"not_null": 3}, "arguments of not_null are 3"),
        ({"accepted_values": {"vals": [1]}}, "do not fit test accepted_values"),
        ({"accepted_values": {}}, "do not fit test accepted_values"),
        ({"not_null": {"severity": "fatal"}}, "severity is 'fatal', not error or warn"),
        ({"not_null": {"severity": "warn", "blocking": True}}, "a warning cannot block"),
    ],
)
def test_an_entry_that_is_no_test_is_refused(declared: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_test("s.m", "k", declared, SOURCE)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"expression": {"sql": "v >"}}, "s.m, line 1 of the SQL of test expression"),
        ({"query": {"sql": "SELECT k\nFROM s.m\nWHERE WHERE"}}, "s.m, line 3 of the SQL of test query"),
        ({"query": {"sql": "DELETE FROM s.m"}}, "must hold one SELECT"),
        ({"unique": {}}, "columns are missing"),
    ],
)
def test_sql_of_a_test_that_cannot_be_read_is_refused(declared: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_test("s.m", None, declared, SOURCE)
