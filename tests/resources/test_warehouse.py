"""The warehouse in one process: what it accepts, stores, refuses and remembers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import duckdb
import polars as pl
import pytest

from engine.errors import DataError
from resources.table import Column, Table
from resources.warehouse import SCHEMA_VERSION, Warehouse, WarehouseError

CANDLES = Table(
    schema="raw",
    name="candles",
    description="Bars.",
    columns=(
        Column("symbol", "VARCHAR", "Market."),
        Column("ts", "TIMESTAMP", "Open of the bar."),
        Column("close", "DOUBLE", "Last price, USDT.", nullable=True),
    ),
    key=("symbol", "ts"),
)


def day(number: int) -> datetime:
    return datetime(2024, 1, number)


def candles(*rows: tuple[str, int, float | None]) -> pl.DataFrame:
    named = [{"symbol": symbol, "ts": day(number), "close": close} for symbol, number, close in rows]
    return pl.DataFrame(named, schema=CANDLES.polars_schema)


def on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("warehouse", kinds, indirect=True)


@pytest.fixture
def warehouse(request: pytest.FixtureRequest, new_address: Callable[[str], str]) -> Warehouse:
    kind = getattr(request, "param", "a file")
    return Warehouse(address=new_address(kind), lock_timeout_s=10, threads=1)


def rows(warehouse: Warehouse, name: str = "raw.candles") -> list[tuple[object, ...]]:
    return warehouse.frame(f"SELECT * FROM {name} ORDER BY ALL").rows()


THREE = candles(("BTC/USDT", 1, 1.0), ("BTC/USDT", 2, None), ("ETH/USDT", 1, 3.0))


def test_a_replaced_table_holds_the_frame_with_its_types(warehouse: Warehouse) -> None:
    assert not warehouse.exists("raw.candles")
    assert warehouse.replace(CANDLES, THREE) == 3
    assert warehouse.exists("raw.candles")
    assert warehouse.tables() == ["meta.schema_version", "raw.candles"]
    assert warehouse.frame("FROM raw.candles ORDER BY symbol, ts").equals(THREE)
    assert warehouse.frame("FROM raw.candles").schema == CANDLES.polars_schema


@on("a file", "sqlite", "postgres")
def test_every_declared_type_comes_back_as_it_went_in(warehouse: Warehouse) -> None:
    table = Table(
        "models",
        "registry",
        "One column of each type.",
        (
            Column("order", "VARCHAR", "A reserved word."),
            Column("trained_at", "TIMESTAMP", "UTC."),
            Column("score", "DOUBLE", "-"),
            Column("rows", "BIGINT", "-"),
            Column("champion", "BOOLEAN", "-"),
            Column("weights", "BLOB", "safetensors"),
            Column("curve", "DOUBLE[]", "-"),
            Column("features", "VARCHAR[]", "-"),
        ),
    )
    row = ("a", day(1) + timedelta(microseconds=1), 0.1, 2**62, True, b"\x00\xff", [1.5, None], ["x", "y"])
    frame = pl.DataFrame([row], schema=table.polars_schema, orient="row")
    warehouse.replace(table, frame)
    assert warehouse.frame("FROM models.registry").equals(frame)
    assert warehouse.frame("FROM models.registry").schema == table.polars_schema


@on("a file", "sqlite", "postgres")
def test_the_same_write_twice_leaves_the_same_rows_and_version(warehouse: Warehouse) -> None:
    writes = [
        lambda: warehouse.replace(CANDLES, THREE),
        lambda: warehouse.replace_range(CANDLES, THREE, "ts", day(1), day(3)),
        lambda: warehouse.replace_keys(CANDLES, THREE, ["symbol"]),
        lambda: warehouse.append_new(CANDLES, THREE),
    ]
    warehouse.replace(CANDLES, THREE)
    version = warehouse.version("raw.candles")
    for write in writes:
        for _ in range(2):
            write()
            assert rows(warehouse) == THREE.sort("symbol", "ts").rows()
            assert warehouse.version("raw.candles") == version


def test_the_version_follows_content_and_not_order(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    version = warehouse.version("raw.candles")
    warehouse.replace(CANDLES, THREE.reverse())
    assert warehouse.version("raw.candles") == version
    seen = {version}
    for other in (
        THREE.head(2),
        THREE.clear(),
        THREE.with_columns(close=pl.col("close") + 1e-9),
        THREE.with_columns(symbol=pl.col("symbol").str.to_lowercase()),
        THREE.with_columns(close=pl.col("close").reverse()),
    ):
        warehouse.replace(CANDLES, other)
        seen.add(warehouse.version("raw.candles"))
    assert len(seen) == 6


def test_a_row_that_occurs_twice_changes_the_version(warehouse: Warehouse) -> None:
    keyless = Table("raw", "notes", "No key.", (Column("note", "VARCHAR", "-"),))
    versions = set()
    for count in range(4):
        warehouse.replace(keyless, pl.DataFrame({"note": ["a"] * count}, schema=keyless.polars_schema))
        versions.add(warehouse.version("raw.notes"))
    assert len(versions) == 4


def test_versions_of_several_tables_and_of_none(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    assert warehouse.versions(["raw.candles"]) == {"raw.candles": warehouse.version("raw.candles")}
    with pytest.raises(ValueError, match=r"raw\.funding is not in the warehouse; materialise it first"):
        warehouse.version("raw.funding")
    with pytest.raises(ValueError, match=r"schema\.table"):
        warehouse.version("candles")


def test_a_range_replaces_its_rows_and_no_others(warehouse: Warehouse) -> None:
    before = candles(*(("BTC/USDT", number, float(number)) for number in range(1, 6)))
    warehouse.replace(CANDLES, before)
    assert warehouse.replace_range(CANDLES, candles(("BTC/USDT", 3, 33.0)), "ts", day(2), day(5)) == 1
    assert [row[1:] for row in rows(warehouse)] == [(day(1), 1.0), (day(3), 33.0), (day(5), 5.0)]


@on("a file", "sqlite")
def test_a_range_in_another_zone_is_the_same_range(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    east = timezone(timedelta(hours=5))
    start, end = (day(number).replace(tzinfo=UTC).astimezone(east) for number in (1, 2))
    warehouse.replace_range(CANDLES, CANDLES.empty(), "ts", start, end)
    assert rows(warehouse) == [("BTC/USDT", day(2), None)]


def test_rows_outside_of_the_range_are_refused(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    for number in (1, 4):
        frame = candles(("BTC/USDT", 2, 1.0), ("BTC/USDT", number, 1.0))
        with pytest.raises(DataError, match=r"raw\.candles, row 2, column 'ts': .* outside of the range"):
            warehouse.replace_range(CANDLES, frame, "ts", day(2), day(4))
    with pytest.raises(ValueError, match="must be before end"):
        warehouse.replace_range(CANDLES, CANDLES.empty(), "ts", day(2), day(2))
    assert len(rows(warehouse)) == 3


@on("a file", "sqlite", "postgres")
def test_a_key_that_stays_stored_is_refused(warehouse: Warehouse) -> None:
    trades = Table(
        "trading", "trades", "-", (Column("id", "BIGINT", "-"), Column("ts", "TIMESTAMP", "-")), key=("id",)
    )
    schema = trades.polars_schema
    warehouse.replace(trades, pl.DataFrame({"id": [1, 2], "ts": [day(1), day(5)]}, schema=schema))
    with pytest.raises(DataError, match=r"key \('id',\) = \(1,\) is already stored outside"):
        warehouse.replace_range(
            trades, pl.DataFrame({"id": [1], "ts": [day(5)]}, schema=schema), "ts", day(5), day(6)
        )
    assert rows(warehouse, "trading.trades") == [(1, day(1)), (2, day(5))]


@on("a file", "sqlite")
def test_keys_replace_what_the_frame_names(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    assert warehouse.replace_keys(CANDLES, candles(("BTC/USDT", 9, 9.0)), ["symbol"]) == 1
    assert rows(warehouse) == [("BTC/USDT", day(9), 9.0), ("ETH/USDT", day(1), 3.0)]
    assert warehouse.replace_keys(CANDLES, candles(("ETH/USDT", 2, 0.0)), ["symbol", "ts"]) == 1
    assert len(rows(warehouse)) == 3
    assert warehouse.replace_keys(CANDLES, CANDLES.empty(), ["symbol"]) == 0
    assert len(rows(warehouse)) == 3
    with pytest.raises(ValueError, match=r"\['market'\] must name columns of"):
        warehouse.replace_keys(CANDLES, THREE, ["market"])


@on("a file", "sqlite", "postgres")
def test_append_new_keeps_the_first_vintage(warehouse: Warehouse) -> None:
    assert warehouse.append_new(CANDLES, THREE) == 3
    assert warehouse.append_new(CANDLES, candles(("BTC/USDT", 1, 99.0), ("BTC/USDT", 3, 4.0))) == 1
    assert rows(warehouse)[0] == ("BTC/USDT", day(1), 1.0)
    assert len(rows(warehouse)) == 4
    keyless = Table("raw", "notes", "No key.", (Column("note", "VARCHAR", "-"),))
    with pytest.raises(ValueError, match=r"raw\.notes declares no key"):
        warehouse.append_new(keyless, pl.DataFrame({"note": ["a"]}))


def test_a_frame_that_does_not_match_is_refused_before_anything_is_opened(warehouse: Warehouse) -> None:
    wrong = THREE.rename({"close": "price"})
    for write in (
        lambda: warehouse.replace(CANDLES, wrong),
        lambda: warehouse.replace_range(CANDLES, wrong, "ts", day(1), day(2)),
        lambda: warehouse.replace_keys(CANDLES, wrong, ["symbol"]),
        lambda: warehouse.append_new(CANDLES, wrong),
    ):
        with pytest.raises(DataError, match=r"raw\.candles, column 'close': missing"):
            write()
    assert not warehouse.path.parent.exists()


@on("a file", "sqlite", "postgres")
@pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "SELECT error('stop')"])
def test_an_error_inside_a_write_leaves_the_old_rows(warehouse: Warehouse, statement: str) -> None:
    def fail_after_changes() -> None:
        with warehouse.write() as connection:
            connection.execute("DELETE FROM raw.candles")
            connection.execute("CREATE SCHEMA other; CREATE TABLE other.thing (a INT)")
            connection.execute(statement)

    warehouse.replace(CANDLES, THREE)
    with pytest.raises(duckdb.Error, match=r"nowhere|stop"):
        fail_after_changes()
    assert len(rows(warehouse)) == 3
    assert not warehouse.exists("other.thing")


@on("a file", "sqlite", "postgres")
def test_connections_are_closed_whatever_happens(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    with pytest.raises(duckdb.CatalogException):
        warehouse.frame("FROM nowhere")
    with warehouse.read() as kept:
        pass
    with pytest.raises(duckdb.ConnectionException):
        kept.execute("SELECT 1")
    assert rows(warehouse) == THREE.sort("symbol", "ts").rows()


def test_the_file_is_free_for_other_programs_after_use(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    warehouse.tables()
    duckdb.connect(warehouse.address).close()


@on("a file", "sqlite", "postgres")
def test_a_reader_cannot_write(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    with warehouse.read() as connection, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        connection.execute("DELETE FROM raw.candles")


def test_parameters_fill_a_query(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    by_place = warehouse.frame("FROM raw.candles WHERE symbol = ? AND ts < ?", ["BTC/USDT", day(2)])
    by_name = warehouse.frame(
        "FROM raw.candles WHERE symbol = $s AND ts < $t", {"s": "BTC/USDT", "t": day(2)}
    )
    aware = warehouse.frame(
        "FROM raw.candles WHERE symbol = 'BTC/USDT' AND ts < ?", [day(2).replace(tzinfo=UTC)]
    )
    assert by_place.rows() == by_name.rows() == aware.rows() == [("BTC/USDT", day(1), 1.0)]


@on("a file", "sqlite", "postgres")
def test_a_new_nullable_column_is_added_to_the_stored_table(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    columns = (*CANDLES.columns[:2], Column("source", "VARCHAR", "-", nullable=True), CANDLES.columns[2])
    wider = Table("raw", "candles", "-", columns, CANDLES.key)
    new = candles(("SOL/USDT", 1, 2.0)).with_columns(source=pl.lit("files"))
    assert warehouse.append_new(wider, new) == 1
    stored = warehouse.frame("SELECT symbol, close, source FROM raw.candles ORDER BY symbol, ts").rows()
    assert stored[-1] == ("SOL/USDT", 2.0, "files")
    assert stored[0] == ("BTC/USDT", 1.0, None)


@on("a file", "sqlite")
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            CANDLES.columns[:2],
            "column 'close': is stored but no longer declared; materialise the whole table",
        ),
        (
            (*CANDLES.columns, Column("volume", "DOUBLE", "-")),
            "column 'volume': is declared without missing values",
        ),
        (
            (*CANDLES.columns[:2], Column("close", "BIGINT", "-", nullable=True)),
            "column 'close': is stored as DOUBLE, declared is BIGINT",
        ),
        (
            (*CANDLES.columns[:2], Column("close", "DOUBLE", "-")),
            "column 'close': is stored as DOUBLE, declared is DOUBLE NOT NULL",
        ),
    ],
)
def test_a_stored_table_that_differs_is_refused_by_column(
    warehouse: Warehouse, columns: tuple[Column, ...], message: str
) -> None:
    warehouse.replace(CANDLES, THREE)
    changed = Table("raw", "candles", "-", columns, CANDLES.key)
    for write in (
        lambda: warehouse.append_new(changed, changed.empty()),
        lambda: warehouse.replace_range(changed, changed.empty(), "ts", day(1), day(2)),
        lambda: warehouse.replace_keys(changed, changed.empty(), ["symbol"]),
    ):
        with pytest.raises(DataError, match=message):
            write()
    assert len(rows(warehouse)) == 3
    warehouse.replace(changed, changed.empty())
    assert warehouse.append_new(changed, changed.empty()) == 0


@on("a file", "sqlite")
def test_a_warehouse_of_a_newer_layout_is_refused(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    assert rows(warehouse, "meta.schema_version") == [(SCHEMA_VERSION,)]
    with warehouse.write() as connection:
        connection.execute("UPDATE meta.schema_version SET version = ?", [SCHEMA_VERSION + 1])
    place = re.escape(warehouse.store.place)
    message = rf"{place}: written by a newer Engine \(layout {SCHEMA_VERSION + 1}.*update Engine"
    with pytest.raises(WarehouseError, match=message):
        warehouse.frame("FROM raw.candles")
    with pytest.raises(WarehouseError, match=message):
        warehouse.replace(CANDLES, THREE)


def test_a_file_that_is_no_database_is_refused_by_name(warehouse: Warehouse) -> None:
    warehouse.path.parent.mkdir()
    warehouse.path.write_bytes(b"symbol,ts,close\n" * 1000)
    for use in (warehouse.tables, lambda: warehouse.replace(CANDLES, THREE)):
        with pytest.raises(WarehouseError, match=rf"{warehouse.path}: cannot be read as a DuckDB database"):
            use()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_by_name(warehouse: Warehouse, share: float) -> None:
    many = candles(
        *((f"S{symbol}", number, symbol / number) for symbol in range(900) for number in range(1, 29))
    )
    warehouse.replace(CANDLES, many)
    content = warehouse.path.read_bytes()
    warehouse.path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WarehouseError, match=rf"{warehouse.path}: cannot be read as a DuckDB database"):
        warehouse.frame("FROM raw.candles")


@on("a file", "sqlite", "postgres")
def test_there_is_nothing_to_read_before_the_first_write(warehouse: Warehouse) -> None:
    assert warehouse.tables() == []
    assert not warehouse.is_current("raw.candles", "1", {}, "")
    with pytest.raises(WarehouseError, match=f"{re.escape(warehouse.store.place)}: there is no warehouse"):
        warehouse.frame("FROM raw.candles")


@pytest.mark.parametrize("address", ["", ":memory:"])
def test_an_address_that_processes_cannot_share_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must be the path of a file"):
        Warehouse(address=address).tables()


@on("a file", "sqlite", "postgres")
def test_settings_reach_the_connection(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    small = Warehouse(address=warehouse.address, memory_limit="64MiB", threads=1)
    names = ("memory_limit", "threads", "TimeZone", "autoinstall_known_extensions")
    values = ", ".join(f"current_setting('{name}')" for name in names)
    assert small.frame(f"SELECT {values}").row(0) == ("64.0 MiB", 1, "UTC", False)


@on("a file", "sqlite", "postgres")
def test_provenance_tells_what_is_up_to_date(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    made: dict[str, str] = {"code_version": "3", "settings_hash": "s"}
    inputs = {"raw.b": "2", "raw.a": "1"}
    assert not warehouse.is_current("raw.candles", inputs=inputs, **made)
    version = warehouse.record(asset="raw.candles", inputs=inputs, run_id="first", **made)
    assert version == warehouse.version("raw.candles")
    assert warehouse.is_current("raw.candles", inputs=dict(reversed(inputs.items())), **made)
    assert not warehouse.is_current("raw.candles", inputs={"raw.a": "1"}, **made)
    assert not warehouse.is_current("raw.candles", inputs={**inputs, "raw.a": "9"}, **made)
    assert not warehouse.is_current("raw.candles", "4", inputs, "s")
    assert not warehouse.is_current("raw.candles", "3", inputs, "t")
    assert not warehouse.is_current("raw.funding", inputs=inputs, **made)
    warehouse.replace(CANDLES, THREE.head(1))
    assert not warehouse.is_current("raw.candles", inputs=inputs, **made)
    warehouse.replace(CANDLES, THREE)
    assert warehouse.is_current("raw.candles", inputs=inputs, **made)


def test_provenance_keeps_its_history_and_the_last_record_counts(warehouse: Warehouse) -> None:
    warehouse.replace(CANDLES, THREE)
    before = datetime.now(UTC).replace(tzinfo=None)
    for code in ("1", "2"):
        warehouse.record(
            asset="raw.candles", code_version=code, inputs={}, settings_hash="", run_id=f"run {code}"
        )
    history = warehouse.frame("FROM meta.materializations ORDER BY written_at")
    assert history["run_id"].to_list() == ["run 1", "run 2"]
    assert before <= history["written_at"][0] <= datetime.now(UTC).replace(tzinfo=None)
    assert not warehouse.is_current("raw.candles", "1", {}, "")
    assert warehouse.is_current("raw.candles", "2", {}, "")
    with pytest.raises(ValueError, match=r"raw\.nothing is not in the warehouse"):
        warehouse.record(asset="raw.nothing", code_version="", inputs={}, settings_hash="", run_id="")
