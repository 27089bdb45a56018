"""How long ``daily_rebalance`` takes from new bars to orders, on a warehouse that the main job has made.

``ENGINE_WAREHOUSE=... python -m benchmarks.rebalance``, with the settings that the warehouse was made with.
On a copy, the last two days are taken out of what the training has stated and of the journal, as if the
bars had just come; then the job runs as its schedule runs it, in one process. Prints a line of JSON: seconds
of each step, until the orders are placed, and of the whole job with its checks.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg

from engine_jobs.definitions import build_defs
from resources.feeds.open_feed import open_feed
from resources.settings import load_settings
from resources.warehouse import Warehouse

_STATED = (
    "predictions.calibrated",
    "regimes.market_regimes",
    "features.matrix",
    "alternative.alternative_features",
)
_DECIDED = ("portfolio.risk_budget", "portfolio.target_positions", "trading.decisions")


def forget_two_days(warehouse: Warehouse) -> None:
    """Take the newest two days out of predictions, decisions and the ledger."""
    newest = warehouse.frame("SELECT max(ts) AS ts FROM staging.candles")["ts"][0]
    since = newest - timedelta(days=2)
    with warehouse.write() as connection:
        for table in (*_STATED, *_DECIDED):
            connection.execute(f"DELETE FROM {table} WHERE ts >= ?", [since])
        connection.execute("DELETE FROM portfolio.decision_reasons WHERE decided_at > ?", [since])
        connection.execute(
            "DELETE FROM trading.paper_ledger "
            "WHERE number > (SELECT max(ledger_lines) FROM trading.decisions)"
        )


def main() -> None:
    """Time one run of the job."""
    settings = load_settings()
    if not Path(settings.warehouse).exists():
        sys.exit(f"{settings.warehouse}: no warehouse; make one with the main job, or set ENGINE_WAREHOUSE")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "engine.duckdb"
        shutil.copy(settings.warehouse, copy)
        settings = settings.model_copy(update={"warehouse": str(copy), "reports": Path(folder) / "reports"})
        forget_two_days(Warehouse(address=str(copy)))
        job = build_defs(settings, open_feed(settings)).resolve_job_def("daily_rebalance")
        load, started = os.getloadavg()[0], time.perf_counter()
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(instance=instance, run_config=quiet)
        whole = time.perf_counter() - started
    steps = {
        event.step_key: round(event.step_success_data.duration_ms / 1000, 1)
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.STEP_SUCCESS
    }
    order = list(steps)
    until = order[: order.index("paper_trading") + 1]
    print(
        json.dumps(
            {
                "benchmark": "rebalance",
                "to_orders_s": round(sum(steps[step] for step in until), 1),
                "whole_job_s": round(whole, 1),
                "steps_s": steps,
                "load_1min": round(load, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
