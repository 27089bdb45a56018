"""A console for the benchmarks that look at its page: one that runs already, or one of their own."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from benchmarks.console_load import free_port, make_market, settings_of
from console.services import Services
from console.together import services
from engine.tuning.parameters import ParameterSet
from engine_assets.tuning_inputs import open_store
from engine_assets.tuning_order import TuneOrder
from engine_assets.tuning_sessions import conduct
from resources.warehouse import Warehouse

__all__ = ["CHROMIUM", "CHROMIUM_ARGUMENTS", "console"]

CHROMIUM = os.environ.get("ENGINE_CHROMIUM", "/usr/bin/chromium")
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_DAYS = 420
_BUSY = ParameterSet.from_mapping({"costCapBps": 14.0, "volPctBreakout": 65.0})
"""The books of the simulated market are thin: with the default cap nothing would be entered."""


@contextmanager
def console(url: str | None) -> Iterator[str]:
    """Yield the address of a console; where none is given, one on a small simulated market runs meanwhile.

    It has an account, two versions, a session that has ended and a shadow, and no Dagster.
    """
    if url is not None:
        yield url.rstrip("/")
        return
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        print("no --url: a console of its own on a small simulated market", flush=True)
        _live(folder)
        os.environ |= {"ENGINE_WAREHOUSE": str(folder / "engine.duckdb"), "ENGINE_PROFILE": "demo"}
        (served,) = (one for one in services(free_port(), port) if one.name == "console")
        with Services([served], folder / "logs") as running:
            running.start(within=120.0)
            yield f"http://127.0.0.1:{port}"


def _live(folder: Path) -> None:
    """Let the live algorithm decide, and train it once."""
    settings = settings_of(folder)
    store, warehouse = open_store(settings), Warehouse(address=settings.warehouse)
    store.commit("global", _BUSY, expected=0, actor="ann", reason="books are thin", evidence={})
    wider = ParameterSet.from_mapping({"slBreakout": 1.8}, _BUSY)
    store.experiments.register(
        "shadow",
        "global",
        wider,
        baseline=1,
        metric="net return per day",
        horizon=timedelta(days=30),
        seed=7,
        actor="ann",
        reason="wider stops",
    )
    logging.disable(logging.INFO)
    make_market(folder, _DAYS)
    order = TuneOrder(scenario="quick_tune", episodes=5, seed=7, actor="ann", reason="confidence is low")
    conduct(order, store, warehouse, settings)
