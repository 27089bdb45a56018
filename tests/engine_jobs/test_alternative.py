from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl
import pytest

from engine.alternative.series import SERIES, TABLES
from engine.market.simulator import MarketSimulator
from engine_jobs.alternative import collector, main
from resources.settings import load_settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

START = datetime.fromisoformat("2024-01-01")
OBSERVED = (
    Column("series", "VARCHAR", "Series."),
    Column("symbol", "VARCHAR", "Pair."),
    Column("ts", "TIMESTAMP", "Period."),
    Column("available_at", "TIMESTAMP", "When it was known."),
    Column("value", "DOUBLE", "Value.", nullable=True),
)
BARS = Table(
    "staging",
    "candles",
    "Bars.",
    (Column("symbol", "VARCHAR", "Pair."), Column("ts", "TIMESTAMP", "Open.")),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = MarketSimulator(["BTC/USDT", "ETH/USDT"], seed=3).simulate(START, 24 * 60)
    address = str(tmp_path_factory.mktemp("alternative") / "t.duckdb")
    warehouse = Warehouse(address=address)
    for name in TABLES:
        table = Table("raw", name, "Observations with their vintages.", OBSERVED)
        of_table = pl.col("series").is_in([s.name for s in SERIES.values() if s.table == name])
        warehouse.replace(table, made.observations.filter(of_table).select(table.column_names))
    warehouse.replace(BARS, made.candles.select("symbol", "ts"))
    return address


def test_the_warehouse_answers_as_the_whole_history_does(address: str) -> None:
    from engine.alternative.features import alternative_features

    at = START + timedelta(days=40, hours=7)
    warehouse = Warehouse(address=address)
    union = " UNION ALL ".join(f"FROM raw.{table}" for table in TABLES)
    told = collector(warehouse).get_all_alternative_features("ETH/USDT", at)
    hour = timedelta(hours=1)
    bar = pl.DataFrame(
        {"symbol": ["ETH/USDT"], "ts": [at - hour]}, schema_overrides={"ts": pl.Datetime("us")}
    )
    row = alternative_features(bar, warehouse.frame(union), hour).row(0, named=True)
    assert {name: row[name] for name in told} == pytest.approx(
        {name: found.value for name, found in told.items()}, nan_ok=True
    )
    assert told["funding_rate_8h"].status == "ok"
    assert told["funding_rate_8h"].age_hours == row["funding_rate_age_hours"]


@pytest.fixture
def asked(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ENGINE_WAREHOUSE", address)
    monkeypatch.setenv("COLUMNS", "220")
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.usefixtures("asked")
def test_it_is_printed_with_its_age(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["BTC/USDT", "2024-02-10T12:00"]) == 0
    told = capsys.readouterr().out
    assert "as known at 2024-02-10 12:00 UTC" in told
    (line,) = [row for row in told.splitlines() if " fear_greed " in row]
    assert " h " in line
    assert "ok" in line


@pytest.mark.usefixtures("asked")
def test_a_symbol_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["NO/SUCH"]) == 1
    assert "it has BTC/USDT, ETH/USDT" in capsys.readouterr().out.replace("\n", " ")
