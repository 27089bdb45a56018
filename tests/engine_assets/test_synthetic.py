"""Synthetic windows train and do nothing else: what the blocking check finds."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from engine_assets.features import LABELS
from engine_assets.synthetic import SYNTHETIC_PANIC, synthetic_panic, training_only
from engine_assets.windows import SPLITS
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

START, HOUR, DAY = datetime.fromisoformat("2024-01-01"), timedelta(hours=1), timedelta(days=1)
STAGED = Table(
    "staging",
    "candles",
    "Bars that were delivered.",
    (Column("symbol", "VARCHAR", "Pair."), Column("ts", "TIMESTAMP", "Open.")),
    ("symbol", "ts"),
)


def drawn(**changes: Any) -> pl.DataFrame:
    row = {
        "fold": 0, "window": 0, "step": 0, "open": 1.0, "high": 1.1, "low": 0.9, "close": 1.0, "volume": 2.0,
        "synthetic": True, "generator": "ctgan", "cut": START + 100 * DAY, "seed": 7, "content_hash": "ab",
    }  # fmt: skip
    return pl.DataFrame([row | changes], schema=SYNTHETIC_PANIC.polars_schema)


def labels(first: datetime) -> pl.DataFrame:
    row = {"horizon": 1, "label": 0.1, "direction": 1}
    bars = [first + i * HOUR for i in range(3)]
    rows = [{"symbol": "BTC/USDT", "ts": ts, "label_end": ts + 2 * HOUR, **row} for ts in bars]
    return pl.DataFrame(rows, schema=LABELS.polars_schema)


def split_days(*days: int) -> pl.DataFrame:
    edges = ("train_end", "calibrate_start", "calibrate_end", "test_start", "test_end")
    windows = {name: START + day * DAY for name, day in zip(edges, days, strict=True)}
    split = {"fold": 0, "train_start": START, **windows, "purge_seconds": 86_400}
    return pl.DataFrame([split], schema=SPLITS.polars_schema)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(address=str(tmp_path / "t.duckdb"))
    bars = pl.DataFrame(
        {"symbol": "BTC/USDT", "ts": [START + i * HOUR for i in range(24)]}, schema=STAGED.polars_schema
    )
    made.replace(STAGED, bars)
    made.replace(SPLITS, split_days(100, 101, 130, 131, 160))
    made.replace(LABELS, labels(START))
    made.replace(SYNTHETIC_PANIC, drawn())
    note(made, LABELS.full_name, {"staging.candles": "1"})
    return made


def note(warehouse: Warehouse, asset: str, inputs: dict[str, str]) -> None:
    warehouse.record(asset=asset, code_version="1", inputs=inputs, settings_hash="", run_id="r")


def judged(warehouse: Warehouse) -> tuple[bool, str]:
    answer = training_only(warehouse=warehouse, settings=Settings())
    assert isinstance(answer, dg.AssetCheckResult)
    return answer.passed, str(answer.metadata["findings"].value)


def test_windows_cut_before_the_calibration_pass(warehouse: Warehouse) -> None:
    assert judged(warehouse) == (True, "none")


def test_training_may_be_made_from_them(warehouse: Warehouse) -> None:
    note(warehouse, "synthetic.synthetic_panic", {"synthetic.synthetic_panic": "1"})
    assert judged(warehouse)[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cut": START + 102 * DAY}, "cut at 2024-04-12 00:00:00, after its calibration begins"),
        ({"synthetic": False}, "1 rows of synthetic.synthetic_panic are not marked"),
    ],
)
def test_a_late_cut_and_a_missing_mark_are_found(
    warehouse: Warehouse, wrong: dict[str, Any], said: str
) -> None:
    warehouse.replace(SYNTHETIC_PANIC, drawn(**wrong))
    passed, findings = judged(warehouse)
    assert not passed
    assert said in findings


def test_a_row_that_no_market_showed_is_found(warehouse: Warehouse) -> None:
    warehouse.replace(LABELS, labels(START + 23 * HOUR))
    passed, findings = judged(warehouse)
    assert not passed
    assert "2 rows of features.labels belong to no candle" in findings


def test_a_table_that_judges_and_read_them_is_found(warehouse: Warehouse) -> None:
    note(warehouse, LABELS.full_name, {"staging.candles": "1", "synthetic.synthetic_panic": "2"})
    passed, findings = judged(warehouse)
    assert not passed
    assert "features.labels is made from synthetic data" in findings
    note(warehouse, LABELS.full_name, {"staging.candles": "1"})
    assert judged(warehouse)[0], "only what it is made from now counts"


def test_a_market_without_panics_trains_on_what_happened(tmp_path: Path) -> None:
    """Too few windows for any judgement: no synthetic row, the reason in words, and no failure."""
    made = Warehouse(address=str(tmp_path / "t.duckdb"))
    bars = pl.DataFrame(
        {
            "symbol": "BTC/USDT", "ts": [START + i * HOUR for i in range(500)], "open": 1.0, "high": 1.1,
            "low": 0.9, "close": 1.0, "volume": 5.0, "segment": 0, "log_return": 0.01, "regime": "RANGE",
        },
        schema_overrides={"ts": pl.Datetime("us")},
    )  # fmt: skip
    types = {"symbol": "VARCHAR", "ts": "TIMESTAMP", "segment": "BIGINT", "regime": "VARCHAR"}

    def table(schema: str, name: str, *columns: str) -> Table:
        declared = tuple(Column(column, types.get(column, "DOUBLE"), "A column.") for column in columns)
        return Table(schema, name, "What the asset reads.", declared, ("symbol", "ts"))

    for read in (
        table("staging", "candles", *bars.columns[:-1]),
        table("regimes", "market_regimes", "symbol", "ts", "regime"),
    ):
        made.replace(read, bars.select(read.column_names).cast(dict(read.polars_schema)))
    made.replace(SPLITS, split_days(10, 11, 13, 14, 20))
    result = dg.materialize(
        [synthetic_panic], resources={"warehouse": made, "settings": Settings(reports=tmp_path)}
    )
    assert result.success
    (materialized,) = result.asset_materializations_for_node("synthetic_windows")[:1]
    assert "nothing synthetic" in str(materialized.metadata["which generator, and why"].value)
    assert made.frame("FROM synthetic.synthetic_panic").is_empty()
    assert made.frame("FROM synthetic.synthetic_validation").is_empty()
