"""The history: what it hashes, what it refuses, and what it notices."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from engine.tuning.parameters import ParameterSet
from resources.parameter_store import ChainBrokenError, ParameterStore, StoreError
from resources.parameter_store.canonical import canonical, plain
from resources.parameter_store.chain import GENESIS

ABOUT: dict[str, Any] = {"actor": "alice", "reason": "a test"}
ROWS = 6
INSERTED = (
    "INSERT INTO events SELECT seq + {by}, at, kind, scope, version + {by}, subject, actor, reason, content, "
    "{previous}, hash FROM events WHERE seq = 6"
)


@pytest.fixture
def written(either_store: ParameterStore) -> ParameterStore:
    for number in range(ROWS):
        parameters = ParameterSet(social_go=0.5 + number / 100)
        either_store.commit("global", parameters, expected=number, evidence={}, **ABOUT)
    return either_store


def tamper(store: ParameterStore, *statements: str) -> None:
    """Change history as somebody can who owns the database: without the triggers."""
    with store._database.write() as connection:
        if connection.dialect.name == "sqlite":
            names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for name in names.scalars().all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            for table in ("events", "observations"):
                connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            connection.execute(text(statement))


def rehash(store: ParameterStore, seq: int) -> str:
    """Compute the hash of a row as it now stands."""
    with store._database.read() as connection:
        row = connection.execute(text(f"SELECT * FROM events WHERE seq = {seq}")).one()
    content = {name: value for name, value in row._mapping.items() if name != "hash"}
    written = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()


def test_a_chain_that_nobody_touched_is_intact(written: ParameterStore) -> None:
    report = written.verify()
    assert (report.intact, report.rows, report.broken_row) == (True, ROWS, None)
    assert written.head() == (ROWS, report.head)
    first, second = written.history()[-1], written.history()[-2]
    assert rehash(written, first.seq) == first.hash
    with written._database.read() as connection:
        links = connection.execute(text("SELECT previous FROM events ORDER BY seq LIMIT 2")).scalars().all()
    assert links == [GENESIS, first.hash]
    assert second.hash != first.hash


def test_an_empty_chain_is_intact(store: ParameterStore) -> None:
    assert store.head() == (0, GENESIS)
    assert store.verify(GENESIS).intact


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET reason = 'x' WHERE seq = 2",
        "DELETE FROM events WHERE seq = 6",
        INSERTED.format(by=9, previous="hash"),
        INSERTED.format(by=1, previous="previous"),
    ],
)
def test_the_database_refuses_to_change_history(written: ParameterStore, statement: str) -> None:
    with (
        pytest.raises(StoreError, match=r"append-only: no|must follow the last one"),
        written._database.write() as connection,
    ):
        connection.execute(text(statement))
    assert written.verify().rows == ROWS


def test_sqlite_refuses_to_replace_and_postgres_to_truncate(written: ParameterStore) -> None:
    statement = "TRUNCATE events"
    if "sqlite" in written.place:
        # The next row, with the version of another: to make room SQLite would delete that one.
        statement = (
            "REPLACE INTO events SELECT seq + 1, at, kind, scope, 2, subject, actor, reason, content, hash, "
            "hash FROM events WHERE seq = 6"
        )
    with pytest.raises(StoreError, match="append-only: no"), written._database.write() as connection:
        connection.execute(text(statement))
    assert written.verify().rows == ROWS


def test_progress_and_observations_are_append_only_too(either_store: ParameterStore) -> None:
    session = either_store.sessions.start("global", "quick_tune", **ABOUT)
    session.report({"episode": 1})
    made = either_store.experiments.register(
        "ab",
        "global",
        ParameterSet(),
        baseline=0,
        metric="net",
        horizon=timedelta(days=1),
        seed=1,
        **ABOUT,
    )
    either_store.experiments.observe(made.id, "k", {"net": 0.1})
    statements = ["UPDATE {} SET content = '{{}}'", "DELETE FROM {}"]
    statements += ["REPLACE INTO {0} SELECT * FROM {0}"] * ("sqlite" in either_store.place)
    for table in ("progress", "observations"):
        for statement in statements:
            with pytest.raises(StoreError, match="append-only"), either_store._database.write() as connection:
                connection.execute(text(statement.format(table)))


COLUMNS = {
    "at": "'2026-03-01T12:00:00.000001Z'",
    "kind": "'version.reset'",
    "scope": "'symbol:BTC/USDT'",
    "version": "77",
    "subject": "'s'",
    "actor": "'mallory'",
    "reason": "''",
    "content": "replace(content, '0.52', '0.95')",
    "previous": f"'{GENESIS}'",
    "hash": f"'{GENESIS}'",
}


def test_a_change_of_any_column_is_found(written: ParameterStore) -> None:
    tamper(written)
    for column, value in COLUMNS.items():
        with written._database.write() as connection:
            original = connection.execute(text(f"SELECT {column} FROM events WHERE seq = 3")).scalar()
            connection.execute(text(f"UPDATE events SET {column} = {value} WHERE seq = 3"))
        report = written.verify()
        assert (report.intact, report.rows, report.broken_row) == (False, 2, 3), column
        assert report.reason == "row 3 was changed"
        with written._database.write() as connection:
            restore = text(f"UPDATE events SET {column} = :original WHERE seq = 3")
            connection.execute(restore, {"original": original})
        assert written.verify().intact


def test_a_row_that_is_removed_or_put_in_is_named(written: ParameterStore) -> None:
    tamper(written, "DELETE FROM events WHERE seq IN (2, 3)")
    assert (written.verify().broken_row, written.verify().reason) == (2, "row 2 is missing")


def test_a_row_put_between_others_is_named(written: ParameterStore) -> None:
    tamper(
        written,
        *(f"UPDATE events SET seq = {seq + 1} WHERE seq = {seq}" for seq in range(ROWS, 3, -1)),
        "INSERT INTO events SELECT 4, at, kind, scope, 99, subject, actor, reason, content, hash, hash "
        "FROM events WHERE seq = 3",
    )
    assert written.verify().broken_row == 4


def test_a_row_whose_hash_was_made_to_fit_is_named(written: ParameterStore) -> None:
    tamper(written, "UPDATE events SET actor = 'bob' WHERE seq = 3")
    tamper(written, f"UPDATE events SET hash = '{rehash(written, 3)}' WHERE seq = 3")
    report = written.verify()
    assert (report.broken_row, report.rows) == (3, 2)
    assert "row 4 was written after another row than row 3" in report.reason


def test_rows_cut_off_are_found_with_the_head_that_was_noted(written: ParameterStore) -> None:
    earlier, (_, head) = written.history()[2].hash, written.head()
    assert written.verify(head).intact
    assert written.verify(earlier).intact
    tamper(written, "DELETE FROM events WHERE seq > 4")
    assert written.verify().intact
    report = written.verify(head)
    assert (report.intact, report.broken_row) == (False, 5)
    assert head in report.reason
    assert written.verify(earlier).intact


def test_a_changed_row_is_not_decided_with(written: ParameterStore) -> None:
    tamper(written, "UPDATE events SET content = replace(content, '0.55', '0.95') WHERE seq = 6")
    for read in (written.in_force, written.history, lambda: written.rollback("global", 6, **ABOUT)):
        with pytest.raises(ChainBrokenError, match=r"row 6 of the history was changed .* nothing is taken"):
            read()


def test_other_programs_are_refused_too(address: str, store: ParameterStore) -> None:
    store.override("global", {"socialGo": 0.5}, **ABOUT)
    with sqlite3.connect(Path(address.removeprefix("sqlite:///"))) as other:
        with pytest.raises(sqlite3.IntegrityError, match="append-only: no DELETE"):
            other.execute("DELETE FROM events")
        with pytest.raises(sqlite3.IntegrityError, match="must follow the last one"):
            other.execute("REPLACE INTO events SELECT * FROM events")
    assert store.verify().rows == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(json_values)
def test_what_is_written_is_read_back_and_written_the_same(value: Any) -> None:
    written = canonical(value)
    assert json.loads(written) == value
    assert canonical(json.loads(written)) == written
    if isinstance(value, dict):
        assert canonical(dict(reversed(value.items()))) == written


def test_numbers_of_numpy_are_numbers() -> None:
    value = {"a": np.float64(0.1), "b": np.int64(3), "c": np.bool_(True), "d": np.array([[1.5, 2.0]])}
    assert plain(value) == {"a": 0.1, "b": 3, "c": True, "d": [[1.5, 2.0]]}


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        ({"a": {"b": [1, float("inf")]}}, ValueError, r"content.a.b\[1\] is inf"),
        ({"a": np.array([np.nan])}, ValueError, r"content.a\[0\] is nan"),
        ({"a": b"x"}, TypeError, "content.a is a bytes, which has no form in JSON"),
        ({1: 2}, TypeError, "content has the key 1; keys must be text"),
        ({"a": {1, 2}}, TypeError, "content.a is a set"),
    ],
)
def test_what_has_no_form_in_json_is_named(value: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        canonical(value)
