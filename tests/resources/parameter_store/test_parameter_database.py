"""Addresses, their secrets, the tables and how they come to be."""

from __future__ import annotations

import logging
import sqlite3
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from resources.parameter_store import ParameterStore, RefusedError, StoreError, address, models
from resources.parameter_store.database import Database

ABOUT: dict[str, Any] = {"actor": "alice", "reason": "a test"}


@pytest.mark.parametrize(
    "written",
    [
        "",
        "data/parameters.sqlite",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:a?uri=true",
        "sqlite://host/a.sqlite",
        "sqlite:///a.sqlite?mode=ro",
        "mysql://u:swordfish@h/d",
        "postgresql//u:swordfish@h/d",
        "postgresql://u:swordfish@h:port/d",
    ],
)
def test_an_address_of_another_kind_is_refused_and_not_repeated(written: str) -> None:
    with pytest.raises(
        StoreError, match=r"form sqlite:///data/parameters.sqlite .*, or postgresql://"
    ) as caught:
        ParameterStore(written)
    assert "swordfish" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "secret_address",
    [
        "postgresql://u:swordfish@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?password=swordfish&connect_timeout=2",
        "postgresql://u@127.0.0.1:1/d?sslpassword=swordfish",
        "postgresql+psycopg://u:sword%66ish@127.0.0.1:1/d?application_name=swordfish",
    ],
)
def test_a_password_is_shown_nowhere(secret_address: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("psycopg")
    caplog.set_level(logging.DEBUG)
    store = ParameterStore(secret_address)
    with pytest.raises(
        StoreError, match=r"postgresql://u@/d at 127.0.0.1:1: the database does not let us in"
    ) as caught:
        store.in_force()
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(store) + store.place
    assert "swordfish" not in shown.replace(secret_address, "")


def test_what_a_driver_says_is_masked() -> None:
    url = address.parse_address("postgresql://u:swordfish@h/d?sslpassword=tuna")
    assert address.masked("no swordfish, no tuna", address.secrets_of(url)) == "no ***, no ***"


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        StoreError, match=r"psycopg is not installed: pip install 'engine-pipeline\[postgres\]'"
    ):
        ParameterStore("postgresql://u@h/d")


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    store = ParameterStore(f"sqlite:///{tmp_path}/a/b/parameters.sqlite")
    assert list(tmp_path.iterdir()) == []
    store.in_force()
    assert (tmp_path / "a" / "b" / "parameters.sqlite").exists()
    assert store.place == f"{tmp_path}/a/b/parameters.sqlite"


def test_a_relative_file_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ParameterStore("sqlite:///data/parameters.sqlite")
    monkeypatch.chdir("/")
    store.in_force()
    assert (tmp_path / "data" / "parameters.sqlite").exists()


def test_sqlite_writes_ahead_and_waits(store: ParameterStore, address: str) -> None:
    store.in_force()
    with store._database.read() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "busy_timeout": 30_000, "synchronous": 2, "foreign_keys": 1}


def test_a_writer_that_does_not_let_go_is_named(either_address: str) -> None:
    holder, waiter = Database(either_address), Database(either_address, timeout_s=0.2)
    with waiter.read():
        pass
    with (
        holder.write(),
        pytest.raises(StoreError, match=r"another process has been writing for more than 0.2 s"),
    ):
        waiter.write().__enter__()
    with waiter.write() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    holder.close()
    waiter.close()


def test_a_reader_stays_in_one_state_and_holds_up_no_writer(either_store: ParameterStore) -> None:
    either_store.in_force()
    count = text("SELECT count(*) FROM events")
    with either_store._database.read() as connection:
        before = connection.execute(count).scalar()
        either_store.override("global", {"socialGo": 0.5}, **ABOUT)
        assert connection.execute(count).scalar() == before == 0
    assert len(either_store.history()) == 1


def test_what_fails_in_a_transaction_is_undone(either_store: ParameterStore) -> None:
    def write_and_fail() -> None:
        with either_store._ledger.write() as transaction:
            transaction.append("note", **ABOUT)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        write_and_fail()
    assert either_store.history() == []


def test_of_a_refused_attempt_only_the_refusal_is_kept(either_store: ParameterStore) -> None:
    def write_and_refuse() -> None:
        with either_store._ledger.attempt("a change", actor="alice") as transaction:
            transaction.append("note", **ABOUT)
            raise RefusedError("not like this")

    with pytest.raises(RefusedError, match="not like this"):
        write_and_refuse()
    (kept,) = either_store.history()
    assert (kept.kind, kept.reason, kept.content["attempt"]) == ("refused", "not like this", "a change")


def test_threads_share_a_store(either_store: ParameterStore) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(4):
                either_store.override("global", {"socialGo": 0.5 + number / 100}, **ABOUT)
                either_store.in_force()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (either_store.verify().intact, len(either_store.history())) == (True, 16)


def test_the_migrations_make_the_tables_of_the_models(either_store: ParameterStore) -> None:
    either_store.in_force()
    with either_store._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, models.METADATA) == []
        assert context.get_current_revision() == models.SCHEMA_VERSION


def test_the_models_are_at_the_last_revision() -> None:
    config = Config()
    folder = Path(models.__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_heads() == [models.SCHEMA_VERSION]


def test_a_migration_that_fails_leaves_nothing(either_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(either_address)
    import resources.parameter_store.database as module

    migrate = module._migrate

    def half(*arguments: Any) -> None:
        migrate(*arguments)
        raise RuntimeError("the power went")

    monkeypatch.setattr(module, "_migrate", half)
    with pytest.raises(RuntimeError, match="the power went"):
        database.read().__enter__()
    monkeypatch.undo()
    with module._engine(database._url, 1.0).connect() as connection:
        assert module._revision(connection) is None
        assert not module.inspect(connection).has_table("events")
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 0
    database.close()


def test_tables_of_a_newer_version_are_left_alone(store: ParameterStore, address: str) -> None:
    store.in_force()
    with sqlite3.connect(address.removeprefix("sqlite:///")) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        StoreError, match="at revision 9999, made by a newer .* this one knows " + models.SCHEMA_VERSION
    ):
        ParameterStore(address).in_force()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "parameters.sqlite"
    file.write_text("no database, but long enough to look like one" * 30)
    with pytest.raises(StoreError, match=rf"{file}: file is not a database. Nothing was changed"):
        ParameterStore(f"sqlite:///{file}").in_force()


def test_a_timeout_must_be_one() -> None:
    with pytest.raises(ValueError, match="timeout_s = 0 must be more than 0 seconds"):
        ParameterStore("sqlite:///a.sqlite", timeout_s=0)
