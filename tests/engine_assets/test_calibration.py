"""The alarm on drifting coverage in the graph: what it stops, what it only warns of, what it says."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from engine_assets.calibration import CALIBRATED, coverage_drift
from resources.settings import Settings
from resources.warehouse import Warehouse

HOUR = timedelta(hours=1)
START = datetime.fromisoformat("2024-01-01")
DAYS = 400
DECIDED: list[str] = []


def rows(*drifting: tuple[int, int]) -> pl.DataFrame:
    """Predictions whose intervals hold 92 % of independent days, and 40 % of those that drift."""
    rng = np.random.default_rng(0)
    rate = np.full(DAYS, 0.92)
    for first, last in drifting:
        rate[first:last] = 0.4
    covered = np.repeat(rng.random(DAYS) < rate, 24)
    ts = [START + i * HOUR for i in range(DAYS * 24)]
    frame = pl.DataFrame(
        {
            "fold": 0, "symbol": "BTC/USDT", "ts": ts, "regime": "PANIC", "direction": 1,
            "raw_confidence": 0.6, "confidence": 0.5, "p0": 0.5, "p1": 0.6, "probability": 0.55,
            "status": "ok",
            "lower": -0.1, "upper": 0.1, "label": 0.0, "correct": True, "covered": covered,
        }
    )  # fmt: skip
    return frame.cast(dict(CALIBRATED.polars_schema))


@pytest.fixture
def resources(tmp_path: Path) -> dict[str, Any]:
    DECIDED.clear()
    settings = Settings(reports=tmp_path / "reports")
    return {"warehouse": Warehouse(address=str(tmp_path / "t.duckdb")), "settings": settings}


def run(resources: dict[str, Any], frame: pl.DataFrame) -> dg.ExecuteInProcessResult:
    @dg.asset(key=["predictions", "calibrated"])
    def calibrated(warehouse: Warehouse) -> None:
        warehouse.replace(CALIBRATED, frame)

    @dg.asset(key=["portfolio", "weights"], deps=[dg.AssetKey(["predictions", "calibrated"])])
    def weights() -> None:
        DECIDED.append("weights")

    return dg.materialize([calibrated, weights, coverage_drift], resources=resources, raise_on_error=False)


def test_kept_promises_let_decisions_pass(resources: dict[str, Any]) -> None:
    result = run(resources, rows())
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert DECIDED == ["weights"]
    assert "chance explains it" in str(
        evaluation.metadata["stretch that speaks most against the promise"].value
    )


def test_a_drift_that_lasts_stops_decisions_and_says_where(resources: dict[str, Any]) -> None:
    result = run(resources, rows((330, DAYS)))
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR
    assert DECIDED == []
    told = str(evaluation.description)
    for part in ("PANIC", "2024-1", "90% intervals", "at most", "lasts"):
        assert part in told


def test_a_drift_that_is_over_is_a_warning(resources: dict[str, Any]) -> None:
    result = run(resources, rows((60, 130)))
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert "is over" in str(evaluation.description)
    assert DECIDED == ["weights"]


def test_without_outcomes_there_is_nothing_to_judge(resources: dict[str, Any]) -> None:
    frame = rows().with_columns(covered=pl.lit(None, pl.Boolean))
    (evaluation,) = run(resources, frame).get_asset_check_evaluations()
    assert evaluation.passed
