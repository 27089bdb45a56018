"""The main job through its real process, on two simulated symbols."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from filelock import FileLock
from rich.console import Console

from engine.errors import DataError
from engine.evaluation import attempts as ledger
from engine_assets.portfolio import paper_trading
from engine_jobs import explain, kill_switch
from engine_jobs.jobs import JOB_GROUPS
from resources.settings import PROFILES, SIMULATION_START, Settings, load_settings
from resources.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the main job, or another command of Python, on the warehouse of a folder."""
    home = folder / "dagster_home"
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    inherited: Mapping[str, str] = {k: v for k, v in os.environ.items() if not k.startswith("ENGINE_")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", *(arguments or ("-m", "engine_jobs.run"))],
        cwd=ROOT,
        env={
            **inherited,
            "DAGSTER_HOME": str(home),
            "ENGINE_WAREHOUSE": str(folder / "engine.duckdb"),
            "ENGINE_REPORTS": str(folder / "reports"),
            "ENGINE_UNIVERSE": '["BTC/USDT", "ETH/USDT"]',
            "ENGINE_GATES": "aggressive",
            "ENGINE_PROFILE": "smoke",
            "COLUMNS": "160",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=1_800,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the processes that tests are spread over."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "main_job"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    """The first run, which one process makes and the others read about."""
    told = folder.with_suffix(".json")
    with FileLock(folder.with_suffix(".lock")):
        if not told.exists():
            done = run(folder)
            told.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return subprocess.CompletedProcess([], *json.loads(told.read_text()))


@pytest.fixture
def warehouse(folder: Path) -> Warehouse:
    return Warehouse(address=str(folder / "engine.duckdb"))


@pytest.fixture
def copied(first: subprocess.CompletedProcess[str], folder: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to go on with."""
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def in_copy(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let commands that are called without a process of their own work on the copy, too."""
    monkeypatch.setenv("ENGINE_WAREHOUSE", str(copied / "engine.duckdb"))
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def test_it_goes_from_candles_to_weights(
    first: subprocess.CompletedProcess[str], folder: Path, warehouse: Warehouse
) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    for title in (
        "Data health",
        "Skill, out of sample",
        "Calibration",
        "Backtest",
        "Agents",
        "Target weights",
    ):
        assert title in first.stdout
    assert (folder / "reports" / "equity.png").stat().st_size > 5_000
    assert "data:image/png" in (folder / "reports" / "report.html").read_text()
    weights = warehouse.frame("FROM portfolio.latest_weights")
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


def test_agents_decide_on_bars_after_their_training_and_say_why(
    first: subprocess.CompletedProcess[str], warehouse: Warehouse
) -> None:
    stages = warehouse.frame(
        """
        SELECT
            t.content_hash = r.parent AND r.content_hash = p.parent AND p.content_hash = f.parent AS linked,
            [x ->> 'kept' FOR x IN [t.metrics, r.metrics, p.metrics]] = ['TREND', 'RANGE', 'PANIC'] AS own
        FROM models.agent_trend AS t JOIN models.agent_range AS r USING (fold)
        JOIN models.agent_panic AS p USING (fold) JOIN models.agent_full AS f USING (fold)
        WHERE t.parent IS NULL AND f.symbol IS NULL
        """
    )
    assert stages["linked"].all()
    assert stages["own"].all(), "each stage keeps the weights with which the next goes on"
    assert stages.height > 0
    early = """
        SELECT count(*) FROM trading.agent_decisions AS d JOIN models.splits AS s USING (fold)
        WHERE d.ts < s.train_end + to_seconds(s.purge_seconds)
    """
    assert warehouse.frame(early).item() == 0
    parts = warehouse.frame("SELECT DISTINCT part FROM trading.agent_decisions WHERE part IS NOT NULL")
    assert set(parts["part"]) == {"calibrate", "test"}
    changes = """
        WITH walked AS (
            SELECT *, lag(position, 1, 0.0) OVER (PARTITION BY fold, symbol ORDER BY ts) AS held
            FROM trading.agent_decisions WHERE role = 'challenger'
        )
        SELECT count(*) FROM walked WHERE part = 'test' AND position <> held
    """
    staying_out = """
        SELECT max(abs(d.position)) AS held
        FROM trading.agent_decisions AS d JOIN models.agent_full AS f USING (fold)
        WHERE d.role = 'challenger' AND f.symbol IS NULL AND (f.metrics ->> 'kept') = 'STAYS_OUT'
    """
    assert (warehouse.frame(staying_out)["held"][0] or 0.0) == 0.0
    explained = "SELECT count(DISTINCT (fold, symbol, ts)) FROM trading.trade_explanations"
    assert warehouse.frame(explained).item() == warehouse.frame(changes).item()


def test_a_contest_for_champion_is_in_the_chain(
    first: subprocess.CompletedProcess[str], warehouse: Warehouse
) -> None:
    contests = warehouse.frame("FROM models.champion_agent ORDER BY number")
    assert contests.height > 0
    ledger.verify(contests.select(ledger.ATTEMPTS.names()))
    forged = contests.select(ledger.ATTEMPTS.names()).with_columns(promoted=~pl.col("promoted"))
    with pytest.raises(DataError):
        ledger.verify(forged)


def test_a_second_run_makes_nothing_anew(copied: Path) -> None:
    warehouse = Warehouse(address=str(copied / "engine.duckdb"))
    count = "SELECT count(*) FROM meta.materializations"
    before = warehouse.frame(count).item()
    again = run(copied)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("nothing new") == len(JOB_GROUPS)
    assert warehouse.frame(count).item() == before


def test_an_unknown_symbol_stops_the_run_with_its_name(tmp_path: Path) -> None:
    stopped = run(tmp_path, ENGINE_UNIVERSE='["BTC/USDT", "no such"]')
    assert stopped.returncode == 1
    assert "no such" in stopped.stdout
    assert "Traceback" not in stopped.stdout
    assert not (tmp_path / "engine.duckdb").exists(), "steps had begun"


# Ingest and rebalance as their schedules run them; nothing is trained.
_REBALANCE = """
import dagster as dg
from rich.console import Console
from engine_jobs.definitions import build_defs
from engine_jobs.run import run_stage
from resources.feeds.open_feed import open_feed
from resources.settings import load_settings

settings = load_settings()
feed = open_feed(settings)
with dg.DagsterInstance.get() as instance:
    for job in ("ingest", "daily_rebalance"):
        run_stage(Console(), instance, build_defs(settings, feed), job, settings, feed)
"""
_END = SIMULATION_START + timedelta(days=PROFILES["smoke"].simulated_days)


def later(folder: Path, days: int) -> subprocess.CompletedProcess[str]:
    end = (_END + timedelta(days=days)).isoformat()
    done = run(folder, "-c", _REBALANCE, ENGINE_END=end)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.usefixtures("in_copy")
def test_fresh_prices_become_decisions_without_training_under_the_kill_switch(copied: Path) -> None:
    warehouse = Warehouse(address=str(copied / "engine.duckdb"))
    models = warehouse.versions(["models.registry", "models.calibrators", "features.matrix"])
    before = warehouse.frame("SELECT book, max(number) AS number FROM trading.decisions GROUP BY book")
    ledger = warehouse.frame("SELECT * FROM trading.paper_ledger ORDER BY number")
    stop = ("-m", "engine_jobs.kill_switch", "stop", "--actor", "ann", "--reason", "exchange is down")
    stopped = run(copied, *stop)
    assert stopped.returncode == 0, stopped.stderr

    later(copied, days=2)
    assert warehouse.versions(list(models)) == models
    assert warehouse.frame("SELECT count(*) FROM predictions.live").item() == 2 * 24 * 2
    after = warehouse.frame("SELECT book, max(number) AS number FROM trading.decisions GROUP BY book")
    assert after["book"].to_list() == before["book"].to_list()
    assert after["number"][0] == before["number"][0] + 2
    grown = warehouse.frame("SELECT * FROM trading.paper_ledger ORDER BY number")
    assert grown.head(ledger.height).equals(ledger)
    told = warehouse.frame(
        "SELECT t.weight, d.book_after FROM portfolio.target_positions AS t "
        "JOIN trading.decisions AS d USING (book, ts) WHERE d.ts >= ?",
        [_END],
    )
    assert told.height == 4
    assert (told["weight"] == 0.0).all()
    assert told["book_after"].str.contains("exchange is down").all()

    assert kill_switch.main(["resume", "--actor", "ann", "--reason", "it is back"]) == 0
    orders = warehouse.frame("SELECT stop, actor, reason FROM trading.kill_switch ORDER BY number")
    assert orders.rows() == [(True, "ann", "exchange is down"), (False, "ann", "it is back")]


def newest_order(warehouse: Warehouse) -> tuple[str, str]:
    order = warehouse.frame(
        "SELECT symbol, decided_at FROM portfolio.target_positions WHERE ordered ORDER BY decided_at LIMIT 1"
    )
    return order["symbol"][0], order["decided_at"][0].isoformat()


@pytest.mark.usefixtures("in_copy")
def test_a_trade_is_explained_and_reproduced_bit_for_bit(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse = Warehouse(address=str(copied / "engine.duckdb"))
    symbol, when = newest_order(warehouse)
    told = run(copied, "-m", "engine_jobs.explain", symbol, when)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "reproduced bit for bit" in told.stdout
    assert "confidence" in told.stdout
    explained = warehouse.frame("FROM portfolio.trades_explained")
    assert explained.height > 0
    assert explained["gates"].str.contains("confidence").all()
    assert explain.main([symbol, "2024-01-01"]) == 1
    assert "no order" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE trading.decisions SET weights = replace(weights, '0.', '1.')", "weights"),
        ("UPDATE trading.decisions SET run_id = 'another' WHERE number = 2", "up to line 1"),
        ("DELETE FROM trading.decisions WHERE number = 3", "up to line 2"),
    ],
)
def test_a_journal_that_was_tampered_with_is_found_out(copied: Path, statement: str, said: str) -> None:
    warehouse = Warehouse(address=str(copied / "engine.duckdb"))
    symbol, when = newest_order(warehouse)
    with warehouse.write() as connection:
        connection.execute(statement)
    console = Console(record=True, width=160, file=io.StringIO())
    assert not explain.explain(console, warehouse, Settings(), symbol, datetime.fromisoformat(when))
    told = console.export_text()
    assert "not reproduced" in told
    assert said in told


def test_on_a_live_market_a_day_that_was_missed_is_not_decided_afterwards(copied: Path) -> None:
    warehouse = Warehouse(address=str(copied / "engine.duckdb"))
    settings = Settings(source="exchange", warehouse=warehouse.address)
    done = dg.materialize([paper_trading], resources={"warehouse": warehouse, "settings": settings})
    assert done.success
    lines = warehouse.frame("SELECT number, ts, inputs FROM trading.decisions WHERE book = 'live'")
    newest = warehouse.frame("SELECT max(ts) AS ts FROM trading.decisions WHERE book <> 'live'")
    assert lines.select("number", "ts").rows() == [(1, newest["ts"][0])]
    # and what is months old opens nothing
    stale = warehouse.frame(
        "SELECT reason FROM portfolio.decision_reasons "
        "WHERE book = 'live' AND name = 'data freshness' AND value = 0"
    )
    assert stale.height == 2
