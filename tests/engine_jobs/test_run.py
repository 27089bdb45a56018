"""The main job through its real process, on two simulated symbols."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from resources.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    home = folder / "dagster_home"
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    inherited: Mapping[str, str] = {k: v for k, v in os.environ.items() if not k.startswith("ENGINE_")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "engine_jobs.run"],
        cwd=ROOT,
        env={
            **inherited,
            "DAGSTER_HOME": str(home),
            "ENGINE_WAREHOUSE": str(folder / "engine.duckdb"),
            "ENGINE_REPORTS": str(folder / "reports"),
            "ENGINE_UNIVERSE": '["BTC/USDT", "ETH/USDT"]',
            "COLUMNS": "160",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("main_job")


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder)


@pytest.fixture
def warehouse(folder: Path) -> Warehouse:
    return Warehouse(address=str(folder / "engine.duckdb"))


def test_it_goes_from_candles_to_weights(
    first: subprocess.CompletedProcess[str], folder: Path, warehouse: Warehouse
) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    for title in ("Data health", "Skill, out of sample", "Calibration", "Backtest", "Target weights"):
        assert title in first.stdout
    assert (folder / "reports" / "equity.png").stat().st_size > 5_000
    assert "data:image/png" in (folder / "reports" / "report.html").read_text()
    weights = warehouse.frame("FROM marts.latest_weights")
    assert weights["symbol"].sort().to_list() == ["BTC/USDT", "ETH/USDT"]
    assert weights["weight"].abs().sum() <= 1.0 + 1e-9


def test_forecasts_stay_clear_of_what_they_were_fitted_on(
    first: subprocess.CompletedProcess[str], warehouse: Warehouse
) -> None:
    overlap = warehouse.frame(
        """
        SELECT count(*) FROM predictions.out_of_sample AS p JOIN models.splits AS s USING (fold)
        WHERE p.ts < s.train_end + to_seconds(s.purge_seconds)
        """
    )
    assert overlap.item() == 0


def test_trades_fill_at_the_open_after_the_decision(
    first: subprocess.CompletedProcess[str], warehouse: Warehouse
) -> None:
    late = warehouse.frame(
        """
        SELECT count(*) AS trades,
               count(*) FILTER (WHERE abs(t.entry_price - c.open) <= 1e-9 * c.open) AS at_an_open
        FROM trading.trades AS t JOIN staging.candles AS c ON c.symbol = t.symbol AND c.ts = t.entry_ts
        WHERE t.strategy = 'buy and hold'
        """
    )
    assert late["trades"][0] == late["at_an_open"][0] > 0


def test_nothing_of_the_truth_is_a_feature(
    first: subprocess.CompletedProcess[str], warehouse: Warehouse
) -> None:
    columns = warehouse.frame("DESCRIBE features.matrix")["column_name"].to_list()
    assert not {"regime", "drift_sign", "jump", "market_return"} & set(columns)


def test_a_second_run_makes_nothing_anew(
    first: subprocess.CompletedProcess[str], folder: Path, warehouse: Warehouse
) -> None:
    count = "SELECT count(*) FROM meta.materializations"
    before = warehouse.frame(count).item()
    again = run(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("nothing new") == 3
    assert warehouse.frame(count).item() == before


def test_an_unknown_symbol_stops_the_run_with_its_name(tmp_path: Path) -> None:
    stopped = run(tmp_path, ENGINE_UNIVERSE='["BTC/USDT", "no such"]')
    assert stopped.returncode == 1
    assert "no such" in stopped.stdout
    assert "Traceback" not in stopped.stdout
